#pragma once

#include <memory>

#include "base/descriptor.h"
#include "forward/local_stream.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Wraps a connected TCP socket, which becomes non-blocking and loses Nagle's delay (RFC 896): what
/// is written here was gathered already. Buffers are left to the kernel's own tuning, which grows
/// them to what the connection needs and keeps hundreds of idle ones small.
///
/// `io` outlives the stream. Cost: one allocation, none per read, write or wake-up.
std::unique_ptr<forward::LocalStream> make_tcp_stream(IoContext& io, Descriptor socket);

}  // namespace openp2p::net
