#include "agent/stay_awake.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

class StayAwakeTest : public testing::Test {
 protected:
  /// Data, and then nothing. True: the loop looked for more, for the whole span.
  bool miss() {
    if (!stay_awake_.on_moved()) return false;
    EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
    now_ += kSpan;
    EXPECT_FALSE(stay_awake_.wants_to_look(now_, preemptions_));
    now_ += 1ms;
    return true;
  }
  /// Data whose answer comes while the loop looks, `count` times; then nothing.
  bool hit(int count) {
    if (!stay_awake_.on_moved()) return false;
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
      now_ += kSpan / 2;
      EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
      EXPECT_TRUE(stay_awake_.on_moved());
    }
    EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
    now_ += kSpan;
    EXPECT_FALSE(stay_awake_.wants_to_look(now_, preemptions_));
    return true;
  }
  int misses_of(int bursts) {
    int looked = 0;
    for (int i = 0; i < bursts; ++i) looked += miss() ? 1 : 0;
    return looked;
  }

  static constexpr Duration kSpan = 100us;
  TimePoint now_{};
  std::int64_t preemptions_ = 7;
  StayAwake stay_awake_{kSpan};
};

TEST_F(StayAwakeTest, SleepsBeforeThereWasData) {
  EXPECT_FALSE(stay_awake_.wants_to_look(now_, preemptions_));
}

TEST_F(StayAwakeTest, WhoeverWantsTheProcessorEndsTheLookAndMakesItRare) {
  EXPECT_TRUE(hit(/*count=*/10));
  EXPECT_TRUE(stay_awake_.on_moved());
  EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
  ++preemptions_;

  EXPECT_FALSE(stay_awake_.wants_to_look(now_, preemptions_));
  EXPECT_EQ(misses_of(64), 1);
}

TEST_F(StayAwakeTest, TheSpanBeginsAtTheEndOfTheTurn) {
  stay_awake_.on_moved();
  now_ += 5ms;  // The turn was long.

  EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
  EXPECT_TRUE(stay_awake_.wants_to_look(now_ + kSpan - 1ns, preemptions_));
  EXPECT_FALSE(stay_awake_.wants_to_look(now_ + kSpan, preemptions_));
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
    if (stay_awake_.on_moved()) {
      stay_awake_.on_moved();
      ++looked;
      EXPECT_TRUE(stay_awake_.wants_to_look(now_, preemptions_));
      now_ += kSpan;
      EXPECT_FALSE(stay_awake_.wants_to_look(now_, preemptions_));
    }
  }
  EXPECT_LE(looked, 30);
}

}  // namespace
}  // namespace openp2p::agent
