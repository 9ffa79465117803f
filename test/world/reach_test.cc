// A sample of the matrix that docs/reach.md publishes, and worlds in which all of it goes wrong at
// once.

#include "test/world/reach.h"

#include <gtest/gtest.h>

#include <set>

namespace openp2p::test {
namespace {

using sim::NatKind;

constexpr double kRoundTrip = 0.1;  ///< s, from home to home under the published conditions.
constexpr std::size_t kEasyEntriesMax = 20;
constexpr std::size_t kEntriesMax = 1'100;

std::string name_of(const ReachPair& pair) {
  return std::string(nat_kind_text(pair.a)) + " -> " + std::string(nat_kind_text(pair.b));
}

ReachCell measure(const ReachPair& pair, unsigned seeds) {
  return measure_reach({pair}, {.count = seeds}).front();
}

void expect_easy(const ReachPair& pair, unsigned seeds) {
  SCOPED_TRACE(name_of(pair));
  const ReachCell cell = measure(pair, seeds);
  EXPECT_EQ(cell.direct, seeds) << cell.reason;
  EXPECT_LE(cell.t_p95_s, 3 * kRoundTrip);
  EXPECT_LE(cell.conntrack_max, kEasyEntriesMax);
}

TEST(Reach, EasyPairsAreDirectWithinThreeRoundTrips) {
  for (const NatKind a : sim::kEimNatKinds) {
    for (const NatKind b : sim::kEimNatKinds) expect_easy({a, b}, /*seeds=*/4);
  }
}

TEST(Reach, HomesWithoutFiltersAreReachedByAll) {
  for (const NatKind open : {NatKind::kNone, NatKind::kFullCone}) {
    for (const NatKind other : sim::kNatKinds) {
      if (other == NatKind::kUdpBlocked) continue;
      expect_easy({open, other}, /*seeds=*/2);
      expect_easy({other, open}, /*seeds=*/2);
    }
  }
}

/// Both ways in lead to one socket: a mapped port, and the one that its own SYNs leave from.
TEST(Reach, MappedPortsAreNoObstacleForTcp) {
  constexpr unsigned kSeeds = 160;  ///< Three of them lose the first SYN.
  const ReachPair pair{NatKind::kUdpBlocked, NatKind::kDoubleNat, /*has_mapping=*/true};
  const ReachCell cell = measure(pair, kSeeds);
  EXPECT_EQ(cell.direct, kSeeds) << cell.reason;
  EXPECT_LE(cell.t_p95_s, 1);
  EXPECT_LE(cell.conntrack_max, kEasyEntriesMax);
}

TEST(Reach, Ipv6GoesThroughFirewallsOnBothSides) {
  expect_easy({NatKind::kIpv6Firewall, NatKind::kIpv6Firewall}, /*seeds=*/8);
}

TEST(Reach, RandomSymmetricNatsAreFoundByBirthday) {
  for (const NatKind easy : {NatKind::kPortRestricted, NatKind::kDoubleNat}) {
    for (const ReachPair pair :
         {ReachPair{easy, NatKind::kSymmetricRandom}, ReachPair{NatKind::kSymmetricRandom, easy}}) {
      SCOPED_TRACE(name_of(pair));
      const ReachCell cell = measure(pair, /*seeds=*/10);
      EXPECT_EQ(cell.direct, cell.runs) << cell.reason;
      EXPECT_LE(cell.t_p95_s, 5);
      EXPECT_LE(cell.packets_p95, 2'500U);
      EXPECT_LE(cell.conntrack_max, kEntriesMax);
    }
  }
}

TEST(Reach, BlocksOfPortsAreSearchedInHalfASecond) {
  const ReachCell cell =
      measure({NatKind::kPortRestricted, NatKind::kSymmetricBlocks}, /*seeds=*/20);

  EXPECT_EQ(cell.direct, cell.runs) << cell.reason;
  EXPECT_LE(cell.t_median_s, 0.5);
  EXPECT_LE(cell.packets_median, 300U);
  EXPECT_LE(cell.conntrack_max, kEntriesMax);
}

TEST(Reach, PortsThatCanBeToldMeetThroughTwoSymmetricNats) {
  for (const NatKind a : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
    for (const NatKind b : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
      SCOPED_TRACE(name_of({a, b}));
      const ReachCell cell = measure({a, b}, /*seeds=*/20);
      EXPECT_GE(cell.direct_rate(), 0.95) << cell.reason;
      EXPECT_LE(cell.t_p95_s, 3);
      EXPECT_LE(cell.conntrack_max, kEntriesMax);
    }
  }
}

/// As when a program is started by the wish: what is measured of the NATs comes while paths are
/// looked for already.
TEST(Reach, PlansFollowWhatIsMeasuredMeanwhile) {
  constexpr double kTimeMax = 4;  ///< s, from the wish; a second attempt would come later.
  for (const NatKind b :
       {NatKind::kPortRestricted, NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
    const ReachPair pair{NatKind::kSymmetricSequential, b};
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      SCOPED_TRACE(name_of(pair) + ", seed " + std::to_string(seed));
      const ReachRun run = run_reach(pair, seed, {.settling = Duration::zero()});
      EXPECT_TRUE(run.is_direct) << run.reason;
      EXPECT_LE(std::chrono::duration<double>(run.from_wish).count(), kTimeMax);
    }
  }
}

TEST(Reach, WhatCannotBeIsSaidSoWithinFiveSeconds) {
  const ReachCell cell =
      measure({NatKind::kSymmetricRandom, NatKind::kSymmetricRandom}, /*seeds=*/4);

  EXPECT_EQ(cell.direct, 0U);
  EXPECT_EQ(cell.reason, "both-random");
  EXPECT_GT(cell.told_p95_s, 0);
  EXPECT_LE(cell.told_p95_s, 5);
  EXPECT_LE(cell.conntrack_max, kEasyEntriesMax);
}

TEST(Reach, ASeedDecidesEverything) {
  const ReachPair pair{NatKind::kPortRestricted, NatKind::kSymmetricRandom};

  const ReachRun first = run_reach(pair, 7);
  const ReachRun second = run_reach(pair, 7);

  EXPECT_EQ(first.from_wish, second.from_wish);
  EXPECT_EQ(first.packets, second.packets);
  EXPECT_EQ(first.conntrack, second.conntrack);
}

TEST(ReachReport, SummariesAreOfTheRunsThatWereDirect) {
  std::vector<ReachRun> runs(10);
  for (std::size_t i = 0; i < 9; ++i) {
    runs[i].is_direct = true;
    runs[i].from_candidates = std::chrono::milliseconds(100 * (i + 1));
    runs[i].packets = 10 * (i + 1);
    runs[i].method = i < 4 ? "direct" : "punch";
  }
  runs[9].reason = "no-answer";
  runs[9].conntrack = 17;

  const ReachCell cell = summarize({}, runs);

  EXPECT_DOUBLE_EQ(cell.direct_rate(), 0.9);
  EXPECT_DOUBLE_EQ(cell.t_median_s, 0.5);
  EXPECT_DOUBLE_EQ(cell.t_p95_s, 0.9);
  EXPECT_EQ(cell.packets_median, 50U);
  EXPECT_EQ(cell.conntrack_max, 17U);
  EXPECT_EQ(cell.method, "punch");
  EXPECT_EQ(cell.reason, "no-answer");
}

}  // namespace
}  // namespace openp2p::test
