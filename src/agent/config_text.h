#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/node_control.h"
#include "base/address.h"

/// The texts in which people write listen addresses and forwards, on the command line, in the local
/// API and in the state file (destinations: forward/destination.h). One place, so that all three
/// accept the same.
namespace openp2p::agent {

/// "PORT" (on 127.0.0.1), "ADDR:PORT" or "[IPV6]:PORT"; port 0 lets the system choose.
std::optional<Address> parse_listen(std::string_view text);

/// What a person has to change about `spec`; nullopt where nothing.
std::optional<std::string> problem_of(const ForwardSpec& spec);

}  // namespace openp2p::agent
