#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/address.h"
#include "sim/buffer_pool.h"

namespace openp2p::sim {

enum class Family { kV4, kV6 };
inline Family family_of(const IpAddress& ip) { return ip.is_v4() ? Family::kV4 : Family::kV6; }
inline IpAddress any_of(Family family) {
  return family == Family::kV4 ? IpAddress::any_v4() : IpAddress::any_v6();
}

/// A range of addresses, as a network has it on its link or a route leads to it.
struct Prefix {
  IpAddress base;
  unsigned length = 0;  ///< In bits of the family: up to 32 or 128.

  bool contains(const IpAddress& ip) const;
  IpAddress at(std::uint64_t number) const;  ///< base + number; must be inside.
  friend bool operator==(const Prefix&, const Prefix&) = default;
};

/// What an ICMP error says.
enum class ErrorKind {
  kPortUnreachable,  ///< No socket there.
  kNoRoute,          ///< No such network or host.
  kProhibited,       ///< A NAT or firewall rejects it.
  kTooBig,           ///< Larger than `mtu`, the largest IP packet that passes.
  kHopsExceeded,     ///< Its hop limit was used up on the way ("time exceeded").
};

/// An ICMP error quotes the addresses of the packet that it is about.
struct IcmpError {
  ErrorKind kind = ErrorKind::kPortUnreachable;
  Address from;
  Address to;
  std::size_t mtu = 0;
};

/// An IP packet: a UDP datagram, or an ICMP error about one. Never fragmented.
struct Packet {
  /// The system's own hop limit. Real paths have fewer hops; a loop ends soon.
  static constexpr std::uint8_t kHopsMax = 32;

  Address from;
  Address to;
  Buffer payload;
  std::unique_ptr<IcmpError> error;  // Rare, so outside: packets are moved a lot.
  std::uint8_t hops_left = kHopsMax;

  /// The error about a packet between these addresses. Errors cause none (RFC 1122 section 3.2.2).
  static Packet error_about(ErrorKind kind, const Address& reporter, const Address& from,
                            const Address& to, std::size_t mtu = 0);
  /// Passes `hops` routers. False, and the packet is to be dropped, where its hop limit ends.
  bool travel(std::uint8_t hops);
  std::size_t ip_bytes() const;  ///< With the headers of IP and UDP.
  Packet copy() const;
};

/// IP and UDP headers in front of a datagram.
constexpr std::size_t header_bytes(Family family) { return family == Family::kV4 ? 28 : 48; }

}  // namespace openp2p::sim
