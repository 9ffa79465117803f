#pragma once

#include <cstdint>
#include <optional>

#include "base/address.h"
#include "base/bytes.h"
#include "sim/packet.h"
#include "test/lab/checksum.h"

/// Real IPv4 and IPv6 packets, as a TUN device carries them: what a NAT reads in them and writes.
namespace openp2p::lab {

inline constexpr std::size_t kIcmpHeaderBytes = 8;
/// The largest IPv4 packet and more than the largest IPv6 one without a jumbogram's option.
inline constexpr std::size_t kIpPacketBytesMax = 65'535;

enum class Payload { kUdp, kTcp, kEchoRequest, kEchoReply, kIcmpError };

enum class PacketFault {
  kNone,
  kMalformed,  ///< Lengths that contradict each other, or another version.
  kFragment,   ///< Only the first one has ports; none passes, as with many a cheap NAT.
  kUnknownPayload,
};

/// The fields of a packet that a NAT looks at. An ICMP echo's identifier stands in the place of the
/// port at the side that asks (RFC 5508 section 3); the other side's is 0, as are ICMP errors'.
struct PacketFields {
  PacketFault fault = PacketFault::kNone;
  bool is_v4 = true;
  Payload payload = Payload::kUdp;
  Address from;
  Address to;
  std::size_t header_bytes = 0;  ///< The IP header: the payload begins here.
  std::size_t bytes = 0;         ///< The whole packet; what follows it is no part of it.
  std::uint8_t hop_limit = 0;
  sim::TcpHeader tcp;  ///< Of a whole TCP packet: its flags alone.
};

/// Reads a packet in which nothing may be missing. `fields.fault` says what is wrong with it; then
/// nothing else counts. Checksums are not looked at: what was wrong before stays wrong.
PacketFields read_packet(ByteView packet);
/// Reads the packet that an ICMP error quotes: cut off anywhere behind its first 8 bytes of
/// payload.
PacketFields read_quoted_packet(ByteView packet);

/// Writes other addresses, ports and identifiers into an IPv4 packet, whole or quoted, and keeps
/// its checksums as right as they were. Returns the change of all its words, the checksums'
/// included, for the checksum of an ICMP error around it.
OnesSum rewrite_packet(MutableByteView packet, const PacketFields& fields, const Address& from,
                       const Address& to);

void decrement_hop_limit(MutableByteView packet, const PacketFields& fields);

enum class IcmpErrorKind { kProhibited, kTooBig, kTimeExceeded };

/// Writes an ICMP or ICMPv6 error from `reporter` to the sender of `packet` (RFC 792, RFC 4443) and
/// returns its size; 0 if none may be sent: about ICMP errors, to nobody, or without room.
std::size_t make_icmp_error(ByteView packet, IcmpErrorKind kind, const IpAddress& reporter,
                            std::uint16_t mtu, MutableByteView out);

}  // namespace openp2p::lab
