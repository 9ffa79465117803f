#include "base/host_name.h"

#include <cstddef>

#include "base/address.h"

namespace openp2p {
namespace {

constexpr std::size_t kHostBytesMax = 253;  // RFC 1035 section 2.3.4, as text.
constexpr std::size_t kLabelBytesMax = 63;  // RFC 1035 section 2.3.4.

bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
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

}  // namespace openp2p
