#include "forward/early_datagrams.h"

#include <gtest/gtest.h>

#include "wire/codec.h"

namespace openp2p::forward {
namespace {

std::vector<Bytes> read(ByteView frames) {
  std::vector<Bytes> datagrams;
  for (Reader in(frames); !in.empty();) {
    const auto size = in.u16();
    datagrams.push_back(to_bytes(*in.bytes(*size)));
  }
  return datagrams;
}

TEST(EarlyDatagrams, KeepTheirOrderAndTheirLengths) {
  EarlyDatagrams early;

  EXPECT_EQ(early.push(as_bytes("one")), 0U);
  EXPECT_EQ(early.push({}), 0U);
  EXPECT_EQ(early.push(as_bytes("three")), 0U);

  const auto datagrams = read(early.frames());
  ASSERT_EQ(datagrams.size(), 3U);
  EXPECT_EQ(as_text(datagrams[0]), "one");
  EXPECT_TRUE(datagrams[1].empty());
  EXPECT_EQ(as_text(datagrams[2]), "three");
}

TEST(EarlyDatagrams, TheOldestGiveWay) {
  EarlyDatagrams early;
  std::size_t dropped = 0;
  for (unsigned i = 0; i < 1'000; ++i) {
    Bytes datagram(1'000, std::byte(i % 251));
    dropped += early.push(datagram);
    ASSERT_LE(early.frames().size(), EarlyDatagrams::kBytesMax);
  }

  const auto datagrams = read(early.frames());
  EXPECT_EQ(datagrams.size(), EarlyDatagrams::kBytesMax / 1'002);
  EXPECT_EQ(dropped + datagrams.size(), 1'000U);
  EXPECT_EQ(early.count(), datagrams.size());
  EXPECT_EQ(datagrams.back(), Bytes(1'000, std::byte(999 % 251)));
}

TEST(EarlyDatagrams, TheLargestFits) {
  EarlyDatagrams early;
  early.push(Bytes(100));
  EXPECT_EQ(early.push(Bytes(65'507)), 0U);
  EXPECT_EQ(early.push(Bytes(65'507)), 1U);  // Two of them, not three.
  EXPECT_EQ(early.count(), 2U);
}

}  // namespace
}  // namespace openp2p::forward
