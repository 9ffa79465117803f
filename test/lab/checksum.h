#pragma once

#include <cstdint>

#include "base/bytes.h"

/// The Internet checksum (RFC 1071), and how to keep one right when a packet's words change.
namespace openp2p::lab {

inline std::uint16_t word_at(ByteView bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[offset]) << 8 |
                                    std::to_integer<unsigned>(bytes[offset + 1]));
}

inline void set_word(MutableByteView bytes, std::size_t offset, std::uint16_t value) {
  bytes[offset] = static_cast<std::byte>(value >> 8);
  bytes[offset + 1] = static_cast<std::byte>(value);
}

/// A sum of 16-bit words in ones' complement. Packets have at most 2^15 words, so 32 bits hold it.
class OnesSum {
 public:
  void add(std::uint16_t word) { sum_ += word; }
  void add(ByteView bytes) {  // An odd last byte counts as if a zero followed.
    std::size_t i = 0;
    for (; i + 1 < bytes.size(); i += 2) add(word_at(bytes, i));
    if (i < bytes.size()) add(static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[i]) << 8));
  }
  void add(const OnesSum& other) { add(other.folded()); }
  /// A word that changed: what RFC 1624 equation 3 adds to a checksum's complement.
  void replace(std::uint16_t old_word, std::uint16_t new_word) {
    add(static_cast<std::uint16_t>(~old_word));
    add(new_word);
  }
  std::uint16_t folded() const {
    std::uint32_t sum = sum_;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
  }
  std::uint16_t checksum() const { return static_cast<std::uint16_t>(~folded()); }

 private:
  std::uint32_t sum_ = 0;
};

/// RFC 1624 equation 3: HC' = ~(~HC + ~m + m'), with all changes of words in `change`.
inline std::uint16_t updated_checksum(std::uint16_t checksum, const OnesSum& change) {
  OnesSum sum = change;
  sum.add(static_cast<std::uint16_t>(~checksum));
  return sum.checksum();
}

}  // namespace openp2p::lab
