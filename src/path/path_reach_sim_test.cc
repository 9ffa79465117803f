// Pairs of NATs that need more than checks between candidates: how often, how fast, at what cost.
#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "path/test_reach.h"

namespace openp2p::path::reach {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::array kLetOnlyKnownIn{NatKind::kPortRestricted, NatKind::kDoubleNat,
                                     NatKind::kSymmetricPreserving};

void expect_met(const Figures& figures) {
  SCOPED_TRACE(testing::Message() << figures);
  EXPECT_GE(figures.rate(), 0.999);
  EXPECT_LE(figures.median(), 2s);
  EXPECT_LE(figures.p95(), 5s);
  EXPECT_LE(figures.packets_max(), 2'500u);
  EXPECT_LE(figures.conntrack_max, 1'100u);
}

TEST(PathReachSim, RandomSymmetricNatsAreMet) {
  expect_met(measure({.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted}}, 2'000, 12s));
  expect_met(measure({.kinds = {NatKind::kPortRestricted, NatKind::kSymmetricRandom}}, 200, 12s));
}

TEST(PathReachSim, RandomSymmetricNatsMeetTouchyAndDoubleOnes) {
  for (const NatKind kind : {NatKind::kDoubleNat, NatKind::kSymmetricPreserving}) {
    const Figures figures = measure({.kinds = {kind, NatKind::kSymmetricRandom}}, 100, 12s);

    SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
    EXPECT_GE(figures.rate(), 0.99);
    EXPECT_LE(figures.conntrack_max, 1'100u);
  }
}

TEST(PathReachSim, BlocksShrinkTheSearch) {
  for (const NatKind kind : kLetOnlyKnownIn) {
    const Figures figures = measure({.kinds = {NatKind::kSymmetricBlocks, kind}}, 200, 12s);

    SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
    EXPECT_EQ(figures.joined, figures.runs);
    EXPECT_LE(figures.median(), 500ms);
    EXPECT_LE(figures.packets_median(), 300u);
    EXPECT_LE(figures.conntrack_max, 300u);
  }
}

TEST(PathReachSim, SequencesArePredicted) {
  for (const NatKind kind : kLetOnlyKnownIn) {
    for (const Duration disturbance : {Duration(0), Duration(100ms)}) {
      const Figures figures = measure(
          {.kinds = {kind, NatKind::kSymmetricSequential}, .disturbance = disturbance}, 200, 12s);

      SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
      EXPECT_EQ(figures.joined, figures.runs);
      EXPECT_LE(figures.p95(), 1s);
      EXPECT_LE(figures.packets_median(), 200u);
      EXPECT_LE(figures.conntrack_max, 200u);
    }
  }
}

TEST(PathReachSim, PredictableNatsOnBothSidesMeet) {
  for (const NatKind a : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
    for (const NatKind b : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
      for (const Duration disturbance : {Duration(0), Duration(50ms)}) {
        const Figures figures = measure({.kinds = {a, b}, .disturbance = disturbance}, 200, 3s);

        SCOPED_TRACE(testing::Message()
                     << sim::nat_kind_text(a) << " x " << sim::nat_kind_text(b) << ": " << figures);
        EXPECT_GE(figures.rate(), 0.95);
        EXPECT_LE(figures.conntrack_max, 600u);
      }
    }
  }
}

TEST(PathReachSim, EasyPairsStayEasyAndCheap) {
  for (const NatKind a : sim::kEimNatKinds) {
    for (const NatKind b : sim::kEimNatKinds) {
      const Figures figures = measure({.kinds = {a, b}, .line = {.delay = 50ms}}, 20, 12s);

      SCOPED_TRACE(testing::Message()
                   << sim::nat_kind_text(a) << " x " << sim::nat_kind_text(b) << ": " << figures);
      EXPECT_EQ(figures.joined, figures.runs);
      EXPECT_LE(figures.slowest(), 3 * 202ms);
      EXPECT_LE(figures.conntrack_max, 20u);
    }
  }
}

TEST(PathReachSim, SaysWithinFiveSecondsWhyNothingCanWork) {
  const auto reason_of = [](NatKind a, NatKind b, int party) {
    Simulation simulation(1, {.kinds = {a, b}});
    simulation.meet();
    simulation.world.run_for(5s);
    EXPECT_TRUE(simulation.finder(party).is_failed());
    EXPECT_LE(simulation.conntrack(), 20u);
    return simulation.finder(party).reason();
  };
  using enum NatKind;
  EXPECT_EQ(reason_of(kSymmetricRandom, kSymmetricRandom, 0), ReasonCode::kBothRandom);
  EXPECT_EQ(reason_of(kSymmetricRandom, kSymmetricSequential, 1), ReasonCode::kBothRandom);
  EXPECT_EQ(reason_of(kUdpBlocked, kPortRestricted, 0), ReasonCode::kUdpBlockedHere);
  EXPECT_EQ(reason_of(kUdpBlocked, kPortRestricted, 1), ReasonCode::kUdpBlockedThere);
  EXPECT_EQ(reason_of(kUdpBlocked, kUdpBlocked, 0), ReasonCode::kUdpBlockedBoth);
}

}  // namespace
}  // namespace openp2p::path::reach
