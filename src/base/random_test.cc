#include "base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace openp2p {
namespace {

TEST(Random, SameSeedSameNumbers) {
  Random a(7), b(7), c(8);
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
}

TEST(Random, MatchesSplitMix64) { EXPECT_EQ(Random(1234567).next(), 6457827717110365317ULL); }

TEST(Random, BelowCoversItsRangeEvenly) {
  Random random(1);
  std::array<int, 10> hits{};
  for (int i = 0; i < 100'000; ++i) ++hits[random.below(10)];
  for (const int count : hits) EXPECT_NEAR(count, 10'000, 500);
}

}  // namespace
}  // namespace openp2p
