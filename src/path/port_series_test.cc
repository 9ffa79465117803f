#include "path/port_series.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/random.h"
#include "path/nat_class.h"

namespace openp2p::path {
namespace {

PortRule ahead(std::uint16_t last, int step, PortRule::Kind kind = PortRule::Kind::kAhead) {
  return {.kind = kind, .last = last, .step = step, .range = {}};
}

TEST(PortSeries, VisitsEachPortOfARangeOnce) {
  for (const nat::PortRange range : {nat::PortRange{1024, 65535}, {2048, 3071}, {5000, 5000}}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const PortSeries series({.last = 0, .step = 0, .range = range}, seed);
      std::set<std::uint16_t> seen;
      for (unsigned i = 0; i < series.size(); ++i) {
        const std::uint16_t port = series.at(i);
        EXPECT_TRUE(port >= range.first && port <= range.last);
        EXPECT_TRUE(seen.insert(port).second);
      }
      EXPECT_EQ(seen.size(), range.size());
    }
  }
}

TEST(PortSeries, EachBlockOfPortsGetsItsShareOfASearch) {
  constexpr unsigned kAsked = 980;
  constexpr unsigned kBlock = 1'024;
  const unsigned share = kAsked * kBlock / (65'536 - kPortMin);

  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const PortSeries series({.last = 0, .step = 0, .range = {1024, 65535}}, seed);
    std::vector<unsigned> asked(65'536 / kBlock);
    for (unsigned i = 0; i < kAsked; ++i) ++asked[series.at(i) / kBlock];

    EXPECT_GE(*std::min_element(asked.begin() + 1, asked.end()), share - 1) << seed;
  }
}

TEST(PortSeries, SeedsGiveDifferentOrders) {
  const PortRule rule{.last = 0, .step = 0, .range = {1024, 65535}};
  EXPECT_NE(PortSeries(rule, 1).at(0), PortSeries(rule, 2).at(0));
}

TEST(PortSeries, SequencesGoOnAndRoundTheEnd) {
  const PortSeries up(ahead(65534, 1), 0);
  EXPECT_EQ(up.at(0), 65535);
  EXPECT_EQ(up.at(1), kPortMin);
  const PortSeries down(ahead(1025, -2), 0);
  EXPECT_EQ(down.at(0), 65535);
  EXPECT_EQ(down.at(1), 65533);
}

/// Two NATs that count, each with others in the home that take ports at any time.
bool do_sequences_meet(unsigned drift_a, unsigned drift_b, double disturbance, Random& random) {
  constexpr unsigned kDatagrams = 320;
  constexpr std::uint16_t kLastA = 10'000;
  constexpr std::uint16_t kLastB = 20'000;
  const PortSeries ports_of_b(ahead(kLastB, 1, PortRule::Kind::kCatchUp), 0);
  const PortSeries ports_of_a(ahead(kLastA, 1), 0);
  std::set<std::pair<std::uint16_t, std::uint16_t>> sent_by_a;  // A's port, B's port.
  std::set<std::pair<std::uint16_t, std::uint16_t>> sent_by_b;
  unsigned next_a = kLastA + 1 + drift_a;
  unsigned next_b = kLastB + 1 + drift_b;
  for (unsigned i = 0; i < kDatagrams; ++i) {
    sent_by_a.emplace(static_cast<std::uint16_t>(next_a++), ports_of_b.at(i));
    sent_by_b.emplace(ports_of_a.at(i), static_cast<std::uint16_t>(next_b++));
    next_a += random.chance(disturbance) ? 1 : 0;
    next_b += random.chance(disturbance) ? 1 : 0;
  }
  return std::ranges::any_of(sent_by_a,
                             [&](const auto& datagram) { return sent_by_b.contains(datagram); });
}

TEST(PortSeries, CatchesUpWithAnyDrift) {
  Random random(1);
  for (unsigned drift_a = 0; drift_a < 50; drift_a += 7) {
    for (unsigned drift_b = 0; drift_b < 50; drift_b += 7) {
      EXPECT_TRUE(do_sequences_meet(drift_a, drift_b, 0, random)) << drift_a << " " << drift_b;
    }
  }
}

TEST(PortSeries, CatchesUpWhileOthersTakePorts) {
  Random random(2);
  int met = 0;
  constexpr int kRuns = 1'000;
  for (int i = 0; i < kRuns; ++i) {
    met += do_sequences_meet(static_cast<unsigned>(random.below(20)),
                             static_cast<unsigned>(random.below(20)), 0.1, random)
               ? 1
               : 0;
  }
  EXPECT_GE(met, kRuns * 98 / 100);
}

}  // namespace
}  // namespace openp2p::path
