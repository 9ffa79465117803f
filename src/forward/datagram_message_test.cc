#include "forward/datagram_message.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "wire/codec.h"

namespace openp2p::forward {
namespace {

constexpr FlowId kFlow{0x01020304};

Bytes encode(const DatagramMessage& message) {
  Bytes out(encoded_bytes(message));
  encode_datagram(message, out);
  return out;
}

/// Header fields as a peer may write them, and as many bytes of data.
Bytes fragment(unsigned total, unsigned index, unsigned count, std::size_t data_bytes) {
  Bytes out(kFragmentHeaderBytes + data_bytes);
  Writer writer(out);
  writer.u32(kFlow.value());
  writer.u8(1);
  writer.u32(7);
  writer.u16(static_cast<std::uint16_t>(total));
  writer.u8(static_cast<std::uint8_t>(index));
  writer.u8(static_cast<std::uint8_t>(count));
  return out;
}

TEST(DatagramMessage, AWholeDatagramHasFiveBytesInFront) {
  const Bytes encoded = encode({kFlow, std::nullopt, as_bytes("hello")});

  EXPECT_EQ(to_hex(encoded), "0102030400" + to_hex(as_bytes("hello")));
  const auto decoded = decode_datagram(encoded);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->flow, kFlow);
  EXPECT_FALSE(decoded->fragment);
  EXPECT_EQ(as_text(decoded->data), "hello");
}

TEST(DatagramMessage, AnEmptyDatagramIsADatagram) {
  const auto decoded = decode_datagram(encode({kFlow, std::nullopt, {}}));

  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->data.empty());
}

TEST(DatagramMessage, AFragmentKeepsItsPlace) {
  const FragmentPlace place{0xdeadbeef, 10, 2, 3};  // Pieces of 4, 4 and 2 bytes.
  const Bytes encoded = encode({kFlow, place, as_bytes("ab")});

  EXPECT_EQ(to_hex(encoded), "0102030401deadbeef000a0203" + to_hex(as_bytes("ab")));
  const auto decoded = decode_datagram(encoded);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->fragment, place);
  EXPECT_EQ(decoded->fragment->offset(), 8U);
}

TEST(DatagramMessage, PiecesCoverEveryDatagramOnce) {
  for (std::size_t total = 1; total <= kDatagramBytesMax; total += total < 4'000 ? 1 : 997) {
    for (const std::size_t data_max : {1'190U, 1'425U, 9'000U}) {
      const std::size_t count = fragments_of(total, data_max);
      if (count < 2) continue;
      ASSERT_LE(count, FragmentPlace::kCountMax);
      FragmentPlace place{1, static_cast<std::uint16_t>(total), 0,
                          static_cast<std::uint8_t>(count)};
      std::size_t covered = 0;
      for (; place.index < place.count; ++place.index) {
        ASSERT_EQ(place.offset(), covered);
        ASSERT_GT(place.bytes(), 0U);
        ASSERT_LE(place.bytes(), data_max);
        covered += place.bytes();
      }
      ASSERT_EQ(covered, total);
    }
  }
}

TEST(DatagramMessage, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(decode_datagram({}));
  EXPECT_FALSE(decode_datagram(as_bytes("abcd")));
  EXPECT_FALSE(decode_datagram(as_bytes("abcd\x02more")));        // No such kind.
  EXPECT_FALSE(decode_datagram(fragment(10, 0, 1, 10)));          // One fragment is none.
  EXPECT_FALSE(decode_datagram(fragment(10, 2, 2, 5)));           // Behind the last.
  EXPECT_FALSE(decode_datagram(fragment(1'000, 0, 65, 16)));      // Too many.
  EXPECT_FALSE(decode_datagram(fragment(65'508, 0, 56, 1'170)));  // Too large for UDP.
  EXPECT_FALSE(decode_datagram(fragment(0, 0, 2, 0)));            // Nothing in it.
  EXPECT_FALSE(decode_datagram(fragment(4, 0, 3, 2)));            // The last would be empty.
  EXPECT_FALSE(decode_datagram(fragment(10, 0, 2, 4)));           // Shorter than its place,
  EXPECT_FALSE(decode_datagram(fragment(10, 0, 2, 6)));           // and longer.
  EXPECT_TRUE(decode_datagram(fragment(10, 0, 2, 5)));
}

TEST(DatagramMessage, EveryTruncatedHeaderIsRefused) {
  const Bytes whole = fragment(10, 0, 2, 5);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_datagram(ByteView(whole).first(size))) << size;
  }
}

}  // namespace
}  // namespace openp2p::forward
