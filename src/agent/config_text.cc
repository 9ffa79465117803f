#include "agent/config_text.h"

#include <algorithm>
#include <charconv>

#include "base/ids.h"

namespace openp2p::agent {
namespace {

constexpr std::size_t kHostBytesMax = 253;  // RFC 1035 section 2.3.4, as text.
constexpr std::size_t kLabelBytesMax = 63;  // RFC 1035 section 2.3.4.

bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

}  // namespace

bool is_valid_host(std::string_view host) {
  if (host.empty() || host.size() > kHostBytesMax) return false;
  if (IpAddress::parse(host)) return true;
  if (host.front() == '-') return false;  // Reads as an option wherever it is shown as a command.
  std::size_t label = 0;
  for (const char c : host) {
    if (c != '.' && !is_label_character(c)) return false;
    if (c == '.' && label == 0) return false;
    label = c == '.' ? 0 : label + 1;
    if (label > kLabelBytesMax) return false;
  }
  // "1.2.3" and "256.1.1.1" are mistyped addresses, which resolvers read in surprising ways.
  return host.find_first_not_of("0123456789.") != std::string_view::npos;
}

std::optional<Destination> parse_destination(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const auto port = parse_port(text.substr(colon + 1));
  const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool has_colon = host.find(':') != std::string_view::npos;
  if (bracketed != has_colon) return std::nullopt;  // "::1:22" could mean two things.
  if (!port || *port == 0 || !is_valid_host(host)) return std::nullopt;
  return Destination{std::string(host), *port};
}

std::string destination_text(const Destination& destination) {
  const bool is_v6 = destination.host.find(':') != std::string::npos;
  const std::string port = std::to_string(destination.port);
  return is_v6 ? "[" + destination.host + "]:" + port : destination.host + ":" + port;
}

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
  if (!is_valid_host(spec.host)) return "the destination's host is a name or an IP address";
  if (spec.port == 0) return "the destination's port is 1 to 65535";
  if (spec.listen.ip.is_multicast()) return "a multicast address cannot be listened on";
  return std::nullopt;
}

}  // namespace openp2p::agent
