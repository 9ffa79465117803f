#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace openp2p::cli {

/// Everything about one peer, for who asks why it is reached this way: `peer` is an element of the
/// local API's "peers".
std::string peer_text(const boost::json::object& peer);
/// What was done to reach it, a line a step, oldest first; empty where nothing was.
std::string timeline_text(const boost::json::object& peer);

}  // namespace openp2p::cli
