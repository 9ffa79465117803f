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

}  // namespace
}  // namespace openp2p::test
