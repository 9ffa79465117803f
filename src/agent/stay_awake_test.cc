#include "agent/stay_awake.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

class StayAwakeTest : public testing::Test {
 protected:
  /// Bulk data, and then nothing. True: the loop looked for more, for the whole span.
  bool miss() {
    if (!stay_awake_.on_moved(StayAwake::kBulkBytesMin)) return false;
    EXPECT_TRUE(stay_awake_.wants_to_look(now_));
    now_ += StayAwake::kSpan;
    EXPECT_FALSE(stay_awake_.wants_to_look(now_));
    now_ += 1ms;
    return true;
  }
  /// Bulk data whose answer comes while the loop looks, `count` times; then nothing.
  bool hit(int count) {
    if (!stay_awake_.on_moved(StayAwake::kBulkBytesMin)) return false;
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE(stay_awake_.wants_to_look(now_));
      now_ += StayAwake::kSpan / 2;
      EXPECT_TRUE(stay_awake_.wants_to_look(now_));
      EXPECT_TRUE(stay_awake_.on_moved(StayAwake::kBulkBytesMin));
    }
    EXPECT_TRUE(stay_awake_.wants_to_look(now_));
    now_ += StayAwake::kSpan;
    EXPECT_FALSE(stay_awake_.wants_to_look(now_));
    return true;
  }
  int misses_of(int bursts) {
    int looked = 0;
    for (int i = 0; i < bursts; ++i) looked += miss() ? 1 : 0;
    return looked;
  }

  TimePoint now_{};
  StayAwake stay_awake_;
};

TEST_F(StayAwakeTest, SmallMessagesLetTheLoopSleep) {
  EXPECT_FALSE(stay_awake_.on_moved(StayAwake::kBulkBytesMin - 1));
  EXPECT_FALSE(stay_awake_.wants_to_look(now_));
}

TEST_F(StayAwakeTest, TheSpanBeginsAtTheEndOfTheTurn) {
  stay_awake_.on_moved(StayAwake::kBulkBytesMin);
  now_ += 5ms;  // The turn was long.

  EXPECT_TRUE(stay_awake_.wants_to_look(now_));
  EXPECT_TRUE(stay_awake_.wants_to_look(now_ + StayAwake::kSpan - 1ns));
  EXPECT_FALSE(stay_awake_.wants_to_look(now_ + StayAwake::kSpan));
}

TEST_F(StayAwakeTest, LooksAfterEachBurstWhileThatIsOfUse) {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(hit(/*count=*/1));
}

TEST_F(StayAwakeTest, LooksRarelyWhereNothingEverComes) {
  misses_of(1000);

  EXPECT_LE(misses_of(6400), 100);
  EXPECT_GE(misses_of(6400), 99);  // But it goes on trying.
}

TEST_F(StayAwakeTest, AFewMissesChangeNothing) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(misses_of(StayAwake::kMissesMax - 1), StayAwake::kMissesMax - 1);
    EXPECT_TRUE(hit(/*count=*/1));
  }
}

TEST_F(StayAwakeTest, OneHitEndsTheRestraint) {
  misses_of(1000);
  while (!hit(/*count=*/1)) now_ += 1ms;

  EXPECT_EQ(misses_of(StayAwake::kMissesMax - 1), StayAwake::kMissesMax - 1);
}

// The bursts of one turn are one movement: the second did not come while the loop looked.
TEST_F(StayAwakeTest, BurstsOfOneTurnAreNoHit) {
  int looked = 0;
  for (int i = 0; i < 1000; ++i) {
    if (stay_awake_.on_moved(StayAwake::kBulkBytesMin)) {
      stay_awake_.on_moved(StayAwake::kBulkBytesMin);
      ++looked;
      EXPECT_TRUE(stay_awake_.wants_to_look(now_));
      now_ += StayAwake::kSpan;
      EXPECT_FALSE(stay_awake_.wants_to_look(now_));
    }
  }
  EXPECT_LE(looked, 30);
}

}  // namespace
}  // namespace openp2p::agent
