#include "forward/destination.h"

#include <charconv>

#include "base/host_name.h"

namespace openp2p::forward {
namespace {

/// 0: none.
std::uint16_t parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() ? port : 0;
}

}  // namespace

std::optional<Destination> parse_destination(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::uint16_t port = parse_port(text.substr(colon + 1));
  const bool is_bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  const bool has_colon = host.find(':') != std::string_view::npos;
  if (is_bracketed != has_colon) return std::nullopt;  // "::1:22" could mean two things.
  if (port == 0 || !is_valid_host(host)) return std::nullopt;
  return Destination{std::string(host), port};
}

std::string destination_text(const Destination& destination) {
  const bool is_v6 = destination.host.find(':') != std::string::npos;
  const std::string port = std::to_string(destination.port);
  return is_v6 ? "[" + destination.host + "]:" + port : destination.host + ":" + port;
}

}  // namespace openp2p::forward
