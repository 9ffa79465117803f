#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Where a forward leads to: the one place that says how people write it, so that command line,
/// local API, state file and peers accept the same.
namespace openp2p::forward {

struct Destination {
  std::string host;  ///< A name, an IPv4 or an IPv6 address, without brackets.
  std::uint16_t port = 0;
  friend bool operator==(const Destination&, const Destination&) = default;
};

/// "HOST:PORT", "1.2.3.4:PORT" or "[IPV6]:PORT", port 1 to 65,535.
std::optional<Destination> parse_destination(std::string_view text);
std::string destination_text(const Destination& destination);

}  // namespace openp2p::forward
