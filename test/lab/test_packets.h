#pragma once

#include <algorithm>
#include <cstdint>

#include "base/address.h"
#include "base/bytes.h"
#include "test/lab/ip_packet.h"

/// Packets as a kernel sends them, for tests: built and judged here by whole sums, independently of
/// the incremental ones under test.
namespace openp2p::lab {

inline constexpr std::size_t kV4Bytes = 20, kV6Bytes = 40;

inline void put_address(MutableByteView out, std::size_t offset, const IpAddress& ip) {
  const auto bytes = std::as_bytes(std::span(ip.bytes())).subspan(ip.is_v4() ? 12 : 0);
  std::ranges::copy(bytes, out.begin() + static_cast<std::ptrdiff_t>(offset));
}

/// The sum over pseudo-header and payload: 0xffff where the checksum in it is right.
inline std::uint16_t payload_sum(ByteView packet) {
  const bool is_v4 = std::to_integer<unsigned>(packet[0]) >> 4 == 4;
  const ByteView payload = packet.subspan(is_v4 ? kV4Bytes : kV6Bytes);
  const auto protocol = std::to_integer<std::uint8_t>(packet[is_v4 ? 9 : 6]);
  OnesSum sum;
  sum.add(payload);
  if (!is_v4 || protocol != 1) {
    sum.add(is_v4 ? packet.subspan(12, 8) : packet.subspan(8, 32));
    sum.add(static_cast<std::uint16_t>(payload.size()));
    sum.add(std::uint16_t{protocol});
  }
  return sum.folded();
}

/// Whether the checksums of a packet without options hold.
inline bool has_right_checksums(ByteView packet) {
  OnesSum header;
  header.add(packet.first(kV4Bytes));
  const bool is_v4 = std::to_integer<unsigned>(packet[0]) >> 4 == 4;
  return (!is_v4 || header.folded() == 0xffff) && payload_sum(packet) == 0xffff;
}

inline Bytes ip_packet(std::uint8_t protocol, const IpAddress& from, const IpAddress& to,
                       ByteView payload, std::size_t checksum_offset, std::uint8_t hop_limit) {
  const bool is_v4 = from.is_v4();
  const std::size_t header_bytes = is_v4 ? kV4Bytes : kV6Bytes;
  Bytes packet(header_bytes + payload.size());
  std::ranges::copy(payload, packet.begin() + static_cast<std::ptrdiff_t>(header_bytes));
  packet[0] = std::byte{is_v4 ? std::uint8_t{0x45} : std::uint8_t{0x60}};
  set_word(packet, is_v4 ? 2 : 4,
           static_cast<std::uint16_t>(is_v4 ? packet.size() : payload.size()));
  packet[is_v4 ? 8 : 7] = std::byte{hop_limit};
  packet[is_v4 ? 9 : 6] = std::byte{protocol};
  put_address(packet, is_v4 ? 12 : 8, from);
  put_address(packet, is_v4 ? 16 : 24, to);
  if (is_v4) {
    OnesSum sum;
    sum.add(ByteView(packet).first(kV4Bytes));
    set_word(packet, 10, sum.checksum());
  }
  const auto sum = static_cast<std::uint16_t>(~payload_sum(packet));
  const bool is_udp = protocol == 17;
  set_word(packet, header_bytes + checksum_offset, is_udp && sum == 0 ? 0xffff : sum);
  return packet;
}

inline Bytes udp_packet(const Address& from, const Address& to, std::string_view text = "hello",
                        std::uint8_t hop_limit = 64) {
  Bytes payload(8 + text.size());
  set_word(payload, 0, from.port);
  set_word(payload, 2, to.port);
  set_word(payload, 4, static_cast<std::uint16_t>(payload.size()));
  std::ranges::copy(as_bytes(text), payload.begin() + 8);
  return ip_packet(17, from.ip, to.ip, payload, 6, hop_limit);
}

inline constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;

inline Bytes tcp_packet(const Address& from, const Address& to, std::string_view text = "",
                        std::uint8_t flags = kSyn) {
  Bytes payload(20 + text.size());
  set_word(payload, 0, from.port);
  set_word(payload, 2, to.port);
  payload[12] = std::byte{0x50};
  payload[13] = std::byte{flags};
  std::ranges::copy(as_bytes(text), payload.begin() + 20);
  return ip_packet(6, from.ip, to.ip, payload, 16, 64);
}

inline Bytes echo_packet(const IpAddress& from, const IpAddress& to, std::uint16_t id,
                         bool is_request) {
  Bytes payload(16);
  const std::uint8_t request = from.is_v4() ? 8 : 128, reply = from.is_v4() ? 0 : 129;
  payload[0] = std::byte{is_request ? request : reply};
  set_word(payload, 4, id);
  return ip_packet(from.is_v4() ? 1 : 58, from, to, payload, 2, 64);
}

/// A router's or host's error about `quoted`.
inline Bytes error_packet(const IpAddress& reporter, ByteView quoted) {
  Bytes out(kIpPacketBytesMax);
  out.resize(make_icmp_error(quoted, IcmpErrorKind::kProhibited, reporter, 0, out));
  return out;
}

}  // namespace openp2p::lab
