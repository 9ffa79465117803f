#include "agent/config_text.h"

#include <algorithm>
#include <charconv>

#include "base/host_name.h"
#include "base/ids.h"

namespace openp2p::agent {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// "…5000-5010" without its end, and how many ports that is; nullopt where the end makes no sense.
struct Range {
  std::string_view first;
  std::uint16_t ports = 1;
};
std::optional<Range> split_range(std::string_view text) {
  const auto dash = text.rfind('-');
  if (dash == std::string_view::npos) return Range{text};
  const std::string_view last_text = text.substr(dash + 1);
  // A dash may also stand in a name: "my-host:80".
  if (last_text.empty() || !std::ranges::all_of(last_text, is_digit)) return Range{text};
  const std::string_view first = text.substr(0, dash);
  const auto colon = first.rfind(':');
  const auto from = parse_port(first.substr(colon == std::string_view::npos ? 0 : colon + 1));
  const auto last = parse_port(last_text);
  if (!from || !last || *last < *from) return std::nullopt;
  if (*last - *from == 65'535) return std::nullopt;  // That many do not fit the number.
  return Range{first, static_cast<std::uint16_t>(*last - *from + 1)};
}

/// Nothing may stand behind the last port.
bool fits(std::uint16_t first, std::uint16_t ports) { return first + ports - 1 <= 65'535; }

}  // namespace

std::optional<ListenRange> parse_listen_range(std::string_view text) {
  const auto range = split_range(text);
  const auto first = range ? parse_listen(range->first) : std::nullopt;
  return first ? std::optional(ListenRange{*first, range->ports}) : std::nullopt;
}

std::optional<DestinationRange> parse_destination_range(std::string_view text) {
  const auto range = split_range(text);
  const auto first = range ? forward::parse_destination(range->first) : std::nullopt;
  return first ? std::optional(DestinationRange{*first, range->ports}) : std::nullopt;
}

std::vector<std::string> protocol_texts(const ForwardSpec& spec) {
  std::vector<std::string> texts;
  if (spec.has_tcp) texts.emplace_back("tcp");
  if (spec.has_udp) texts.emplace_back("udp");
  return texts;
}

std::string port_range_text(std::uint16_t first, std::uint16_t ports) {
  const std::string text = std::to_string(first);
  return ports == 1 ? text : text + "-" + std::to_string(first + ports - 1);
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
  if (spec.ports == 0 || spec.ports > kForwardPortsMax) {
    return "a forward has 1 to " + std::to_string(kForwardPortsMax) + " ports";
  }
  if (!fits(spec.port, spec.ports) || !fits(spec.listen.port, spec.ports)) {
    return "the last port of a range is 65535 at most";
  }
  if (spec.listen.port == 0 && spec.ports > 1) return "a range of ports begins at 1 or above";
  if (!spec.has_tcp && !spec.has_udp) return "a forward carries TCP, UDP or both";
  if (!spec.relay.empty() && !spec.allows_relay) {
    return "either one relay is named, or none is allowed";
  }
  if (!spec.relay.empty() && !is_valid_name(spec.relay) && !NodeId::parse(spec.relay)) {
    return "the relay is a node's name, or its id in 64 hex digits";
  }
  if (spec.listen.ip.is_multicast()) return "a multicast address cannot be listened on";
  return std::nullopt;
}

}  // namespace openp2p::agent
