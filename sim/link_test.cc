#include "sim/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

/// Sends numbered datagrams and remembers what arrives, in order, and when.
class LinkTest : public testing::Test {
 protected:
  void send(Link& link, unsigned number, std::size_t bytes = 100) {
    Bytes datagram(bytes);
    datagram[0] = static_cast<std::byte>(number >> 8);
    datagram[1] = static_cast<std::byte>(number);
    last_drop_ = link.send(datagram, [this](ByteView view, TimePoint now) {
      arrived_.push_back(std::to_integer<unsigned>(view[0]) << 8 |
                         std::to_integer<unsigned>(view[1]));
      times_.push_back(now.time_since_epoch());
    });
  }
  void send_paced(Link& link, unsigned count, Duration pace) {
    for (unsigned i = 0; i < count; ++i) {
      send(link, i);
      world_.run_for(pace);
    }
    world_.run_for(10s);
  }

  World world_{1};
  std::vector<unsigned> arrived_;
  std::vector<Duration> times_;
  std::optional<DropReason> last_drop_;
};

TEST_F(LinkTest, DelaysByItsDelayAndNoMore) {
  Link link(world_, {.delay = 40ms});

  send(link, 7);
  world_.run_for(1s);

  EXPECT_THAT(arrived_, ElementsAre(7));
  EXPECT_THAT(times_, ElementsAre(40ms));
}

TEST_F(LinkTest, JitterSpreadsArrivalsAndKeepsOrder) {
  Link link(world_, {.delay = 10ms, .jitter = 20ms});

  send_paced(link, 1000, 1ms);

  ASSERT_EQ(arrived_.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(arrived_.begin(), arrived_.end()));
  Duration least = 1h, most = 0s;
  for (unsigned i = 0; i < 1000; ++i) {
    const Duration transit = times_[i] - i * 1ms;
    least = std::min(least, transit);
    most = std::max(most, transit);
  }
  EXPECT_GE(least, 10ms);
  EXPECT_LE(most, 30ms);
  EXPECT_GT(most - least, 10ms);
}

TEST_F(LinkTest, LosesTheShareItWasTold) {
  Link link(world_, {.loss = 0.1});

  send_paced(link, 10'000, 1us);

  EXPECT_NEAR(static_cast<double>(arrived_.size()), 9'000, 120);  // 4 standard deviations.
  EXPECT_EQ(world_.counters().drops(DropReason::kLoss), 10'000 - arrived_.size());
}

TEST_F(LinkTest, DuplicatesTheShareItWasTold) {
  Link link(world_, {.duplication = 0.2});

  send_paced(link, 5'000, 1us);

  EXPECT_NEAR(static_cast<double>(arrived_.size()), 6'000, 115);
}

TEST_F(LinkTest, ReordersTheShareItWasTold) {
  Link link(world_, {.delay = 5ms, .reordering = 0.1, .reordering_delay = 3ms});

  send_paced(link, 5'000, 1ms);

  ASSERT_EQ(arrived_.size(), 5'000u);
  int overtaken = 0;
  for (std::size_t i = 1; i < arrived_.size(); ++i) overtaken += arrived_[i] < arrived_[i - 1];
  EXPECT_GT(overtaken, 300);
  EXPECT_LT(overtaken, 600);
}

TEST_F(LinkTest, CarriesAtItsRate) {
  Link link(world_, {.bits_per_second = 800'000});  // 1,000 bytes take 10 ms.

  for (unsigned i = 0; i < 4; ++i) send(link, i, /*bytes=*/1000);
  EXPECT_EQ(link.queued_bytes(), 4000u);
  world_.run_for(1s);

  EXPECT_THAT(times_, ElementsAre(10ms, 20ms, 30ms, 40ms));
}

TEST_F(LinkTest, DropsBeyondItsQueue) {
  Link link(world_, {.bits_per_second = 800'000, .queue_bytes = 2500});

  for (unsigned i = 0; i < 4; ++i) send(link, i, /*bytes=*/1000);
  world_.run_for(10ms);  // One has left: there is room for one.
  send(link, 4, /*bytes=*/1000);
  world_.run_for(1s);

  EXPECT_THAT(arrived_, ElementsAre(0, 1, 4));
  EXPECT_EQ(world_.counters().drops(DropReason::kQueueFull), 2u);
}

TEST_F(LinkTest, RefusesWhatExceedsItsMtu) {
  Link link(world_, {.mtu = 1400});

  send(link, 1, /*bytes=*/1400);
  EXPECT_EQ(last_drop_, std::nullopt);
  send(link, 2, /*bytes=*/1401);
  EXPECT_EQ(last_drop_, DropReason::kTooBig);
  world_.run_for(1s);

  EXPECT_THAT(arrived_, ElementsAre(1));
}

TEST_F(LinkTest, LosesWhatIsOnItWhenItGoesDown) {
  Link link(world_, {.delay = 40ms});

  send(link, 1);
  world_.run_for(20ms);
  link.set_up(false);
  send(link, 2);
  EXPECT_EQ(last_drop_, DropReason::kDown);
  link.set_up(true);
  send(link, 3);
  world_.run_for(1s);

  EXPECT_THAT(arrived_, ElementsAre(3));
  EXPECT_EQ(world_.counters().drops(DropReason::kDown), 2u);
}

TEST_F(LinkTest, BlackholeSwallowsOnlyWhatIsSentIntoIt) {
  Link link(world_, {.delay = 40ms});

  send(link, 1);
  link.set_blackhole(true);
  send(link, 2);
  link.set_blackhole(false);
  send(link, 3);
  world_.run_for(1s);

  EXPECT_THAT(arrived_, ElementsAre(1, 3));
  EXPECT_EQ(world_.counters().drops(DropReason::kBlackhole), 1u);
}

TEST_F(LinkTest, DiffersFromOtherLinksInItsLuck) {
  Link one(world_, {.loss = 0.5});
  Link two(world_, {.delay = 1s, .loss = 0.5});

  for (unsigned i = 0; i < 100; ++i) send(one, i);
  world_.run_for(1ms);
  const std::vector<unsigned> by_one = std::exchange(arrived_, {});
  for (unsigned i = 0; i < 100; ++i) send(two, i);
  world_.run_for(2s);

  EXPECT_NE(arrived_, by_one);
}

TEST_F(LinkTest, IsNotDisturbedByOtherLinks) {
  const auto run = [](bool other_is_busy) {
    World world(5);
    Link link(world, {.loss = 0.5});
    Link other(world, {.loss = 0.5});
    std::vector<int> arrived;
    for (int i = 0; i < 100; ++i) {
      link.send(Bytes(10), [&arrived, i](ByteView, TimePoint) { arrived.push_back(i); });
      if (other_is_busy) other.send(Bytes(10), [](ByteView, TimePoint) {});
    }
    world.run_for(1s);
    return arrived;
  };
  EXPECT_EQ(run(/*other_is_busy=*/false), run(/*other_is_busy=*/true));
}

}  // namespace
}  // namespace openp2p::sim
