// Searches and openers in single runs: what they leave behind, what others can do to them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "path/planner.h"
#include "path/test_reach.h"

namespace openp2p::path::reach {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

const Scene kSearchScene{.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted}};

bool has_event(const PathFinder& finder, TimelineEvent event, std::optional<Method> method = {}) {
  return std::ranges::any_of(finder.timeline(), [&](const TimelineEntry& entry) {
    return entry.event == event && (!method || entry.method == method);
  });
}

TEST(PathReach, SocketsOfASearchAreClosedButForTheOneInUse) {
  Simulation simulation(3, kSearchScene);
  simulation.meet();
  ASSERT_TRUE(simulation.run_until_joined(12s));
  EXPECT_GT(simulation.parties[0]->sockets_peak, 100u);

  simulation.world.run_for(10s);

  EXPECT_EQ(simulation.parties[0]->open_sockets(), 2u);
  EXPECT_EQ(simulation.parties[1]->open_sockets(), 1u);
  simulation.world.run_for(10min);
  EXPECT_TRUE(simulation.is_joined());
  EXPECT_EQ(simulation.finder(0).counters().switches, 0u);
}

TEST(PathReach, AFanStaysOpenForTheLastPortThatThePeerAsks) {
  constexpr Duration kGoDelay = 100ms;
  constexpr Duration kWay = 100ms;
  Simulation simulation(3, kSearchScene);
  simulation.meet();
  for (auto& home : simulation.homes) home->host().interface().down().set_blackhole(true);
  const Plan asks =
      make_plan(simulation.profiles[1], simulation.profiles[0], IceRole::kControlled, 0);
  ASSERT_EQ(asks.steps.at(0).part, Step::Part::kAsk);

  simulation.world.run_for(kGoDelay + asks.duration() + kWay);

  EXPECT_EQ(simulation.parties[0]->open_sockets(), 1u + Plan::kSocketsMax);
  simulation.world.run_for(10s);
  EXPECT_EQ(simulation.parties[0]->open_sockets(), 1u);
}

TEST(PathReach, TellsWhatItDid) {
  Simulation simulation(3, kSearchScene);
  simulation.meet();
  ASSERT_TRUE(simulation.run_until_joined(12s));

  for (int i = 0; i < 2; ++i) {
    const PathFinder& finder = simulation.finder(i);
    EXPECT_EQ(finder.method(), Method::kBirthday);
    for (const TimelineEvent event : {TimelineEvent::kMethodBegun, TimelineEvent::kPathSelected}) {
      EXPECT_TRUE(has_event(finder, event, Method::kBirthday)) << timeline_event_text(event);
    }
    EXPECT_TRUE(has_event(finder, TimelineEvent::kCandidate));
    EXPECT_TRUE(has_event(finder, TimelineEvent::kPlanned));
    EXPECT_TRUE(std::ranges::is_sorted(finder.timeline(), {}, &TimelineEntry::at));
  }
}

TEST(PathReach, TellsWhichWaysItTriedInEachRound) {
  Simulation simulation(3, kSearchScene);
  simulation.meet();
  for (auto& home : simulation.homes) home->router()->uplink().set_up(false);
  simulation.world.run_for(15s);
  const auto count_punches = [&] {
    const auto timeline = simulation.finder(0).timeline();
    return std::ranges::count_if(timeline, [](const TimelineEntry& entry) {
      return entry.event == TimelineEvent::kMethodBegun && entry.method == Method::kPunch;
    });
  };

  EXPECT_EQ(count_punches(), 1);
  simulation.scene.round = 1;
  simulation.begin();
  simulation.world.run_for(15s);
  EXPECT_EQ(count_punches(), 2);
}

TEST(PathReach, AMissedSearchEndsWithItsReasonAndCloses) {
  Simulation simulation(3, kSearchScene);
  simulation.meet();
  for (auto& home : simulation.homes) home->router()->uplink().set_up(false);

  simulation.world.run_for(15s);

  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(simulation.finder(i).is_failed());
    EXPECT_EQ(simulation.finder(i).reason(), ReasonCode::kSprayMissed);
    EXPECT_EQ(simulation.parties[i]->open_sockets(), 1u);
    EXPECT_TRUE(has_event(simulation.finder(i), TimelineEvent::kFailed));
  }
}

TEST(PathReach, RoundsAfterAnotherStayWithinTheBudget) {
  Simulation simulation(4, kSearchScene);
  simulation.meet();
  // They never hear each other, though what they send passes their own routers.
  for (auto& home : simulation.homes) home->router()->uplink().down().set_blackhole(true);

  for (unsigned round = 1; round < 5; ++round) {
    simulation.world.run_for(15s);
    simulation.scene.round = round;
    simulation.begin();
  }
  simulation.world.run_for(15s);

  EXPECT_LE(simulation.conntrack(), 1'100u);
  EXPECT_EQ(simulation.finder(1).reason(), ReasonCode::kBudgetExhausted);
}

/// The most entries of either router after six rounds in two minutes, in which both are asked for
/// ports and neither node hears of it.
std::size_t entries_after_rounds(const Scene& scene, unsigned spent) {
  Simulation simulation(4, scene);
  simulation.parties[0]->node().probes.expect(spent, simulation.world.now());
  simulation.meet();
  for (auto& home : simulation.homes) home->host().interface().down().set_blackhole(true);
  for (unsigned round = 1; round < 6; ++round) {
    simulation.world.run_for(15s);
    simulation.scene.round = round;
    simulation.begin();
  }
  simulation.world.run_for(15s);
  return simulation.conntrack();
}

/// A router that keeps what comes unasked remembers what both of its sides send: each side counts
/// the other's part, and knows what the other has left.
TEST(PathReach, ARouterBearsWhatBothSidesAskOfIt) {
  using enum sim::NatKind;
  for (const sim::NatKind other : {kPortRestricted, kSymmetricPreserving, kSymmetricRandom,
                                   kSymmetricBlocks, kSymmetricSequential}) {
    for (const bool tells_entries : {true, false}) {
      Scene scene{.kinds = {kSymmetricPreserving, other}, .tells_entries = tells_entries};
      SCOPED_TRACE(testing::Message() << sim::nat_kind_text(other) << ", told " << tells_entries);
      EXPECT_LE(entries_after_rounds(scene, /*spent=*/0), 1'100u);
      std::swap(scene.kinds[0], scene.kinds[1]);
      EXPECT_LE(entries_after_rounds(scene, /*spent=*/0), 1'100u);
    }
  }
}

/// One of the two has searched for others already: what it lacks, its peer does not waste.
TEST(PathReach, NobodySearchesWhereThePeerHasNothingLeft) {
  Scene scene = kSearchScene;
  EXPECT_LE(entries_after_rounds(scene, /*spent=*/900), 40u);
  EXPECT_GT(entries_after_rounds(scene, /*spent=*/0), 500u);
}

/// Of the same NATs as before, so the plan is the same.
TEST(PathReach, WhatARouterForgotIsSearchedForAnew) {
  Simulation simulation(8, kSearchScene);
  simulation.meet();
  ASSERT_TRUE(simulation.run_until_joined(5s));
  simulation.world.run_for(10min);  // The budget allows another search.

  simulation.homes[0]->router()->reboot(/*has_new_address=*/false);
  const auto is_lost = [&] {
    return !simulation.finder(0).selected() && !simulation.finder(1).selected();
  };
  ASSERT_TRUE(simulation.world.run_until(is_lost, simulation.world.now() + 30s));
  simulation.world.run_for(300ms);
  simulation.begin();

  EXPECT_TRUE(simulation.run_until_joined(5s));
}

TEST(PathReach, AFewSocketsAreBetterThanNone) {
  Simulation simulation(5, {.kinds = {NatKind::kSymmetricBlocks, NatKind::kPortRestricted}});
  simulation.parties[0]->sockets_max = 40;

  simulation.meet();

  EXPECT_TRUE(simulation.run_until_joined(12s));
  EXPECT_LE(simulation.parties[0]->sockets_peak, 40u);
}

/// Without openers one side's checks come first, and the other's NAT answers them with another port
/// towards that peer for as long as it remembers.
TEST(PathReach, OpenersKeepTouchyNatsFromBeingSpoilt) {
  const NatKind touchy = NatKind::kSymmetricPreserving;
  for (const NatKind other : {touchy, NatKind::kPortRestricted, NatKind::kDoubleNat}) {
    for (const Duration skew : {0ms, 30ms, 60ms, 90ms}) {
      const Scene scene{.kinds = {touchy, other}, .line = {.delay = 5ms}, .skew = skew};
      Simulation simulation(6, scene);
      simulation.meet();
      EXPECT_TRUE(simulation.run_until_joined(1s)) << sim::nat_kind_text(other) << skew / 1ms;
    }
  }

  Simulation untold(6, {.kinds = {touchy, touchy}, .line = {.delay = 5ms}, .skew = 60ms});
  untold.measure();
  for (SideProfile& profile : untold.profiles) profile.udp.is_spoilt_by_unsolicited = false;
  untold.begin();
  EXPECT_FALSE(untold.run_until_joined(5s)) << "so the openers above did it";
}

TEST(PathReach, IsNotFasterThanOneMayBe) {
  Simulation simulation(7, kSearchScene);
  simulation.meet();
  std::uint64_t before = 0;
  for (int second = 0; second < 8; ++second) {
    simulation.world.run_for(1s);
    const std::uint64_t sent = simulation.finder(0).counters().probes_sent;
    EXPECT_LE(sent - before, 500u + ProbeBudget::kPacketBurst);
    before = sent;
  }
}

TEST(PathReach, MethodsCanBeForcedAndDisabled) {
  const Scene birthday{.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted},
                       .methods = MethodSet::none().with(Method::kBirthday)};
  Simulation forced(8, birthday);
  forced.meet();
  ASSERT_TRUE(forced.run_until_joined(12s));
  EXPECT_EQ(forced.finder(0).method(), Method::kBirthday);

  Scene none = birthday;
  none.methods = MethodSet::all().without(Method::kBirthday);
  Simulation disabled(8, none);
  disabled.meet();
  disabled.world.run_for(5s);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(disabled.finder(i).is_failed());
    EXPECT_EQ(disabled.finder(i).reason(), ReasonCode::kMethodsDisabled);
  }

  Scene punch{.methods = MethodSet::all().without(Method::kPunch)};
  Simulation barred(8, punch);
  barred.meet();
  barred.world.run_for(3s);
  EXPECT_FALSE(barred.is_joined());
  EXPECT_EQ(barred.conntrack(), 1u) << "only the STUN server was asked";
}

TEST(PathReach, OneSideAloneSwitchesAMethodOff) {
  Simulation simulation(9, kSearchScene);
  simulation.measure();
  simulation.profiles[1].methods = MethodSet::all().without(Method::kBirthday);

  simulation.begin();
  simulation.world.run_for(5s);

  EXPECT_EQ(simulation.finder(0).counters().probes_sent, 0u);
  EXPECT_EQ(simulation.finder(1).counters().probes_sent, 0u);
}

TEST(PathReach, LaterRoundsDoubtTheMeasurements) {
  // Blocks that are none, an open NAT that is closed, and a sequence that is random.
  const auto lie = [](nat::PortAllocation allocation) {
    return [allocation](SideProfile& side) {
      side.udp.allocation = allocation;
      side.udp.step = 1;
      side.udp.block = {2048, 3071};
    };
  };
  for (const auto allocation : {nat::PortAllocation::kBlocks, nat::PortAllocation::kSequential}) {
    Simulation simulation(15, kSearchScene);  // One in which no wrong guess hits by chance.
    simulation.measure();
    lie(allocation)(simulation.profiles[0]);
    simulation.begin();
    EXPECT_FALSE(simulation.run_until_joined(12s));

    simulation.world.run_for(2min);  // Routers have forgotten the first round.
    simulation.scene.round = 3;
    simulation.begin();
    EXPECT_TRUE(simulation.run_until_joined(12s));
  }
}

TEST(PathReach, SharedIpv6MakesSearchesUnneeded) {
  Simulation simulation(11, {.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted}});
  simulation.measure();
  simulation.begin();
  const Path known{simulation.parties[0]->main_socket(), *Address::parse("[2001:db8::1]:9")};
  simulation.world.run_for(50ms);

  simulation.finder(0).add_proven(known, simulation.world.now());
  simulation.world.run_for(5s);

  EXPECT_EQ(simulation.finder(0).counters().probes_sent, 0u);
}

// What a lying peer can do.

nat::NatProfile symmetric(nat::PortAllocation allocation) {
  nat::NatProfile profile =
      profile_of(NatKind::kSymmetricRandom, *Address::parse("11.0.0.99:4000"));
  profile.allocation = allocation;
  return profile;
}

std::vector<nat::NatProfile> nonsense() {
  using nat::PortAllocation;
  constexpr int kHuge = std::numeric_limits<int>::max();
  constexpr int kTiny = std::numeric_limits<int>::min();
  std::vector<nat::NatProfile> all;
  for (const auto allocation : {PortAllocation::kSequential, PortAllocation::kBlocks,
                                PortAllocation::kNoPattern, PortAllocation::kPreserved}) {
    for (const int step : {0, 1, -1, kHuge, kTiny, 65536}) {
      for (const nat::PortRange block :
           {nat::PortRange{0, 0}, {0, 65535}, {5000, 4000}, {22, 80}, {65535, 65535}}) {
        for (const std::uint16_t port : {0, 1, 22, 1024, 65535}) {
          nat::NatProfile profile = symmetric(allocation);
          profile.step = step;
          profile.block = block;
          profile.last_port = port;
          all.push_back(profile);
        }
      }
    }
  }
  for (const char* external : {"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
                               "169.254.1.1", "::1", "::", "2001:db8::1"}) {
    all.push_back(symmetric(PortAllocation::kNoPattern));
    all.back().external = *IpAddress::parse(external);
  }
  return all;
}

/// Runs a finder against a peer that has this profile and never answers: where does it send?
std::set<Address> targets_against(const nat::NatProfile& peer) {
  sim::World world(1);
  sim::Internet internet(world);
  const auto host = sim::make_public_host(internet);
  Party party(world, *host, IceRole::kControlling, {});
  SideProfile own;
  own.udp = profile_of(NatKind::kPortRestricted, *Address::parse("11.0.0.1:5000"));
  SideProfile theirs;
  theirs.udp = peer;
  PathFinder& finder = party.finder();
  std::set<Address> targets;
  TimePoint now{};
  finder.set_profiles(own, theirs, 0, now, now);
  finder.add_local({CandidateType::kHost, *Address::parse("10.0.0.2:5000"), party.main_socket()},
                   now);
  std::array<std::byte, 1500> out;
  CheckTarget to;
  for (int i = 0; i < 3'000; ++i, now += 2ms) {
    finder.on_timeout(now);
    while (finder.poll_datagram(to, out, now) > 0) targets.insert(to.path.remote);
  }
  return targets;
}

TEST(PathReach, NonsenseInAPeersProfileAimsItNowhereElse) {
  for (const nat::NatProfile& profile : nonsense()) {
    const std::set<Address> targets = targets_against(profile);
    EXPECT_LE(targets.size(), Plan::kPortsMax);
    for (const Address& target : targets) {
      EXPECT_EQ(target.ip, *IpAddress::parse("11.0.0.99"));
      EXPECT_GE(target.port, 1024);
    }
  }
}

TEST(PathReach, CandidatesElsewhereAreNoTargetsOfFans) {
  Simulation simulation(12, kSearchScene);
  simulation.measure();
  simulation.profiles[1].udp.external = *IpAddress::parse("11.9.9.9");  // As the server attests.

  simulation.begin();
  simulation.world.run_for(12s);

  EXPECT_EQ(simulation.finder(0).counters().probes_sent, 0u) << "its candidates are elsewhere";
}

TEST(PathReach, ForgedAndReplayedAnswersFindNothing) {
  Simulation simulation(13, kSearchScene);
  simulation.meet();
  simulation.world.run_for(1000ms);
  PathFinder& asker = simulation.finder(1);
  ASSERT_EQ(asker.selected(), nullptr);
  ASSERT_GT(asker.counters().probes_sent, 0u);

  nat::StunMessage answer;
  answer.message_class = nat::StunClass::kSuccess;
  answer.xor_mapped_address = *Address::parse("11.0.0.9:1");
  answer.has_fingerprint = true;
  const std::array<std::byte, 32> wrong{};
  std::array<std::byte, 256> out;
  const std::size_t size = nat::encode_stun(answer, wrong, out);
  const auto message = nat::decode_stun(std::span(out).first(size));
  ASSERT_TRUE(message);
  const IpAddress there = simulation.profiles[0].udp.external;
  for (int port = 1024; port < 65536; ++port) {
    const Address from{there, static_cast<std::uint16_t>(port)};
    asker.on_stun({simulation.parties[1]->main_socket(), from}, *message,
                  std::span(out).first(size), simulation.world.now());
  }

  EXPECT_EQ(asker.selected(), nullptr);
  EXPECT_TRUE(simulation.run_until_joined(12s));
}

TEST(PathReach, AFloodOfCandidatesDoesNotHideTheHit) {
  Simulation simulation(14, kSearchScene);
  simulation.measure();
  for (int i = 0; i < 2; ++i) {
    for (std::uint8_t number = 1; number <= 200; ++number) {
      const Address lie{IpAddress::v4(11, 8, 8, number), 4000};
      simulation.finder(i).add_remote({CandidateType::kHost, lie, {}}, simulation.world.now());
    }
    // The true ones come last, where the budget for new addresses is spent: they are refilled.
  }
  simulation.world.run_for(1min);

  simulation.begin();

  EXPECT_TRUE(simulation.run_until_joined(12s));
}

}  // namespace
}  // namespace openp2p::path::reach
