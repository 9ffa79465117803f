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

Packet Packet::error_about(ErrorKind kind, const Address& reporter, const Address& from,
                           const Address& to, std::size_t mtu) {
  Packet packet;
  packet.from = reporter;
  packet.to = from;
  packet.error = std::make_unique<IcmpError>(IcmpError{kind, from, to, mtu});
  return packet;
}

bool Packet::travel(std::uint8_t hops) {
  if (hops_left <= hops) return false;
  hops_left = static_cast<std::uint8_t>(hops_left - hops);
  return true;
}

std::size_t Packet::ip_bytes() const { return header_bytes(family_of(to.ip)) + payload.size(); }

Packet Packet::copy() const {
  Packet twin;
  twin.from = from;
  twin.to = to;
  twin.payload = payload.copy();
  if (error) twin.error = std::make_unique<IcmpError>(*error);
  twin.hops_left = hops_left;
  return twin;
}

}  // namespace openp2p::sim
