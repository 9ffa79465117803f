#include "relay/shaper.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "base/random.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{};
constexpr std::size_t kDatagram = 1'252;

Account account(std::uint32_t number) {
  Account out{};
  for (std::size_t i = 0; i < 4; ++i) out[i] = static_cast<std::byte>(number >> (8 * i));
  return out;
}

/// A shaper under load in virtual time: whoever drives it looks each 500 us at the earliest, as
/// timers do.
struct Line {
  explicit Line(std::uint64_t bits_per_second) { shaper.set_rate(bits_per_second, now); }

  void add(Shaper::FlowId flow, std::uint32_t user) { shaper.add(flow, account(user)); }
  void offer(Shaper::FlowId flow, std::size_t bytes = kDatagram) {
    offered[flow] += bytes;
    if (shaper.pass(bytes, now)) {
      sent[flow] += bytes;
    } else if (!shaper.queue(flow, Bytes(bytes), 0)) {
      dropped[flow] += bytes;
    }
  }
  /// Calls `offer_all` each `interval`, and lets out what may go when the shaper says so.
  void run(Duration duration, Duration interval, const std::function<void()>& offer_all) {
    const TimePoint end = now + duration;
    TimePoint offer_at = now;
    while (now < end) {
      if (now >= offer_at) {
        offer_all();
        offer_at += interval;
      }
      while (const auto item = shaper.poll(now)) sent[item->flow] += item->datagram.size();
      TimePoint next = std::min(offer_at, end);
      if (const auto due = shaper.next_timeout()) {
        EXPECT_GT(*due, now) << "a timer that does nothing would spin";
        next = std::min(next, *due);
      }
      now = std::max(next, now + 500us);
    }
  }
  double mbit(Shaper::FlowId flow, Duration over) {
    return static_cast<double>(sent[flow]) * 8 / 1e6 / std::chrono::duration<double>(over).count();
  }

  Shaper shaper;
  TimePoint now = kStart;
  std::map<Shaper::FlowId, std::size_t> sent, offered, dropped;
};

TEST(Shaper, GivesACapOf10MbitBetween95And100PercentAlsoAfterHoursOfIdleness) {
  for (const Duration idle : {Duration(0s), Duration(1s), Duration(5h), Duration(9'000h)}) {
    Line line(10'000'000);
    line.add(0, 0);
    line.now += idle;
    line.run(30s, 1ms, [&] { line.offer(0), line.offer(0); });
    EXPECT_GE(line.mbit(0, 30s), 9.5);
    EXPECT_LE(line.mbit(0, 30s), 10.0);
  }
}

TEST(Shaper, NeitherBurstsNorStallsInAny100MillisecondsAfterIdleness) {
  Line line(10'000'000);
  line.add(0, 0);
  line.run(1s, 1ms, [&] { line.offer(0), line.offer(0); });
  line.run(3h, 1h, [] {});
  for (int i = 0; i < 20; ++i) {
    line.sent.clear();
    line.run(100ms, 1ms, [&] { line.offer(0), line.offer(0); });
    EXPECT_GE(line.mbit(0, 100ms), 9.3) << i;
    EXPECT_LE(line.mbit(0, 100ms), 10.0 + (i == 0 ? 1.4 : 0.3)) << i;
  }
}

TEST(Shaper, HoldsCapsFromModemsToFibre) {
  for (const std::uint64_t mbit : {1u, 3u, 100u, 1'000u}) {
    Line line(mbit * 1'000'000);
    line.add(0, 0);
    line.run(5s, 1ms, [&] {
      for (std::uint64_t i = 0; i < mbit / 8 + 1; ++i) line.offer(0);
    });
    EXPECT_GE(line.mbit(0, 5s), 0.95 * static_cast<double>(mbit));
    EXPECT_LE(line.mbit(0, 5s), 1.03 * static_cast<double>(mbit));
  }
}

TEST(Shaper, Shares100MbitAmong1000ActivePairsWithin10Percent) {
  for (const bool is_one_user : {false, true}) {
    Line line(100'000'000);
    Random random(7);
    for (std::uint32_t i = 0; i < 1'000; ++i) line.add(i, is_one_user ? 0 : i);
    line.run(30s, 100ms, [&] {
      for (std::uint32_t i = 0; i < 1'000; ++i) {
        for (int k = 0; k < 3; ++k) line.offer(i, 200 + random.below(1'200));
      }
    });
    for (std::uint32_t i = 0; i < 1'000; ++i) {
      EXPECT_NEAR(line.mbit(i, 30s), 0.099, 0.0099) << i;
    }
  }
}

TEST(Shaper, SharesAmongUsersFirstHoweverManyFlowsOneHas) {
  Line line(10'000'000);
  line.add(0, 0);
  for (std::uint32_t i = 1; i <= 9; ++i) line.add(i, 1);
  line.run(10s, 1ms, [&] {
    for (std::uint32_t i = 0; i <= 9; ++i) line.offer(i);
  });
  EXPECT_NEAR(line.mbit(0, 10s), 4.95, 0.25);
  for (std::uint32_t i = 1; i <= 9; ++i) EXPECT_NEAR(line.mbit(i, 10s), 0.55, 0.05);
}

TEST(Shaper, AnElephantDoesNotStarveAMouse) {
  Line line(10'000'000);
  line.add(0, 0);
  line.add(1, 1);
  int step = 0;
  line.run(10s, 1ms, [&] {
    for (int i = 0; i < 20; ++i) line.offer(0);
    if (++step % 20 == 0) line.offer(1, 100);
  });
  EXPECT_EQ(line.dropped[1], 0u);
  EXPECT_GE(line.sent[1] + 200, line.offered[1]);
  EXPECT_GE(line.mbit(0, 10s), 9.4);
}

TEST(Shaper, LetsAMouseWaitForOneTurnOnly) {
  Line line(10'000'000);
  line.add(0, 0);
  line.add(1, 1);
  line.run(1s, 1ms, [&] { line.offer(0), line.offer(0); });
  const TimePoint asked = line.now;
  line.offer(1, 100);
  while (line.sent[1] == 0) line.run(1ms, 1ms, [&] { line.offer(0); });
  EXPECT_LE(line.now - asked, 5ms);
}

TEST(Shaper, BoundsWhatWaits) {
  Line line(10'000'000);
  line.add(0, 0);
  for (int i = 0; i < 1'000; ++i) line.offer(0);
  EXPECT_LE(line.shaper.queued_bytes(), 62'500u);
  EXPECT_GE(line.shaper.queued_bytes(), 50'000u);

  Line slow(64'000);
  slow.add(0, 0);
  for (int i = 0; i < 1'000; ++i) slow.offer(0);
  EXPECT_EQ(slow.shaper.queued_bytes() / kDatagram, Shaper::kQueueDatagramsMin);
}

TEST(Shaper, BoundsAllThatWaitsHoweverManyFlowsThereAre) {
  Line line(1'000'000);
  for (std::uint32_t i = 0; i < 20'000; ++i) line.add(i, i % 100);
  for (int round = 0; round < 4; ++round) {
    for (std::uint32_t i = 0; i < 20'000; ++i) line.offer(i);
  }
  EXPECT_LE(line.shaper.queued_bytes(), Shaper::kQueuedBytesMax);
  std::size_t empty = 0;
  for (std::uint32_t i = 100; i < 20'000; ++i) empty += line.shaper.queued_bytes(i) == 0;
  EXPECT_EQ(empty, 0u);
}

TEST(Shaper, ForgetsFlowsWhereverTheyStandInTheRing) {
  Random random(3);
  for (int world = 0; world < 200; ++world) {
    Line line(1'000'000);
    std::map<std::uint32_t, bool> there;
    for (int step = 0; step < 100; ++step) {
      const auto flow = static_cast<std::uint32_t>(random.below(12));
      if (!there[flow]) {
        line.add(flow, flow % 4);
      } else if (random.chance(0.3)) {
        line.shaper.remove(flow);
      } else {
        line.offer(flow, 1 + random.below(1'400));
        line.run(1ms, 1ms, [] {});
        continue;
      }
      there[flow] = !there[flow];
    }
    line.run(10s, 1s, [] {});
    EXPECT_EQ(line.shaper.queued_bytes(), 0u);
    EXPECT_EQ(line.shaper.next_timeout(), std::nullopt);
    line.shaper.trim();
  }
}

TEST(Shaper, TakesANewCapAtOnce) {
  Line line(10'000'000);
  line.add(0, 0);
  line.run(1s, 1ms, [&] { line.offer(0), line.offer(0); });
  line.shaper.set_rate(1'000'000, line.now);
  line.sent.clear();
  line.run(10s, 1ms, [&] { line.offer(0); });
  EXPECT_NEAR(line.mbit(0, 10s), 1.0, 0.05);
  line.shaper.set_rate(20'000'000, line.now);
  line.sent.clear();
  line.run(10s, 1ms, [&] { line.offer(0), line.offer(0), line.offer(0); });
  EXPECT_NEAR(line.mbit(0, 10s), 20.0, 0.7);
}

TEST(Shaper, CountsHeadersAsWell) {
  Line line(10'000'000);
  line.add(0, 1);
  std::size_t count = 0;
  while (line.shaper.queue(0, Bytes(100), 60)) {
  }
  for (const TimePoint end = line.now + 10s; line.now < end; line.now += 1ms) {
    while (line.shaper.poll(line.now)) {
      ++count;
      ASSERT_TRUE(line.shaper.queue(0, Bytes(100), 60));
    }
  }
  EXPECT_NEAR(static_cast<double>(count) * 160 * 8 / 10, 9.9e6, 0.1e6);
}

TEST(Shaper, KeepsTheOrderOfAFlow) {
  Line line(1'000'000);
  line.add(0, 0);
  while (line.shaper.pass(kDatagram, line.now)) {
  }
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(line.shaper.queue(0, Bytes(100, static_cast<std::byte>(i)), 0));
  }
  for (int i = 0; i < 10;) {
    line.now += 1ms;
    while (const auto item = line.shaper.poll(line.now)) {
      EXPECT_EQ(item->datagram[0], static_cast<std::byte>(i++));
    }
  }
}

}  // namespace
}  // namespace openp2p::relay
