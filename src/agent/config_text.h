#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/node_control.h"
#include "base/address.h"
#include "forward/destination.h"

/// The texts in which people write listen addresses and forwards, on the command line, in the local
/// API and in the state file (destinations: forward/destination.h). One place, so that all three
/// accept the same.
namespace openp2p::agent {

/// "PORT" (on 127.0.0.1), "ADDR:PORT" or "[IPV6]:PORT"; port 0 lets the system choose.
std::optional<Address> parse_listen(std::string_view text);

/// Where a forward listens, or leads to, with as many ports as the range behind it has:
/// "PORT-PORT", "ADDR:PORT-PORT", "HOST:PORT-PORT". Without a range, one.
struct ListenRange {
  Address first;
  std::uint16_t ports = 1;
};
struct DestinationRange {
  forward::Destination first;
  std::uint16_t ports = 1;
};
std::optional<ListenRange> parse_listen_range(std::string_view text);
std::optional<DestinationRange> parse_destination_range(std::string_view text);
/// Of "tcp" and "udp" what the forward carries.
std::vector<std::string> protocol_texts(const ForwardSpec& spec);
/// "5000", or "5000-5010".
std::string port_range_text(std::uint16_t first, std::uint16_t ports);

/// What a person has to change about `spec`; nullopt where nothing.
std::optional<std::string> problem_of(const ForwardSpec& spec);

}  // namespace openp2p::agent
