#include <gtest/gtest.h>

#include "net/test_loop.h"
#include "net/timer.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

TEST(Timer, DeadlineMuchLaterSavesTheWakeup) {
  IoContext io;
  Timer timer(io, [](TimePoint) {});
  const TimePoint start = monotonic_now();

  timer.arm(start + 20ms);
  timer.arm(start + 1h);

  EXPECT_EQ(io.run_one_for(40ms), 0u);
}

TEST(Timer, DeadlineToAndFroIsNotMovedForEver) {
  IoContext io;
  Timer timer(io, [](TimePoint) {});
  const TimePoint start = monotonic_now();

  for (int i = 0; i < 100; ++i) {
    timer.arm(start + 20ms);
    timer.arm(start + 1h);
  }

  EXPECT_EQ(io.run_one_for(10s), 1u);  // The wake-up that it was too dear to save.
  EXPECT_EQ(io.run_one_for(40ms), 0u);
}

}  // namespace
}  // namespace openp2p::net
