#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/node_control.h"
#include "base/address.h"

/// The texts in which people write destinations and listen addresses, on the command line, in the
/// local API and in the state file. One place, so that all three accept the same.
namespace openp2p::agent {

/// A host as a forward's peer sees it, and its port.
struct Destination {
  std::string host;  ///< A name, an IPv4 or an IPv6 address, without brackets.
  std::uint16_t port = 0;
  friend bool operator==(const Destination&, const Destination&) = default;
};

/// A host name of RFC 1123 (underscores allowed, since real networks have them) or a numeric
/// address.
bool is_valid_host(std::string_view host);

/// "HOST:PORT", "1.2.3.4:PORT" or "[IPV6]:PORT", port 1 to 65,535.
std::optional<Destination> parse_destination(std::string_view text);
std::string destination_text(const Destination& destination);

/// "PORT" (on 127.0.0.1), "ADDR:PORT" or "[IPV6]:PORT"; port 0 lets the system choose.
std::optional<Address> parse_listen(std::string_view text);

/// What a person has to change about `spec`; nullopt where nothing.
std::optional<std::string> problem_of(const ForwardSpec& spec);

}  // namespace openp2p::agent
