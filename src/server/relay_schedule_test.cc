#include "server/relay_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

RelayCandidate stranger() {
  return {.node = {},
          .kind = RelayKind::kShared,
          .bits_per_second = 10'000'000,
          .rtt_one = 30ms,
          .rtt_other = 30ms,
          .departures = 1,
          .served_hours = 48,
          .is_reachable = true};
}

template <class Change>
RelayCandidate stranger_with(Change change) {
  RelayCandidate candidate = stranger();
  change(candidate);
  return candidate;
}

TEST(RelayScore, FallsWithEverythingThatCostsThePair) {
  const double base = relay_score(stranger());
  const auto score = [](auto change) { return relay_score(stranger_with(change)); };

  EXPECT_LT(score([](auto& c) {
              c.used_bits_per_second = 9'000'000;
              c.allocations = 1;
            }),
            base);
  EXPECT_LT(score([](auto& c) { c.own_bits_per_second = 9'000'000; }), base);
  EXPECT_LT(score([](auto& c) { c.rtt_other = 300ms; }), base);
  EXPECT_LT(score([](auto& c) { c.loss = 0.05; }), base);
  EXPECT_LT(score([](auto& c) { c.kept = 0.1; }), base / 5);
  EXPECT_LT(score([](auto& c) { c.departures = 48; }), base);
  EXPECT_LT(score([](auto& c) { c.served_hours = 0; }), base);
  EXPECT_LT(score([](auto& c) { c.is_reachable = false; }), base);
  EXPECT_GT(score([](auto& c) { c.bits_per_second = 20'000'000; }), base);
  const auto busy = [](auto& c) { c.used_bits_per_second = 10'000'000; };
  EXPECT_GT(score(busy), score([&](auto& c) {
              busy(c);
              c.allocations = 10;
            }));
}

TEST(RelayScore, IsTheGoodputThatIsExpected) {
  RelayCandidate candidate = stranger();
  candidate.departures = 0;
  candidate.served_hours = 1e6;

  // 10 Mbit/s at 60 ms: 4 MiB take 3.4 s and a few round trips.
  EXPECT_GT(relay_score(candidate), 8.5e6);
  EXPECT_LT(relay_score(candidate), 10e6);
}

TEST(RelayScore, DoesNotGrowWithClaimsThatNoPairCanUse) {
  const auto claim = [](std::uint64_t bits) {
    return relay_score(stranger_with([&](auto& c) { c.bits_per_second = bits; }));
  };
  EXPECT_EQ(claim(100'000'000), claim(kBitsPerSecondMax));
}

TEST(RelayScore, IsFiniteAndPositiveWhateverComes) {
  const double infinite = std::numeric_limits<double>::infinity();
  for (const Duration rtt : {Duration(0), Duration(1us), Duration(10s)}) {
    for (const double number : {-1.0, 0.0, 1.0, 1e300, infinite}) {
      for (const std::uint64_t bits : {std::uint64_t{0}, std::uint64_t{1}, kBitsPerSecondMax}) {
        const double score = relay_score({.node = {},
                                          .bits_per_second = bits,
                                          .used_bits_per_second = bits,
                                          .own_bits_per_second = kBitsPerSecondMax,
                                          .allocations = kAllocationsMax,
                                          .rtt_one = rtt,
                                          .rtt_other = rtt,
                                          .loss = number,
                                          .kept = number,
                                          .departures = std::min(number, 1e300),
                                          .served_hours = std::min(number, 1e300)});
        EXPECT_TRUE(std::isfinite(score)) << number;
        EXPECT_GE(score, 0);
      }
    }
  }
}

TEST(RelayRank, PutsOwnNodesFirstAndTheServerLast) {
  RelayCandidate own = stranger_with([](auto& c) {
    c.kind = RelayKind::kOwn;
    c.rtt_one = 500ms;
  });
  RelayCandidate server = stranger_with([](auto& c) {
    c.kind = RelayKind::kServer;
    c.rtt_one = 1ms;
  });
  const std::vector<RelayCandidate> candidates = {server, stranger(), own};

  EXPECT_EQ(rank_relays(candidates, 3), (std::vector<std::size_t>{2, 1, 0}));
  EXPECT_EQ(rank_relays(candidates, 1), (std::vector<std::size_t>{2}));
  EXPECT_TRUE(rank_relays({}, 3).empty());
}

TEST(RelayRank, OrdersEqualKindsByScoreAndKeepsTheLastPlaceForAnotherKind) {
  const RelayCandidate far = stranger_with([](auto& c) { c.rtt_one = 400ms; });
  const RelayCandidate busy =
      stranger_with([](auto& c) { c.used_bits_per_second = c.allocations = 9'000'000; });
  const RelayCandidate server = stranger_with([](auto& c) { c.kind = RelayKind::kServer; });

  EXPECT_EQ(rank_relays(std::vector{busy, far, stranger()}, 3).front(), 2U);
  EXPECT_EQ(rank_relays(std::vector{stranger(), stranger()}, 3), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(rank_relays(std::vector{far, stranger(), stranger(), server}, 3),
            (std::vector<std::size_t>{1, 2, 3}));
  EXPECT_EQ(rank_relays(std::vector{far, server}, 3), (std::vector<std::size_t>{0, 1}));
}

TEST(RelayRtt, IsBetweenWhatATriangleAllows) {
  EXPECT_EQ(estimate_rtt(30ms, 40ms), 50ms);
  EXPECT_EQ(estimate_rtt(0ms, 40ms), 40ms);
}

}  // namespace
}  // namespace openp2p::server
