#include "net/timer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "net/deferred.h"
#include "net/test_loop.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

TEST(Timer, FiresNeverEarlyAndWithinAMillisecond) {
  IoContext io;
  std::vector<Duration> late;
  TimePoint deadline{};
  Timer timer(io, [&](TimePoint now) { late.push_back(now - deadline); });

  for (int i = 0; i < 41; ++i) {
    deadline = monotonic_now() + 300us;
    timer.arm(deadline);
    const std::size_t before = late.size();
    ASSERT_TRUE(run_until(io, [&] { return late.size() > before; }));
  }

  EXPECT_GE(*std::min_element(late.begin(), late.end()), 0ns);
  // The best of many: a busy machine is late at times, but rounding to a millisecond always is.
  EXPECT_LT(*std::min_element(late.begin(), late.end()), 650us);
}

TEST(Timer, EarlierDeadlineReplacesLaterOne) {
  IoContext io;
  int fired = 0;
  Timer timer(io, [&](TimePoint) { ++fired; });
  const TimePoint start = monotonic_now();

  timer.arm(start + 1h);
  timer.arm(start + 1ms);

  EXPECT_TRUE(run_until(io, [&] { return fired == 1; }));
}

TEST(Timer, LaterDeadlineFiresOnceAndInTime) {
  IoContext io;
  std::vector<TimePoint> fired;
  Timer timer(io, [&](TimePoint now) { fired.push_back(now); });
  const TimePoint start = monotonic_now();

  timer.arm(start + 1ms);
  timer.arm(start + 5ms);
  timer.arm(start + 20ms);

  ASSERT_TRUE(run_until(io, [&] { return !fired.empty(); }));
  EXPECT_GE(fired[0], start + 20ms);
  EXPECT_FALSE(run_until(
      io, [&] { return fired.size() > 1; }, 10ms));
}

TEST(Timer, PastDeadlineFiresOnNextTurn) {
  IoContext io;
  int fired = 0;
  Timer timer(io, [&](TimePoint) { ++fired; });

  timer.arm(TimePoint{});

  EXPECT_EQ(fired, 0);
  EXPECT_TRUE(run_until(io, [&] { return fired == 1; }));
}

TEST(Timer, WithdrawnDeadlineDoesNotFire) {
  IoContext io;
  int fired = 0;
  Timer timer(io, [&](TimePoint) { ++fired; });

  timer.arm(monotonic_now() + 1ms);
  timer.arm(std::nullopt);

  EXPECT_FALSE(run_until(
      io, [&] { return fired > 0; }, 10ms));
}

TEST(Timer, CallbackMayArmAgain) {
  IoContext io;
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(io, [&](TimePoint now) {
    if (++fired < 5) timer->arm(now + 100us);
  });

  timer->arm(monotonic_now());

  EXPECT_TRUE(run_until(io, [&] { return fired == 5; }));
}

TEST(Timer, CallbackMayDestroyIt) {
  IoContext io;
  int fired = 0;
  std::unique_ptr<Timer> timer;
  // What the function captured must stay alive while it runs.
  timer = std::make_unique<Timer>(io, [&, kept = std::make_shared<int>(7)](TimePoint) {
    timer.reset();
    fired += *kept;
  });

  timer->arm(monotonic_now());

  EXPECT_TRUE(run_until(io, [&] { return fired == 7; }));
}

TEST(Timer, IdleTimersCauseNoWakeup) {
  IoContext io;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 50; ++i) {
    timers.push_back(std::make_unique<Timer>(io, [](TimePoint) {}));
    timers.back()->arm(monotonic_now() + 1h);
  }

  // run_one_for() counts whatever the loop has to do: nothing.
  EXPECT_EQ(io.run_one_for(50ms), 0u);
}

TEST(Deferred, RunsOnceAfterWhatWasReady) {
  IoContext io;
  std::vector<int> order;
  Deferred flush(io, [&](TimePoint) { order.push_back(9); });
  Timer first(io, [&](TimePoint) {
    order.push_back(1);
    flush.request();
  });
  Timer second(io, [&](TimePoint) {
    order.push_back(1);
    flush.request();
  });

  first.arm(TimePoint{});
  second.arm(TimePoint{});

  ASSERT_TRUE(run_until(io, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector<int>{1, 1, 9}));
}

TEST(Deferred, DestroyedOneDoesNotRun) {
  IoContext io;
  bool ran = false;
  {
    Deferred flush(io, [&](TimePoint) { ran = true; });
    flush.request();
  }

  io.run();

  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace openp2p::net
