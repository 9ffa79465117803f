#include "sim/clock.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "sim/inbox.h"
#include "sim/internet.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

TEST(Clock, ShowsTheWorldsTimeUnlessToldOtherwise) {
  const Clock clock;

  EXPECT_EQ(clock.at(TimePoint{} + 17s), TimePoint{} + 17s);
  EXPECT_EQ(clock.when(TimePoint{} + 17s), TimePoint{} + 17s);
}

TEST(Clock, RunsFastOrSlowFromItsOffset) {
  const Clock fast({.offset = 1h, .fast_by_ppm = 20'000});
  const Clock slow({.offset = 1h, .fast_by_ppm = -500});

  EXPECT_EQ(fast.at(TimePoint{}), TimePoint{} + 1h);
  EXPECT_EQ(fast.at(TimePoint{} + 100s), TimePoint{} + 1h + 102s);
  EXPECT_EQ(slow.at(TimePoint{} + 100s), TimePoint{} + 1h + 99'950ms);
}

TEST(Clock, ATimerFiresAtTheFirstMomentThatShowsItsTime) {
  Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto ppm = static_cast<std::int64_t>(random.below(2 * Clock::kFastByPpmMax + 1)) -
                     Clock::kFastByPpmMax;
    const Clock clock(
        {.offset = std::chrono::milliseconds(random.below(1'000)), .fast_by_ppm = ppm});
    const TimePoint local = TimePoint{} + Duration(random.below(std::uint64_t{1} << 50));

    const TimePoint world = clock.when(local);

    EXPECT_GE(clock.at(world), local) << ppm;
    EXPECT_TRUE(world == TimePoint{} || clock.at(world - 1ns) < local) << ppm;
  }
}

TEST(Clock, NeverGoesBack) {
  const Clock slow({.fast_by_ppm = -Clock::kFastByPpmMax});
  for (TimePoint now; now < TimePoint{} + 10us; now += 1ns) {
    EXPECT_LE(slow.at(now), slow.at(now + 1ns));
  }
}

TEST(Clock, SocketsOfAHostTellItsTime) {
  World world(1);
  Internet internet(world);
  Host sender(world, internet.core(), line({.delay = 10ms}));
  Host receiver(world, internet.core(), line({.delay = 10ms}));
  receiver.set_clock({.offset = 1h, .fast_by_ppm = 20'000});
  UdpSocket& from = sender.open_udp();
  UdpSocket& to = receiver.open_udp();
  TimePoint told;
  to.on_receive([&told](const Address&, ByteView, TimePoint now) { told = now; });
  TimePoint connected;
  ASSERT_TRUE(receiver.tcp().listen(
      80, Family::kV4, [&connected](TcpConnection&, TimePoint now) { connected = now; }));
  world.run_for(100s);

  from.send(to.local(), as_bytes("x"));
  const auto connection = sender.tcp().connect({to.local().ip, 80});
  ASSERT_TRUE(connection);
  world.run_for(10s);

  EXPECT_NEAR(std::chrono::duration<double>(told - TimePoint{}).count(), 3'702.02, 0.01);
  EXPECT_NEAR(std::chrono::duration<double>(connected - TimePoint{}).count(), 3'702.06, 0.01);
  EXPECT_EQ(receiver.now(), TimePoint{} + 1h + 112'200ms);
}

}  // namespace
}  // namespace openp2p::sim
