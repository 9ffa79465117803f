#include "agent/config_text.h"

#include <charconv>

#include "base/ids.h"
#include "forward/destination.h"

namespace openp2p::agent {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

}  // namespace

std::optional<Address> parse_listen(std::string_view text) {
  if (const auto port = parse_port(text)) return Address{IpAddress::loopback_v4(), *port};
  if (text.starts_with("localhost:")) {
    const auto port = parse_port(text.substr(10));
    return port ? std::optional(Address{IpAddress::loopback_v4(), *port}) : std::nullopt;
  }
  return Address::parse(text);
}

std::optional<std::string> problem_of(const ForwardSpec& spec) {
  if (!is_valid_name(spec.name)) return "a forward's name is 1 to 63 plain characters";
  if (!is_valid_name(spec.peer) && !NodeId::parse(spec.peer)) {
    return "the peer is a node's name, or its id in 64 hex digits";
  }
  if (!forward::is_valid_host(spec.host))
    return "the destination's host is a name or an IP address";
  if (spec.port == 0) return "the destination's port is 1 to 65535";
  if (spec.listen.ip.is_multicast()) return "a multicast address cannot be listened on";
  return std::nullopt;
}

}  // namespace openp2p::agent
