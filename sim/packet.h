#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

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

enum class Protocol : std::uint8_t { kUdp, kTcp };

/// What a TCP segment's header says (RFC 9293 section 3.1). The window is given in bytes: both ends
/// scale it (RFC 7323).
struct TcpHeader {
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint32_t window = 0;
  std::uint16_t mss = 0;  ///< The option of a SYN; 0: none.
  bool is_syn = false;
  bool is_ack = false;
  bool is_fin = false;
  bool is_rst = false;
};

/// An ICMP error quotes the addresses of the packet that it is about.
struct IcmpError {
  ErrorKind kind = ErrorKind::kPortUnreachable;
  Address from;
  Address to;
  std::size_t mtu = 0;
  Protocol protocol = Protocol::kUdp;
};

/// An IP packet: a UDP datagram, a TCP segment, or an ICMP error about one. Never fragmented.
struct Packet {
  /// The system's own hop limit. Real paths have fewer hops; a loop ends soon.
  static constexpr std::uint8_t kHopsMax = 32;

  Address from;
  Address to;
  Buffer payload;
  std::unique_ptr<IcmpError> error;  // Rare, so outside: packets are moved a lot.
  TcpHeader tcp;                     // Of Protocol::kTcp.
  Protocol protocol = Protocol::kUdp;
  std::uint8_t hops_left = kHopsMax;

  /// The error about a packet. Errors cause none (RFC 1122 section 3.2.2).
  static Packet error_about(const IcmpError& error, const Address& reporter);
  /// The answer to a segment that belongs to no connection (RFC 9293 section 3.5.2); nullopt for a
  /// RST, which is not answered.
  static std::optional<Packet> reset_for(const Packet& segment);
  bool is_udp() const { return protocol == Protocol::kUdp; }
  /// What sequence numbers count: the bytes, and SYN and FIN as one each.
  std::uint32_t tcp_length() const;
  /// Passes `hops` routers. False, and the packet is to be dropped, where its hop limit ends.
  bool travel(std::uint8_t hops);
  std::size_t ip_bytes() const;  ///< With the headers of IP and UDP or TCP.
  Packet copy() const;
};

/// IP and UDP headers in front of a datagram.
constexpr std::size_t header_bytes(Family family) { return family == Family::kV4 ? 28 : 48; }
/// IP and TCP headers in front of a segment's bytes.
constexpr std::size_t tcp_header_bytes(Family family) { return family == Family::kV4 ? 40 : 60; }

}  // namespace openp2p::sim
