#pragma once

/// The event loop, by name only: most headers hand it on and need nothing of Asio, whose headers
/// take seconds to compile. One io_context and one thread per program.
namespace boost::asio {
class io_context;
}  // namespace boost::asio

namespace openp2p::net {
using IoContext = boost::asio::io_context;
}  // namespace openp2p::net
