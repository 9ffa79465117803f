#include "quic/frame_scan.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace openp2p::quic {
namespace {

Bytes hex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

TEST(FrameScan, FindsTheFrameBehindAllOthers) {
  const Bytes payload =
      hex("00"                  // PADDING
          "01"                  // PING
          "0210050101010203"    // ACK with a range
          "03100500010a0b0c"    // ACK with ECN counts
          "04080944ff"          // RESET_STREAM
          "060003aabbcc"        // CRYPTO
          "070211220a04024142"  // NEW_TOKEN, STREAM with length
          "0e0405026162"        // STREAM with offset and length
          "1041001104400512051309140115040516011701"
          "18010008aaaaaaaaaaaaaaaa00000000000000000000000000000000"
          "1901"
          "1a0102030405060708"
          "1b0102030405060708"
          "1e"
          "05084321"  // STOP_SENDING of stream 8, code 0x321
          "050c07");
  FrameScan scan(payload);

  const auto first = scan.next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->stream, 8);
  EXPECT_EQ(first->code, 0x321u);
  const auto second = scan.next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->stream, 12);
  EXPECT_EQ(second->code, 7u);
  EXPECT_FALSE(scan.next());
}

TEST(FrameScan, LooksNotIntoStreamData) {
  EXPECT_FALSE(FrameScan(hex("080405080705080705")).next());
}

TEST(FrameScan, EndsOnAnyBytes) {
  Random random(3);
  for (int i = 0; i < 20'000; ++i) {
    Bytes payload(random.below(80));
    random.fill(payload);
    for (auto& byte : payload) {
      if (random.chance(0.5)) byte &= std::byte{0x1f};
    }
    FrameScan scan(payload);
    int found = 0;
    while (scan.next()) ++found;
    EXPECT_LE(found, 40);
  }
}

}  // namespace
}  // namespace openp2p::quic
