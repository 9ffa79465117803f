#include "nat/stun_attributes.h"

#include <array>

#include "nat/stun_message.h"

namespace openp2p::nat {
namespace {

constexpr std::uint32_t kFingerprintMask = 0x5354554e;  // "STUN"

/// CRC-32 of ITU V.42, the one of Ethernet and zip, reflected.
constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

}  // namespace

AttributeWalk::AttributeWalk(ByteView datagram)
    : rest_(datagram.subspan(kStunHeaderBytes)), size_(datagram.size()) {}

Result<Attribute> AttributeWalk::next() {
  if (++count_ > kAttributesMax) return WireError::kTooLong;
  Attribute attribute;
  attribute.offset = size_ - rest_.rest().size();
  const auto type = rest_.u16();
  if (!type) return type.error();
  const auto size = rest_.u16();
  if (!size) return size.error();
  const auto value = rest_.bytes(*size);
  if (!value) return value.error();
  const auto padding = rest_.bytes((4 - *size % 4) % 4);
  if (!padding) return padding.error();
  attribute.type = *type;
  attribute.value = *value;
  return attribute;
}

std::uint32_t fingerprint_of(ByteView message) {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte b : message) {
    crc = crc >> 8 ^ kCrcTable[(crc ^ std::to_integer<std::uint32_t>(b)) & 0xff];
  }
  return ~crc ^ kFingerprintMask;
}

}  // namespace openp2p::nat
