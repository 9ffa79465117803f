#include "sim/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/link.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

TEST(World, RunsEventsInOrderOfTimeThenOfScheduling) {
  World world(1);
  std::string order;
  world.after(2s, [&] { order += 'c'; });
  world.after(1s, [&] { order += 'a'; });
  world.after(2s, [&] { order += 'd'; });
  world.after(1s, [&] {
    order += 'b';
    world.after(0s, [&] { order += '!'; });
  });

  world.run_until(TimePoint{} + 5s);

  EXPECT_EQ(order, "ab!cd");
  EXPECT_EQ(world.elapsed(), 5s);
}

TEST(World, StopsAtTheDeadlineAndNotBefore) {
  World world(1);
  int ran = 0;
  world.after(1s, [&] { ++ran; });
  world.after(1s + 1ns, [&] { ++ran; });

  world.run_until(TimePoint{} + 1s);
  EXPECT_EQ(ran, 1);
  world.run_for(1ns);
  EXPECT_EQ(ran, 2);
}

TEST(World, RunsUntilAConditionHolds) {
  World world(1);
  int count = 0;
  for (int i = 1; i <= 10; ++i) world.after(i * 1s, [&] { ++count; });

  EXPECT_TRUE(world.run_until([&] { return count == 3; }, TimePoint{} + 60s));
  EXPECT_EQ(world.elapsed(), 3s);
  EXPECT_FALSE(world.run_until([&] { return count == 30; }, TimePoint{} + 60s));
  EXPECT_EQ(world.elapsed(), 60s);
}

TEST(World, CancelledEventsDoNotRunAndFreeWhatTheyHold) {
  World world(1);
  const auto held = std::make_shared<int>();  // Shared by the test and the task, to see it die.
  const EventId id = world.after(1s, [held] { FAIL(); });
  EXPECT_EQ(held.use_count(), 2);

  world.cancel(id);
  EXPECT_EQ(held.use_count(), 1);
  const EventId next = world.after(1s, [] {});
  world.cancel(id);  // Again, after the slot may have been reused: harmless.

  EXPECT_TRUE(world.is_pending(next));
  world.run_for(2s);
  EXPECT_FALSE(world.is_pending(next));
}

TEST(World, KeepsTasksTooBigForTheQueue) {
  World world(1);
  std::array<std::uint64_t, 100> big{};
  big[99] = 42;
  std::uint64_t seen = 0;
  world.after(1s, [&seen, big] { seen = big[99]; });
  world.run_for(1s);
  EXPECT_EQ(seen, 42u);
}

TEST(Timer, FiresOnceAtTheLastDeadlineItWasGiven) {
  World world(1);
  std::vector<Duration> fired;
  Timer timer(world, [&] { fired.push_back(world.elapsed()); });

  timer.arm(TimePoint{} + 5s);
  timer.arm(TimePoint{} + 2s);
  timer.arm(TimePoint{} + 3s);
  world.run_for(10s);
  EXPECT_THAT(fired, ElementsAre(3s));

  timer.arm(TimePoint{} + 1s);  // The past means now.
  world.run_for(1s);
  EXPECT_THAT(fired, ElementsAre(3s, 10s));

  timer.arm(TimePoint{} + 20s);
  timer.arm(std::nullopt);
  world.run_for(60s);
  EXPECT_THAT(fired, ElementsAre(3s, 10s));
}

TEST(Timer, MayDieWhileArmed) {
  World world(1);
  {
    Timer timer(world, [] { FAIL(); });
    timer.arm(TimePoint{} + 1s);
  }
  world.run_for(2s);
}

std::uint64_t hash_of_busy_world(std::uint64_t seed) {
  World world(seed);
  Link link(world, {.delay = 10ms, .jitter = 5ms, .loss = 0.2, .duplication = 0.1});
  for (int i = 0; i < 200; ++i) {
    link.send(Bytes(100), [&](ByteView bytes, TimePoint) { world.trace(1, bytes.size()); });
    world.run_for(1ms);
  }
  return world.trace_hash();
}

TEST(World, SameSeedSameTrace) {
  EXPECT_EQ(hash_of_busy_world(1), hash_of_busy_world(1));
  EXPECT_NE(hash_of_busy_world(1), hash_of_busy_world(2));
}

}  // namespace
}  // namespace openp2p::sim
