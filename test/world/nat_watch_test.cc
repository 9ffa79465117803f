// A node's watch over its NAT, in homes of every kind, in virtual time.
#include "agent/nat_watch.h"

#include <gtest/gtest.h>

#include "agent/tcp_watch.h"
#include "test/world/watched_home.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using nat::Dependence;
using nat::PortAllocation;

class NatWatch : public testing::Test {
 protected:
  NatWatch() : world(1), internet(world), stun(internet, 1) {}

  WatchedHome& enter(sim::NatKind kind, std::uint64_t seed = 1,
                     const sim::HomeOptions& options = {}) {
    homes.push_back(std::make_unique<WatchedHome>(internet, stun, kind, seed, options));
    return *homes.back();
  }
  WatchedHome& measured(sim::NatKind kind, std::uint64_t seed = 1,
                        const sim::HomeOptions& options = {}) {
    WatchedHome& home = enter(kind, seed, options);
    home.watch().set_stun_servers(stun.names());
    EXPECT_TRUE(home.settle_down());
    return home;
  }

  sim::World world;
  sim::Internet internet;
  StunHost stun;
  std::vector<std::unique_ptr<WatchedHome>> homes;
};

struct Expected {
  sim::NatKind kind;
  Dependence mapping;
  Dependence filtering;
  PortAllocation allocation;
  bool is_spoilt = false;
};

constexpr Expected kExpected[] = {
    {sim::NatKind::kNone, Dependence::kEndpointIndependent, Dependence::kEndpointIndependent,
     PortAllocation::kPreserved},
    {sim::NatKind::kFullCone, Dependence::kEndpointIndependent, Dependence::kEndpointIndependent,
     PortAllocation::kPreserved},
    {sim::NatKind::kAddressRestricted, Dependence::kEndpointIndependent,
     Dependence::kAddressDependent, PortAllocation::kPreserved},
    {sim::NatKind::kPortRestricted, Dependence::kEndpointIndependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kPreserved},
    {sim::NatKind::kSymmetricRandom, Dependence::kAddressAndPortDependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kNoPattern},
    {sim::NatKind::kSymmetricSequential, Dependence::kAddressAndPortDependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kSequential},
    {sim::NatKind::kSymmetricBlocks, Dependence::kAddressAndPortDependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kBlocks},
    {sim::NatKind::kSymmetricPreserving, Dependence::kEndpointIndependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kPreserved, /*is_spoilt=*/true},
    {sim::NatKind::kDoubleNat, Dependence::kEndpointIndependent,
     Dependence::kAddressAndPortDependent, PortAllocation::kBlocks},
};

TEST_F(NatWatch, MeasuresEveryKindForUdp) {
  for (const Expected& expected : kExpected) {
    SCOPED_TRACE(sim::nat_kind_text(expected.kind));

    WatchedHome& home = measured(expected.kind);

    const nat::NatProfile& udp = home.watch().profile().udp;
    EXPECT_EQ(udp.mapping, expected.mapping);
    EXPECT_EQ(udp.filtering, expected.filtering);
    EXPECT_EQ(udp.allocation, expected.allocation);
    EXPECT_EQ(udp.is_spoilt_by_unsolicited, expected.is_spoilt);
    EXPECT_FALSE(udp.is_blocked);
    EXPECT_EQ(udp.is_translated, expected.kind != sim::NatKind::kNone);
    EXPECT_FALSE(home.watch().evidence().empty());
  }
}

TEST_F(NatWatch, StaysWithinTheBudgetOfARouter) {
  for (const Expected& expected : kExpected) {
    WatchedHome& home = measured(expected.kind);

    if (sim::Router* const router = home.home().router()) {
      EXPECT_LE(router->nat().flows_peak() + home.connects, 20u)
          << sim::nat_kind_text(expected.kind);
    }
  }
}

TEST_F(NatWatch, KnowsTheMappingWithinTwoRoundTrips) {
  WatchedHome& home = enter(sim::NatKind::kSymmetricRandom);
  const TimePoint start = world.now();

  home.watch().set_stun_servers(stun.names());
  ASSERT_TRUE(world.run_until(
      [&] { return home.known().profile().udp.mapping != Dependence::kUnknown; }, start + 1s));

  EXPECT_LE(world.now() - start, 2 * 31ms);  // 15.2 ms each way.
}

TEST_F(NatWatch, MeasuresTcp) {
  WatchedHome& cone = measured(sim::NatKind::kPortRestricted);
  WatchedHome& symmetric = measured(sim::NatKind::kSymmetricSequential);

  const nat::NatProfile& one = cone.watch().profile().tcp;
  EXPECT_EQ(one.mapping, Dependence::kIndependentOrAddressDependent);
  EXPECT_EQ(one.allocation, PortAllocation::kPreserved);
  EXPECT_EQ(one.last_port, WatchedHome::kTcpPort);
  const nat::NatProfile& other = symmetric.watch().profile().tcp;
  EXPECT_TRUE(other.is_symmetric());
  EXPECT_EQ(other.allocation, PortAllocation::kSequential);
  EXPECT_EQ(other.step, 1);
}

/// Over the connection that is held, no other to the same service can be made from the same port.
TEST_F(NatWatch, MeasuresTcpAnewWhileItIsHeld) {
  WatchedHome& home = measured(sim::NatKind::kSymmetricSequential);
  home.watch().hold_tcp();
  world.run_for(10s);
  ASSERT_EQ(home.tcp_connections(), 1u);

  home.watch().on_network_changed();
  world.run_for(40s);

  EXPECT_EQ(home.watch().profile().tcp.allocation, PortAllocation::kSequential);
}

/// The mappings of earlier connections are still there.
TEST_F(NatWatch, KnowsTheNewestTcpPortOfANatThatCountsWheneverItIsHeld) {
  WatchedHome& home = measured(sim::NatKind::kSymmetricSequential);
  const auto map_one = [&](std::uint16_t port) {
    const Address from{IpAddress::v4(192, 168, 1, 99), port};
    return home.tcp_nat().outbound(from, stun.address(), world.now()).from.port;
  };
  std::uint16_t neighbour = 2'000;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 7; ++i) map_one(neighbour++);

    home.watch().hold_tcp();
    world.run_for(5s);

    const nat::NatProfile& tcp = home.watch().profile().tcp;
    EXPECT_EQ(tcp.step, 1);
    const int ahead = map_one(neighbour++) - tcp.last_port;
    EXPECT_GE(ahead, 1) << "round " << round;
    EXPECT_LE(ahead, static_cast<int>(agent::TcpWatch::kReopenedMax)) << "round " << round;
    home.watch().release_tcp();
    world.run_for(15s);
  }
}

/// A server was connected to from the same port, long before the others.
TEST_F(NatWatch, MappingsOfSeveralTimesDoNotHideHowANatCounts) {
  for (const bool is_first_older : {true, false}) {
    WatchedHome& home = enter(sim::NatKind::kSymmetricSequential, is_first_older ? 1 : 2);
    const Address own{*home.home().host().address(sim::Family::kV4), WatchedHome::kTcpPort};
    home.tcp_nat().outbound(own, stun.address(is_first_older ? 0 : 1), world.now());
    for (std::uint16_t i = 0; i < 4; ++i) {
      home.tcp_nat().outbound(
          {IpAddress::v4(192, 168, 1, 99), static_cast<std::uint16_t>(2000 + i)}, stun.address(),
          world.now());
    }
    home.watch().set_stun_servers(stun.names());
    ASSERT_TRUE(home.settle_down());
    ASSERT_EQ(home.watch().profile().tcp.step, is_first_older ? 5 : -5);

    home.watch().hold_tcp();
    world.run_for(5s);

    EXPECT_EQ(home.watch().profile().tcp.step, 1);
  }
}

TEST_F(NatWatch, SleepsWhenNothingIsWanted) {
  WatchedHome& home = measured(sim::NatKind::kPortRestricted);
  const unsigned before = home.wakeups;

  world.run_for(24h);

  EXPECT_EQ(home.wakeups, before);
  EXPECT_EQ(home.tcp_connections(), 0u);
  EXPECT_TRUE(home.watch().tcp_reflexive().empty());
}

TEST_F(NatWatch, HoldsATcpMappingWhileSomebodyNeedsIt) {
  WatchedHome& home = measured(sim::NatKind::kPortRestricted);

  home.watch().hold_tcp();
  home.watch().hold_tcp();
  world.run_for(1s);
  ASSERT_EQ(home.watch().tcp_reflexive().size(), 1u);
  EXPECT_EQ(home.watch().tcp_reflexive()[0].address.port, WatchedHome::kTcpPort);
  EXPECT_EQ(home.watch().tcp_reflexive()[0].transport, path::Transport::kTcp);
  EXPECT_EQ(home.tcp_connections(), 1u);

  home.watch().release_tcp();
  world.run_for(1s);
  EXPECT_EQ(home.tcp_connections(), 1u);

  home.watch().release_tcp();
  world.run_for(1s);
  EXPECT_EQ(home.tcp_connections(), 0u);
  EXPECT_TRUE(home.watch().tcp_reflexive().empty());
  EXPECT_TRUE(home.is_asleep());
}

TEST_F(NatWatch, ReplacesATcpConnectionThatBreaksButNotInALoop) {
  WatchedHome& home = measured(sim::NatKind::kPortRestricted);
  home.watch().hold_tcp();
  world.run_for(1s);
  const unsigned before = home.connects;

  for (int second = 0; second < 600; ++second) {
    home.break_tcp();
    world.run_for(1s);
  }

  EXPECT_GE(home.connects - before, 2u);
  EXPECT_LE(home.connects - before, 12u);
}

TEST_F(NatWatch, OffersNoTcpAddressThatOthersWouldNotSee) {
  WatchedHome& home = measured(sim::NatKind::kSymmetricRandom);

  home.watch().hold_tcp();
  world.run_for(1s);

  EXPECT_TRUE(home.watch().tcp_reflexive().empty());
}

TEST_F(NatWatch, SaysThatUdpIsBlockedWhereTcpWorks) {
  WatchedHome& home = enter(sim::NatKind::kUdpBlocked);

  home.watch().set_stun_servers(stun.names());
  world.run_for(10s);

  EXPECT_TRUE(home.watch().profile().udp.is_blocked);
  EXPECT_FALSE(home.watch().profile().tcp.is_blocked);
  EXPECT_EQ(home.tcp_connections(), 1u);  // Nothing else keeps the mapping.
  EXPECT_EQ(home.watch().tcp_reflexive().size(), 1u);
}

/// It must not wait for the end of all patience: TCP answers in two round trips, and UDP in one.
TEST_F(NatWatch, SaysThatUdpIsBlockedAsSoonAsTcpIsAnswered) {
  WatchedHome& home = enter(sim::NatKind::kUdpBlocked);
  const TimePoint start = world.now();

  home.watch().set_stun_servers(stun.names());
  const auto is_blocked = [&] { return home.known().profile().udp.is_blocked; };
  ASSERT_TRUE(world.run_until(is_blocked, start + 1s));

  EXPECT_LE(world.now() - start, 5 * WatchedHome::kTcpOneWay);
  EXPECT_EQ(home.known().tcp_reflexive().size(), 1u);
}

TEST_F(NatWatch, TakesBackThatUdpIsBlockedWhenItAnswersLate) {
  WatchedHome& home = enter(sim::NatKind::kPortRestricted, /*seed=*/1, {.link = {.delay = 100ms}});
  const TimePoint start = world.now();

  home.watch().set_stun_servers(stun.names());
  world.run_for(100ms);
  ASSERT_TRUE(home.watch().profile().udp.is_blocked);
  const auto is_known = [&] { return home.known().profile().udp.mapping != Dependence::kUnknown; };
  ASSERT_TRUE(world.run_until(is_known, start + 1s));

  EXPECT_FALSE(home.watch().profile().udp.is_blocked);
  EXPECT_LE(world.now() - start, 500ms);
  ASSERT_TRUE(home.settle_down());
  EXPECT_EQ(home.tcp_connections(), 0u);
}

TEST_F(NatWatch, HearsFromTheServersPathThatUdpIsSilent) {
  WatchedHome& home = enter(sim::NatKind::kUdpBlocked);
  home.watch().set_stun_servers(stun.names());
  world.run_for(1ms);

  home.watch().on_server_path(path::Transport::kTcp);

  EXPECT_TRUE(home.watch().profile().udp.is_blocked);
}

TEST_F(NatWatch, TellsATcpMappingThoughAnotherServiceIsSilent) {
  WatchedHome& home = enter(sim::NatKind::kPortRestricted);
  home.silent_tcp = stun.address(1);
  home.watch().set_stun_servers(stun.names());

  home.watch().hold_tcp();
  world.run_for(100ms);

  EXPECT_EQ(home.watch().tcp_reflexive().size(), 1u);
}

TEST_F(NatWatch, BlamesNothingWhereNothingAnswers) {
  WatchedHome& home = enter(sim::NatKind::kUdpBlocked);
  home.is_tcp_blocked = true;

  home.watch().set_stun_servers(stun.names());
  ASSERT_TRUE(home.settle_down());

  EXPECT_FALSE(home.watch().profile().udp.is_blocked);
  EXPECT_FALSE(home.watch().profile().udp.is_known());
  EXPECT_EQ(home.tcp_connections(), 0u);
}

TEST_F(NatWatch, DoesNotTakeSilentStunForBlockedUdpWhenTheServerIsReachedByUdp) {
  WatchedHome& home = enter(sim::NatKind::kUdpBlocked);
  home.watch().on_observed(*Address::parse("198.51.100.1:5000"), path::Transport::kUdp);

  home.watch().set_stun_servers(stun.names());
  ASSERT_TRUE(home.settle_down());

  EXPECT_FALSE(home.watch().profile().udp.is_blocked);
}

TEST_F(NatWatch, MeasuresAgainOnceAfterAStormOfChanges) {
  WatchedHome& home = measured(sim::NatKind::kPortRestricted);
  world.run_for(1min);
  const unsigned before = home.connects;

  for (int i = 0; i < 20; ++i) {
    home.watch().on_network_changed();
    world.run_for(10ms);
  }
  ASSERT_TRUE(home.settle_down());

  EXPECT_EQ(home.connects - before, 2u);  // One to each port.
}

TEST_F(NatWatch, LearnsTheNewAddressAfterTheRouterRestarts) {
  WatchedHome& home = measured(sim::NatKind::kSymmetricSequential);
  const IpAddress old = home.watch().profile().udp.external;
  world.run_for(1min);

  home.home().router()->reboot(/*has_new_address=*/true);
  const IpAddress now_at = home.home().router()->nat().external_addresses().front();
  home.watch().on_observed({now_at, 5000}, path::Transport::kUdp);
  ASSERT_TRUE(home.settle_down());

  EXPECT_NE(home.watch().profile().udp.external, old);
  EXPECT_EQ(home.watch().profile().udp.external, now_at);
}

TEST_F(NatWatch, IsNotDrivenByAServerThatKeepsContradicting) {
  WatchedHome& home = measured(sim::NatKind::kPortRestricted);
  world.run_for(1min);
  const auto before = stun.counters().answered;

  for (int i = 0; i < 600; ++i) {
    home.watch().on_observed({IpAddress::v4(192, 0, 2, static_cast<std::uint8_t>(i % 200)), 1},
                             path::Transport::kUdp);
    world.run_for(100ms);
  }

  EXPECT_LE(stun.counters().answered - before, 13u * 25);  // Every 5 s of the minute.
}

TEST_F(NatWatch, RefreshesTheLastPortInOneRoundTrip) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    WatchedHome& home = measured(sim::NatKind::kSymmetricSequential, seed);
    sim::NatTable& nat = home.home().router()->nat();
    for (std::uint16_t i = 0; i < 300; ++i) {  // Neighbours go on.
      nat.outbound({IpAddress::v4(192, 168, 1, 99), static_cast<std::uint16_t>(2000 + i)},
                   stun.address(), world.now());
    }
    const TimePoint asked_at = world.now();
    std::optional<TimePoint> told_at;

    home.watch().refresh([&] { told_at = world.now(); });
    ASSERT_TRUE(world.run_until([&] { return told_at.has_value(); }, world.now() + 1s));

    EXPECT_LE(*told_at - asked_at, 31ms);
    const auto next =
        nat.outbound({IpAddress::v4(192, 168, 1, 98), 2000}, stun.address(), world.now());
    const int last = home.watch().profile().udp.last_port;
    EXPECT_EQ(next.from.port, last == 65'535 ? 1024 : last + 1) << "seed " << seed;
  }
}

TEST_F(NatWatch, RefreshEndsInTimeWhateverHappens) {
  WatchedHome& sequential = measured(sim::NatKind::kSymmetricSequential);
  WatchedHome& other = measured(sim::NatKind::kPortRestricted);
  sequential.home().router()->uplink().set_up(false);
  unsigned told = 0;

  for (int i = 0; i < 200; ++i) sequential.watch().refresh([&] { ++told; });
  EXPECT_EQ(told, 200u - agent::NatWatch::kRefreshesMax);
  other.watch().refresh([&] { ++told; });  // Nothing to refresh.
  EXPECT_EQ(told, 201u - agent::NatWatch::kRefreshesMax);

  world.run_for(agent::NatWatch::kRefreshMax);
  EXPECT_EQ(told, 201u);
}

TEST_F(NatWatch, MeasuresUnderLoss) {
  unsigned wrong = 0;
  constexpr unsigned kRuns = 100;
  for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
    WatchedHome& home =
        measured(sim::NatKind::kSymmetricSequential, seed, {.link = {.delay = 10ms, .loss = 0.1}});
    const nat::NatProfile& udp = home.watch().profile().udp;
    wrong += udp.mapping != Dependence::kAddressAndPortDependent ||
             udp.allocation != PortAllocation::kSequential;
    homes.clear();
  }
  EXPECT_LE(wrong, kRuns / 20);
}

}  // namespace
}  // namespace openp2p::test
