// A relay carries, and no direct path can be had: how often one is looked for all the same.

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "test/world/reach.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kService = 80;
constexpr std::uint16_t kLocal = 8'080;
constexpr std::array kSymmetric{NatKind::kSymmetricRandom, NatKind::kSymmetricSequential,
                                NatKind::kSymmetricBlocks};
/// The first round by the clock comes 5 s after a path over the relay, or after the last news.
constexpr Duration kBeforeTheNext = 4s;
/// Until a router has forgotten what it was asked.
constexpr Duration kForgotten = 120s;
/// Of all rounds within that time: one search, and what TCP is tried with in each.
constexpr std::size_t kEntriesMax = 1'100;

/// A laptop and a NAS that have a relayed session, and a network that the laptop may go to.
class RelayedPair {
 public:
  RelayedPair(NatKind laptop, NatKind nas, NatKind cafe, std::uint64_t seed)
      : net_({laptop, nas}, seed, {.server_mbit = 100}),
        cafe_(net_.internet(), cafe, /*has_mapping=*/false, {.delay = 25ms, .loss = 0.005}) {
    EXPECT_TRUE(net_.settle());
    EXPECT_FALSE(net_.a().forward("web", "nas", kService, kLocal));
    EXPECT_TRUE(net_.world().run_until([&] { return net_.are_both_connected(); },
                                       net_.world().now() + 20s));
    run_for(Duration::zero());
  }

  /// How many rounds begin meanwhile.
  std::size_t run_for(Duration time) {
    const std::size_t before = rounds_.size();
    for (const TimePoint end = net_.world().now() + time;;) {
      for (const agent::PathEventStatus& event : net_.seen_by_a().timeline) {
        if (event.event == "planned") rounds_.insert(event.count);
      }
      if (net_.world().now() >= end) return rounds_.size() - before;
      net_.world().run_for(20ms);
    }
  }
  void move() { net_.home_a().host().move_to(cafe_.home().lan(), cafe_.home().host_options()); }
  /// The router at home forgets its mappings, and keeps its address.
  void reboot() { net_.home_a().home().router()->reboot(/*has_new_address=*/false); }
  bool is_relayed() { return net_.seen_by_a().path.starts_with("relayed"); }

 private:
  ReachWorld net_;
  ReachHome cafe_;
  std::set<unsigned> rounds_;
};

void for_each_pair(void (*test)(NatKind laptop, NatKind nas)) {
  for (const NatKind laptop : kSymmetric) {
    for (const NatKind nas : kSymmetric) {
      const bool is_direct =
          laptop != NatKind::kSymmetricRandom && nas != laptop && nas != NatKind::kSymmetricRandom;
      if (is_direct || (laptop == nas && laptop == NatKind::kSymmetricSequential)) continue;
      SCOPED_TRACE(std::string(nat_kind_text(laptop)) + " -> " + std::string(nat_kind_text(nas)));
      test(laptop, nas);
    }
  }
}

TEST(ReachRounds, WhileARelayCarriesTheyComeEverMoreRarely) {
  for_each_pair([](NatKind laptop, NatKind nas) {
    RelayedPair pair(laptop, nas, NatKind::kPortRestricted, /*seed=*/1);

    EXPECT_EQ(pair.run_for(3min), 5U) << "after 5 s, 10, 20, 40 and 80";
    EXPECT_TRUE(pair.is_relayed());
    EXPECT_LE(pair.run_for(20min), 6U) << "after 160 s, and then each 5 min";
  });
}

/// Each measurement of such a NAT sees another port.
TEST(ReachRounds, AnotherPortOfTheSameSymmetricNatIsNoNews) {
  for_each_pair([](NatKind laptop, NatKind nas) {
    RelayedPair pair(laptop, nas, NatKind::kPortRestricted, /*seed=*/2);
    pair.run_for(20s);

    pair.reboot();

    EXPECT_LE(pair.run_for(15s), 1U) << "the one that was due";
    EXPECT_TRUE(pair.is_relayed());
  });
}

TEST(ReachRounds, AMoveIsOneRoundForTheInterfaceAndOneForTheAddress) {
  for_each_pair([](NatKind laptop, NatKind nas) {
    RelayedPair pair(laptop, nas, laptop, /*seed=*/3);
    pair.run_for(20s);

    pair.move();

    EXPECT_EQ(pair.run_for(kBeforeTheNext), 2U);
  });
}

/// A NAT that counts and one with blocks: one search in four meets.
struct Luck {
  explicit Luck(ReachWorld& net) : net_(net) {}

  /// Watches until there is a direct path.
  void run_for(Duration patience) {
    const TimePoint begin = net_.world().now();
    while (!is_direct() && net_.world().now() - begin < patience) {
      net_.world().run_for(250ms);
      look();
    }
    taken = net_.world().now() - begin;
  }
  bool is_direct() { return net_.seen_by_a().path.starts_with("direct"); }

  std::size_t searches = 0;
  std::size_t entries = 0;
  Duration taken{};
  Duration gap_min = Duration::max();
  std::string reason_code;
  bool has_next = true;  ///< Whenever it is not looking for a path it tells when it will.

 private:
  void look() {
    const TimePoint now = net_.world().now();
    const agent::PeerStatus status = net_.seen_by_a();
    entries = std::max({entries, net_.home_a().entries_made(now), net_.home_b().entries_made(now)});
    if (status.session == "none" && !status.retry_in) has_next = false;
    if (!status.reason_code.empty() && status.reason_code != "checking" && !is_direct()) {
      reason_code = status.reason_code;
    }
    for (const agent::PathEventStatus& event : status.timeline) {
      const TimePoint at = now - event.ago;
      const bool is_search = event.event == "method-begun" && event.method == "predict-both";
      if (!is_search || (last_ && at <= *last_ + kSame)) continue;
      ++searches;
      if (last_) gap_min = std::min(gap_min, at - *last_);
      last_ = at;
    }
  }

  /// As of one search: `ago` counts from when the node last woke up.
  static constexpr Duration kSame = 30s;

  ReachWorld& net_;
  std::optional<TimePoint> last_;
};

TEST(ReachRounds, WhereOneSearchInFourMeetsItIsMadeAgainNowAndThen) {
  unsigned at_once = 0;
  for (const unsigned relay : {0U, 100U}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      SCOPED_TRACE((relay > 0 ? "relayed, seed " : "seed ") + std::to_string(seed));
      const bool is_called = seed % 2 == 0;
      ReachWorld net({is_called ? NatKind::kSymmetricSequential : NatKind::kSymmetricBlocks,
                      is_called ? NatKind::kSymmetricBlocks : NatKind::kSymmetricSequential},
                     seed, {.server_mbit = relay});
      ASSERT_TRUE(net.settle());
      net.home_a().mark(net.world().now());
      net.home_b().mark(net.world().now());
      EXPECT_FALSE(net.a().forward("web", "nas", kService, kLocal));

      Luck luck(net);
      luck.run_for(2h);

      EXPECT_TRUE(luck.is_direct()) << luck.searches << " searches";
      EXPECT_TRUE(luck.searches <= 1 || luck.gap_min >= kForgotten);
      EXPECT_TRUE(luck.searches <= 1 || luck.reason_code == "block-missed") << luck.reason_code;
      EXPECT_TRUE(luck.has_next);
      EXPECT_LE(luck.entries, kEntriesMax);
      if (luck.searches == 1) ++at_once;
    }
  }
  EXPECT_LT(at_once, 16U) << "or it would not be a test";
}

}  // namespace
}  // namespace openp2p::test
