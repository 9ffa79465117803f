#include "path/stranger_limit.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

const IpAddress kA = IpAddress::v4(11, 0, 0, 1);
const IpAddress kB = IpAddress::v4(11, 0, 0, 2);

IpAddress numbered(std::size_t number) {
  return IpAddress::v4(12, 0, static_cast<std::uint8_t>(number >> 8),
                       static_cast<std::uint8_t>(number));
}

TEST(StrangerLimit, GivesEachAddressABurstAndThenATrickle) {
  StrangerLimit limit(/*burst=*/10, /*refill=*/1s);
  int at_once = 0;
  int later = 0;
  for (int i = 0; i < 100; ++i) at_once += limit.take(kA, TimePoint{});
  for (TimePoint now{}; now <= TimePoint{} + 20s; now += 10ms) later += limit.take(kA, now);

  EXPECT_EQ(at_once, 10);
  EXPECT_EQ(later, 20);
  EXPECT_TRUE(limit.take(kB, TimePoint{}));
}

TEST(StrangerLimit, SaysWhenTheNextMayGo) {
  StrangerLimit limit(/*burst=*/2, /*refill=*/1s);
  EXPECT_LE(limit.next_at(kA, TimePoint{}), TimePoint{});
  while (limit.take(kA, TimePoint{})) continue;

  EXPECT_EQ(limit.next_at(kA, TimePoint{}), TimePoint{} + 1s);
  EXPECT_FALSE(limit.take(kA, TimePoint{} + 999ms));
  EXPECT_TRUE(limit.take(kA, TimePoint{} + 1s));
}

TEST(StrangerLimit, AnAnswerGivesEverythingBack) {
  StrangerLimit limit(/*burst=*/2, /*refill=*/1h);
  while (limit.take(kA, TimePoint{})) continue;

  limit.on_answer(kA);

  EXPECT_TRUE(limit.take(kA, TimePoint{}));
}

TEST(StrangerLimit, ThousandsOfAddressesShareALittleUntilOldOnesAreForgotten) {
  StrangerLimit limit(/*burst=*/100, /*refill=*/1s);
  for (std::size_t i = 0; i < StrangerLimit::kAddressesMax; ++i) {
    ASSERT_TRUE(limit.take(numbered(i), TimePoint{}));
  }

  int taken = 0;
  for (std::size_t i = 0; i < 10'000; ++i) taken += limit.take(numbered(5'000 + i), TimePoint{});
  EXPECT_EQ(taken, StrangerLimit::kSharedBurst);

  const TimePoint later = TimePoint{} + 1s;  // By now the first ones are forgotten.
  for (std::size_t i = 0; i < 100; ++i) EXPECT_TRUE(limit.take(kA, later));
}

}  // namespace
}  // namespace openp2p::path
