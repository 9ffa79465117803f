#include "sim/packet.h"

#include "base/check.h"

namespace openp2p::sim {

bool Prefix::contains(const IpAddress& ip) const {
  if (ip.is_v4() != base.is_v4()) return false;
  const unsigned bits = base.is_v4() ? length + 96 : length;  // IPv4 is kept v4-mapped.
  const unsigned whole = bits / 8;
  for (unsigned i = 0; i < whole; ++i) {
    if (ip.bytes()[i] != base.bytes()[i]) return false;
  }
  const unsigned rest = bits % 8;
  if (rest == 0) return true;
  return (ip.bytes()[whole] ^ base.bytes()[whole]) >> (8 - rest) == 0;
}

IpAddress Prefix::at(std::uint64_t number) const {
  if (base.is_v4()) {
    const IpAddress ip = IpAddress::v4(base.v4_bits() + static_cast<std::uint32_t>(number));
    CHECK(contains(ip));
    return ip;
  }
  std::array<std::uint8_t, 16> bytes = base.bytes();
  for (std::size_t i = 16; i-- > 8; number >>= 8) {
    number += bytes[i];
    bytes[i] = static_cast<std::uint8_t>(number);
  }
  const IpAddress ip = IpAddress::v6(bytes);
  CHECK(contains(ip));
  return ip;
}

Packet Packet::error_about(const IcmpError& error, const Address& reporter) {
  Packet packet;
  packet.from = reporter;
  packet.to = error.from;
  packet.error = std::make_unique<IcmpError>(error);
  return packet;
}

std::optional<Packet> Packet::reset_for(const Packet& segment) {
  if (segment.tcp.is_rst) return std::nullopt;
  Packet reset;
  reset.protocol = Protocol::kTcp;
  reset.from = segment.to;
  reset.to = segment.from;
  reset.tcp.is_rst = true;
  if (segment.tcp.is_ack) {
    reset.tcp.sequence = segment.tcp.acknowledgment;
  } else {
    reset.tcp.is_ack = true;
    reset.tcp.acknowledgment = segment.tcp.sequence + segment.tcp_length();
  }
  return reset;
}

std::uint32_t Packet::tcp_length() const {
  return static_cast<std::uint32_t>(payload.size()) + (tcp.is_syn ? 1 : 0) + (tcp.is_fin ? 1 : 0);
}

bool Packet::travel(std::uint8_t hops) {
  if (hops_left <= hops) return false;
  hops_left = static_cast<std::uint8_t>(hops_left - hops);
  return true;
}

std::size_t Packet::ip_bytes() const {
  const Family family = family_of(to.ip);
  return (is_udp() ? header_bytes(family) : tcp_header_bytes(family)) + payload.size();
}

Packet Packet::copy() const {
  Packet twin;
  twin.from = from;
  twin.to = to;
  twin.payload = payload.copy();
  if (error) twin.error = std::make_unique<IcmpError>(*error);
  twin.tcp = tcp;
  twin.protocol = protocol;
  twin.hops_left = hops_left;
  return twin;
}

}  // namespace openp2p::sim
