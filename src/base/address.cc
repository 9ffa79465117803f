#include "base/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace openp2p {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

}  // namespace

IpAddress IpAddress::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  IpAddress ip;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), ip.bytes_.begin());
  ip.bytes_[12] = a;
  ip.bytes_[13] = b;
  ip.bytes_[14] = c;
  ip.bytes_[15] = d;
  return ip;
}

IpAddress IpAddress::v4(std::uint32_t host_order) {
  const auto byte = [host_order](int shift) {
    return static_cast<std::uint8_t>(host_order >> shift);
  };
  return v4(byte(24), byte(16), byte(8), byte(0));
}

IpAddress IpAddress::v6(const std::array<std::uint8_t, 16>& bytes) {
  IpAddress ip;
  ip.bytes_ = bytes;
  return ip;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;  // The end, to inet_pton().
  const std::string terminated(text.substr(0, INET6_ADDRSTRLEN));
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, terminated.c_str(), bytes.data()) == 1) {
    return v4(bytes[0], bytes[1], bytes[2], bytes[3]);
  }
  if (inet_pton(AF_INET6, terminated.c_str(), bytes.data()) == 1) return v6(bytes);
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes_.begin());
}

std::uint32_t IpAddress::v4_bits() const {
  CHECK(is_v4());
  return static_cast<std::uint32_t>(bytes_[12]) << 24 |
         static_cast<std::uint32_t>(bytes_[13]) << 16 |
         static_cast<std::uint32_t>(bytes_[14]) << 8 | bytes_[15];
}

bool IpAddress::is_unspecified() const { return is_v4() ? v4_bits() == 0 : *this == IpAddress(); }

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  IpAddress one;
  one.bytes_[15] = 1;
  return *this == one;
}

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddress::is_multicast() const {
  if (is_v4()) return (bytes_[12] & 0xf0) == 0xe0 || v4_bits() == 0xffffffff;
  return bytes_[0] == 0xff;
}

bool IpAddress::is_private() const {
  if (is_v6()) return (bytes_[0] & 0xfe) == 0xfc;
  const std::uint32_t bits = v4_bits();
  return bits >> 24 == 10 || bits >> 20 == 0xac1 || bits >> 16 == 0xc0a8 || bits >> 22 == 0x191;
}

std::string IpAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_v4()) {
    inet_ntop(AF_INET, bytes_.data() + 12, text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, bytes_.data(), text.data(), text.size());
  }
  return text.data();
}

std::string Address::text() const {
  const std::string zone = scope == 0 ? "" : "%" + std::to_string(scope);
  const std::string number = std::to_string(port);
  return ip.is_v4() ? ip.text() + ":" + number : "[" + ip.text() + zone + "]:" + number;
}

std::optional<Address> Address::parse(std::string_view text) {
  std::string_view host;
  if (text.starts_with('[')) {
    const auto end = text.find("]:");
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    text.remove_prefix(end + 2);
  } else {
    const auto colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    host = text.substr(0, colon);
    text.remove_prefix(colon + 1);
  }
  const auto ip = IpAddress::parse(host);
  const auto port = parse_port(text);
  if (!ip || !port) return std::nullopt;
  return Address{*ip, *port};
}

}  // namespace openp2p
