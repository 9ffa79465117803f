#include "base/replay_window.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "base/random.h"

namespace openp2p {
namespace {

using Window = ReplayWindow<1024>;

TEST(ReplayWindow, TakesEachNumberOnce) {
  Window window;
  for (const std::uint64_t number : {1u, 3u, 2u, 700u, 4u}) {
    EXPECT_TRUE(window.is_fresh(number)) << number;
    window.mark(number);
    EXPECT_FALSE(window.is_fresh(number)) << number;
  }
}

TEST(ReplayWindow, WhatIsTooOldCountsAsSeen) {
  Window window;
  window.mark(5000);

  EXPECT_FALSE(window.is_fresh(5000 - Window::kWindow));
  EXPECT_TRUE(window.is_fresh(5000 - Window::kWindow + 1));
  EXPECT_FALSE(window.is_fresh(0));
}

TEST(ReplayWindow, SurvivesTheLargestNumber) {
  Window window;
  const auto last = std::numeric_limits<std::uint64_t>::max();
  window.mark(last);

  EXPECT_FALSE(window.is_fresh(last));
  EXPECT_TRUE(window.is_fresh(last - 1));
  EXPECT_FALSE(window.is_fresh(1));
}

TEST(ReplayWindow, AgreesWithASetOfAllNumbers) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    Window window;
    std::set<std::uint64_t> seen;
    std::uint64_t highest = 0;
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t jump = random.chance(0.02) ? random.below(3000) : random.below(4);
      const std::uint64_t back = random.below(1500);
      const std::uint64_t number = highest + jump > back ? highest + jump - back : 1;
      const bool is_old = highest >= number && highest - number >= Window::kWindow;
      ASSERT_EQ(window.is_fresh(number), !is_old && !seen.contains(number)) << "seed " << seed;
      window.mark(number);
      seen.insert(number);
      highest = std::max(highest, number);
    }
  }
}

}  // namespace
}  // namespace openp2p
