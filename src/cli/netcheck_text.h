#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace openp2p::cli {

/// The agent's answer about its network, for people: what works, how its NAT behaves, and what was
/// seen that says so.
std::string netcheck_text(const boost::json::object& report);

}  // namespace openp2p::cli
