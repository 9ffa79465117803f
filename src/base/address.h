#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/strong.h"

namespace openp2p {

/// An IPv4 or IPv6 address. IPv4 is kept as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that one
/// array compares and hashes; a v4-mapped address from the wire is the IPv4 address.
class IpAddress {
 public:
  IpAddress() = default;  ///< "::", the unspecified IPv6 address.
  static IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
  static IpAddress v4(std::uint32_t host_order);
  static IpAddress v6(const std::array<std::uint8_t, 16>& bytes);
  static std::optional<IpAddress> parse(std::string_view text);  ///< Numeric only, no brackets.
  static IpAddress any_v4() { return v4(0); }
  static IpAddress any_v6() { return {}; }
  static IpAddress loopback_v4() { return v4(127, 0, 0, 1); }

  bool is_v4() const;
  bool is_v6() const { return !is_v4(); }
  std::uint32_t v4_bits() const;  ///< Host order. Requires is_v4().
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }

  bool is_unspecified() const;
  bool is_loopback() const;
  bool is_link_local() const;
  bool is_multicast() const;  ///< Also the IPv4 limited broadcast address.
  bool is_private() const;    ///< RFC 1918, RFC 6598 (shared, CGN), RFC 4193.
  std::string text() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

/// A transport address (RFC 8489's word): an IP address and a port. `scope` is the interface index
/// of a link-local IPv6 address and 0 elsewhere.
struct Address {
  IpAddress ip;
  std::uint16_t port = 0;
  std::uint32_t scope = 0;

  std::string text() const;  ///< "192.0.2.1:443", "[2001:db8::1]:443".
  /// Numeric "a.b.c.d:port" or "[v6]:port".
  static std::optional<Address> parse(std::string_view text);
  friend auto operator<=>(const Address&, const Address&) = default;
};

/// One of this party's own UDP sockets; the driver hands the numbers out.
using SocketId = Strong<struct SocketIdTag, std::uint32_t>;

/// A way packets travel: from which socket, to which address. (RFC 8445 calls it a candidate pair.)
struct Path {
  SocketId socket;
  Address remote;
  friend auto operator<=>(const Path&, const Path&) = default;
};

}  // namespace openp2p

template <>
struct std::hash<openp2p::Address> {
  std::size_t operator()(const openp2p::Address& a) const noexcept {
    std::uint64_t high, low;
    std::memcpy(&high, a.ip.bytes().data(), 8);
    std::memcpy(&low, a.ip.bytes().data() + 8, 8);
    std::uint64_t z = (high ^ (low * 0x9e3779b97f4a7c15ULL)) + a.port;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return z ^ (z >> 27);
  }
};

template <>
struct std::hash<openp2p::Path> {
  std::size_t operator()(const openp2p::Path& p) const noexcept {
    return std::hash<openp2p::Address>{}(p.remote) * 31 + p.socket.value();
  }
};
