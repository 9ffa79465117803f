#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "path/test_world.h"

/// Which path is used, how its loss is noticed, and what comes after.
namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRtt = 40ms;  // Between two homes: 10 ms each from host to middle.

/// Two homes with IPv4 behind NATs and IPv6 behind firewalls: two paths.
struct DualStack {
  explicit DualStack(std::uint64_t seed) : world(seed) {
    for (int i = 0; i < 2; ++i) {
      const auto byte = static_cast<std::uint8_t>(i + 1);
      nat[i] = world.add_router({.external = IpAddress::v4(203, 0, 113, byte)});
      firewall[i] = world.add_router({.external = {}, .is_firewall = true});
      world.add_socket(i, address(i == 0 ? "192.168.1.2:27183" : "192.168.7.3:27183"), nat[i]);
      world.add_socket(i, address(i == 0 ? "[2001:db8:1::2]:27183" : "[2001:db8:2::2]:27183"),
                       firewall[i]);
    }
    world.gather_and_tell();
    world.run_for(5s);
  }
  void cut_ipv6() {
    world.drop = [](const Flight& flight) { return flight.to.ip.is_v6(); };
  }
  bool both_on_v6(bool is_v6) {
    return world.both_selected() && world.finder(0).selected()->remote.ip.is_v6() == is_v6 &&
           world.finder(1).selected()->remote.ip.is_v6() == is_v6;
  }
  World world;
  Router* nat[2];
  Router* firewall[2];
};

TEST(PathFinderChoice, PassesStatefulFirewallsAndPrefersIpv6) {
  DualStack stack(1);

  EXPECT_TRUE(stack.both_on_v6(true));
  EXPECT_EQ(stack.world.finder(0).reason(), ReasonCode::kNone);
  EXPECT_EQ(stack.world.finder(0).selected_rtt(), kRtt);
}

TEST(PathFinderChoice, PrefersTheLanBehindOneNat) {
  for (const bool has_hairpin : {false, true}) {
    World world(2);
    Router* router =
        world.add_router({.external = IpAddress::v4(203, 0, 113, 1), .has_hairpin = has_hairpin});
    world.add_socket(0, address("192.168.1.2:27183"), router);
    world.add_socket(1, address("192.168.1.3:27183"), router);

    world.gather_and_tell();
    world.run_for(2s);

    ASSERT_TRUE(world.both_selected());
    EXPECT_EQ(world.finder(0).selected()->remote, address("192.168.1.3:27183"));
    EXPECT_EQ(world.finder(1).selected()->remote, address("192.168.1.2:27183"));
  }
}

TEST(PathFinderChoice, LeavesAPathThatBecameMuchSlower) {
  DualStack stack(3);
  stack.world.extra_delay = [](const Flight& f) { return f.to.ip.is_v6() ? 60ms : 0ms; };

  stack.world.run_for(3min);

  EXPECT_TRUE(stack.both_on_v6(false));
}

TEST(PathFinderChoice, DoesNotFlapBetweenEquals) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    DualStack stack(seed);
    stack.world.jitter = 40ms;  // Twice the mean difference that would justify a switch.
    const auto before = stack.world.finder(0).counters().switches;

    stack.world.run_for(10min);

    EXPECT_LE(stack.world.finder(0).counters().switches - before, 12u);
    EXPECT_LE(stack.world.finder(1).counters().switches, 20u);
  }
}

TEST(PathFinderChoice, LeavesADeadPathWithinTwoSecondsUnderData) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    DualStack stack(seed);
    stack.world.loss = 0.05;
    stack.cut_ipv6();

    const TimePoint cut_at = stack.world.now();
    while (!stack.both_on_v6(false) && stack.world.now() < cut_at + 10s) {
      stack.world.send_data(0);
      stack.world.run_for(50ms);
    }

    EXPECT_LE(stack.world.now() - cut_at, 2s);
  }
}

TEST(PathFinderChoice, WhoOnlyListensFollowsAPeerThatHasLeftADeadPath) {
  std::vector<Duration> taken;
  for (const int sender : {0, 1}) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      DualStack stack(seed);
      stack.world.loss = 0.02;
      const auto is_left_by = [&](int party) {
        const Path* path = stack.world.finder(party).selected();
        return path != nullptr && path->remote.ip.is_v4();
      };
      stack.cut_ipv6();
      std::optional<TimePoint> left_at;
      for (int i = 0; i < 250 && !(is_left_by(0) && is_left_by(1)); ++i) {
        stack.world.send_data(sender);
        stack.world.run_for(20ms);
        if (!left_at && is_left_by(sender)) left_at = stack.world.now();
      }

      ASSERT_TRUE(left_at && is_left_by(1 - sender));
      taken.push_back(stack.world.now() - *left_at);
    }
  }
  std::ranges::sort(taken);
  EXPECT_LE(taken[taken.size() / 2], 600ms);
  EXPECT_LE(taken.back(), 1'500ms);
}

TEST(PathFinderChoice, NoticesADeadPathWithoutData) {
  DualStack stack(4);
  stack.cut_ipv6();

  EXPECT_TRUE(stack.world.run_until([&] { return stack.both_on_v6(false); }, 9s));
}

TEST(PathFinderChoice, ConvergesWhenOneDirectionDies) {
  for (const int silent : {0, 1}) {
    DualStack stack(5);
    const Address victim = stack.world.party(silent).sockets[1].address;
    stack.world.drop = [victim](const Flight& flight) { return flight.to == victim; };
    for (int i = 0; i < 200; ++i) {
      stack.world.send_data(0);
      stack.world.send_data(1);
      stack.world.run_for(50ms);
    }

    EXPECT_TRUE(stack.both_on_v6(false));

    stack.world.drop = nullptr;
    EXPECT_TRUE(stack.world.run_until([&] { return stack.both_on_v6(true); }, 12min))
        << "the better path is found again";
  }
}

TEST(PathFinderChoice, DuplicatesForAboutARoundTripAfterASwitch) {
  DualStack stack(6);
  PathFinder& finder = stack.world.finder(0);
  const Path old = *finder.selected();
  EXPECT_EQ(finder.duplicate_to(stack.world.now()), nullptr);
  stack.cut_ipv6();

  const auto switched = [&] { return finder.selected() && *finder.selected() != old; };
  ASSERT_TRUE(stack.world.run_until(switched, 10s));

  ASSERT_NE(finder.duplicate_to(stack.world.now()), nullptr);
  EXPECT_EQ(*finder.duplicate_to(stack.world.now()), old);
  EXPECT_EQ(finder.duplicate_to(stack.world.now() + 2 * kRtt), nullptr);
}

TEST(PathFinderChoice, TellsABlackoutAndComesBack) {
  DualStack stack(7);
  PathFinder& finder = stack.world.finder(0);
  stack.world.drop = [](const Flight&) { return true; };
  stack.world.send_data(0);

  ASSERT_TRUE(stack.world.run_until([&] { return finder.selected() == nullptr; }, 3s));
  EXPECT_EQ(finder.reason(), ReasonCode::kLostConsent);
  EXPECT_FALSE(finder.is_failed());
  stack.world.run_for(1h);
  EXPECT_TRUE(finder.is_failed());
  const auto sent = finder.counters().checks_sent;
  stack.world.run_for(1h);
  EXPECT_GE(finder.counters().checks_sent, sent + 30) << "it never gives up";
  EXPECT_LE(finder.counters().checks_sent, sent + 300) << "and stays cheap";

  stack.world.drop = nullptr;
  EXPECT_TRUE(stack.world.run_until([&] { return stack.world.both_selected(); }, 15min));
}

TEST(PathFinderChoice, ComesBackAtOnceWhenThePeerIsNamedAgain) {
  DualStack stack(8);
  stack.world.drop = [](const Flight&) { return true; };
  stack.world.run_for(10min);
  ASSERT_EQ(stack.world.finder(0).selected(), nullptr);
  stack.world.drop = nullptr;

  stack.world.gather_and_tell();

  EXPECT_TRUE(stack.world.run_until([&] { return stack.world.both_selected(); }, 3 * kRtt));
}

TEST(PathFinderChoice, TakesTheNextPathWhenASocketGoes) {
  DualStack stack(9);

  stack.world.remove_socket(0, stack.world.finder(0).selected()->socket);

  ASSERT_NE(stack.world.finder(0).selected(), nullptr);
  EXPECT_TRUE(stack.world.run_until([&] { return stack.both_on_v6(false); }, kRtt));
  EXPECT_EQ(stack.world.finder(0).duplicate_to(stack.world.now()), nullptr);
}

TEST(PathFinderChoice, HealsARebootedNatInOneRoundTripOfData) {
  for (const int rebooted : {0, 1}) {
    World world(10);
    Router* router = world.add_router({.external = IpAddress::v4(203, 0, 113, 1)});
    world.add_socket(rebooted, address("192.168.1.2:27183"), router);
    world.add_socket(1 - rebooted, address("198.51.100.9:27183"), nullptr);
    world.gather_and_tell();
    world.run_for(5s);
    const Path before = *world.finder(1 - rebooted).selected();

    router->reboot();
    world.send_data(rebooted);
    const auto healed = [&] { return *world.finder(1 - rebooted).selected() != before; };

    // Data arrives (20 ms), is answered to nowhere; the new address is asked and answers (40 ms).
    EXPECT_TRUE(world.run_until(healed, 20ms + 40ms + 30ms)) << rebooted;
    world.run_for(5s);
    EXPECT_EQ(world.finder(rebooted).counters().switches, 0u);
  }
}

TEST(PathFinderChoice, HealsARebootedNatWhenIdle) {
  for (const int rebooted : {0, 1}) {
    World world(11);
    Router* router = world.add_router({.external = IpAddress::v4(203, 0, 113, 1)});
    world.add_socket(rebooted, address("192.168.1.2:27183"), router);
    world.add_socket(1 - rebooted, address("198.51.100.9:27183"), nullptr);
    world.gather_and_tell();
    world.run_for(5s);
    const Path before = *world.finder(1 - rebooted).selected();

    router->reboot();
    const auto healed = [&] {
      return world.both_selected() && *world.finder(1 - rebooted).selected() != before;
    };

    EXPECT_TRUE(world.run_until(healed, 9s)) << rebooted;
  }
}

TEST(PathFinderChoice, FollowsAPartyToAnotherNetwork) {
  for (const int mover : {0, 1}) {
    World world(12);
    Router* old_home = world.add_router({.external = IpAddress::v4(203, 0, 113, 1)});
    Router* new_home = world.add_router({.external = IpAddress::v4(203, 0, 113, 2)});
    Router* peer_home = world.add_router({.external = IpAddress::v4(203, 0, 113, 3)});
    world.add_socket(mover, address("192.168.1.2:27183"), old_home);
    world.add_socket(1 - mover, address("192.168.7.2:27183"), peer_home);
    world.gather_and_tell();
    world.run_for(20s);

    Socket& socket = world.party(mover).sockets.front();
    socket.address = address("10.0.0.5:27183");
    socket.router = new_home;
    world.finder(mover).on_network_changed(world.now());
    world.gather(mover);
    world.tell(mover);  // Signalling brings the new candidates.

    const Address there = *Address::parse("203.0.113.2:40000");
    const auto moved = [&] {
      return world.both_selected() && world.finder(1 - mover).selected()->remote == there;
    };
    EXPECT_TRUE(world.run_until(moved, 1s)) << mover;
  }
}

TEST(PathFinderChoice, SaysWhenNothingAnswers) {
  World world(13);
  world.add_socket(0, address("192.168.1.2:27183"),
                   world.add_router({.external = IpAddress::v4(1)}));
  world.add_socket(1, address("192.168.2.2:27183"),
                   world.add_router({.external = IpAddress::v4(2)}));
  world.drop = [](const Flight&) { return true; };
  world.gather_and_tell();
  PathFinder& finder = world.finder(0);
  EXPECT_EQ(finder.reason(), ReasonCode::kChecking);

  ASSERT_TRUE(world.run_until([&] { return finder.is_failed(); }, 10s));
  EXPECT_EQ(finder.reason(), ReasonCode::kNoAnswer);

  world.drop = nullptr;
  finder.add_remote({CandidateType::kHost, address("198.51.100.77:1"), {}}, world.now());
  EXPECT_FALSE(finder.is_failed()) << "a new candidate revives it";
}

TEST(PathFinderChoice, SaysWhenThePeerNamedNothing) {
  World world(14);
  world.add_socket(0, address("192.168.1.2:27183"),
                   world.add_router({.external = IpAddress::v4(1)}));
  world.gather(0);
  world.finder(0).add_remote({CandidateType::kHost, address("[2001:db8::1]:1"), {}}, world.now());
  world.settle(0);

  ASSERT_TRUE(world.run_until([&] { return world.finder(0).is_failed(); }, 11s));
  EXPECT_EQ(world.finder(0).reason(), ReasonCode::kNoCandidates);
}

TEST(PathFinderChoice, KeepsAProvenPathAndThenABetterOne) {
  DualStack stack(15);
  World world(15);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(1, address("198.51.100.2:2"), nullptr);
  const Path proven{world.party(0).sockets[0].id, address("198.51.100.2:2")};

  world.finder(0).add_proven(proven, world.now());
  world.settle(0);

  ASSERT_NE(world.finder(0).selected(), nullptr);
  EXPECT_EQ(*world.finder(0).selected(), proven);
  world.gather_and_tell();
  world.run_for(1min);
  EXPECT_TRUE(world.both_selected());
  EXPECT_EQ(*world.finder(0).selected(), proven);
}

TEST(PathFinderChoice, FindsTheSizeOfThePathInOneRoundTrip) {
  for (const std::size_t mtu : {1199u, 1232u, 1251u, 1300u, 1412u, 1471u, 1472u, 1500u}) {
    World world(17);
    world.datagram_bytes_max = mtu;
    world.add_socket(0, address("198.51.100.1:1"), nullptr);
    world.add_socket(1, address("198.51.100.2:2"), nullptr);
    world.gather_and_tell();
    EXPECT_EQ(world.finder(0).datagram_bytes(), 1200u);
    world.run_for(200ms);

    const std::size_t found = world.finder(0).datagram_bytes();

    EXPECT_EQ(found, world.finder(1).datagram_bytes());
    EXPECT_LE(found, std::max<std::size_t>(mtu, 1200));
    EXPECT_GE(found + 140, std::min<std::size_t>(mtu, 1472)) << "the next size up is too large";
    world.run_for(1min);
    EXPECT_EQ(world.finder(0).counters().switches, 0u) << "lost probes accuse the size alone";
    EXPECT_TRUE(world.both_selected());
  }
}

TEST(PathFinderChoice, NoticesThatThePathShrankAndGrew) {
  World world(18);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(1, address("198.51.100.2:2"), nullptr);
  world.gather_and_tell();
  world.run_for(10s);
  ASSERT_EQ(world.finder(0).datagram_bytes(), 1472u);

  world.datagram_bytes_max = 1400;
  EXPECT_TRUE(world.run_until([&] { return world.finder(0).datagram_bytes() == 1392; }, 20s));
  world.datagram_bytes_max = 1472;
  EXPECT_TRUE(world.run_until([&] { return world.finder(0).datagram_bytes() == 1472; }, 11min));
  EXPECT_EQ(world.finder(0).counters().switches, 0u);
}

TEST(PathFinderChoice, StalledDataMakesItTryTheSizeSoon) {
  World world(19);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(1, address("198.51.100.2:2"), nullptr);
  world.gather_and_tell();
  world.run_for(10s);
  world.datagram_bytes_max = 1400;

  world.finder(0).on_sent(world.now());  // Too large: nobody will ever answer it.
  world.settle(0);

  EXPECT_TRUE(world.run_until([&] { return world.finder(0).datagram_bytes() < 1400; }, 2500ms));
}

TEST(PathFinderChoice, StepsAroundAPathThatLosesFullSizeDatagrams) {
  for (const bool is_from_the_start : {true, false}) {
    DualStack stack(20);
    if (!is_from_the_start) {
      stack.world.run_for(10s);
      ASSERT_TRUE(stack.world.finder(0).selected()->remote.ip.is_v6());
    }

    stack.world.drop = [](const Flight& flight) {
      return flight.to.ip.is_v6() && flight.bytes.size() > 1'000;
    };

    const auto is_around = [&] {
      return stack.world.both_selected() && stack.world.finder(0).selected()->remote.ip.is_v4() &&
             stack.world.finder(1).selected()->remote.ip.is_v4();
    };
    EXPECT_TRUE(stack.world.run_until(is_around, 20s)) << is_from_the_start;
    stack.world.run_for(5min);
    EXPECT_TRUE(is_around()) << "it does not go back";
    EXPECT_LE(stack.world.finder(0).counters().switches, 3u);
    EXPECT_EQ(stack.world.finder(0).reason(), ReasonCode::kNone);
    const auto told = stack.world.finder(0).timeline();
    EXPECT_TRUE(std::ranges::count(told, TimelineEvent::kBlackHole, &TimelineEntry::event) > 0);
  }
}

TEST(PathFinderChoice, KeepsANarrowPathWhereThereIsNoOther) {
  World world(21);
  world.datagram_bytes_max = 1'000;
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(1, address("198.51.100.2:2"), nullptr);
  world.gather_and_tell();
  world.run_for(10s);

  EXPECT_TRUE(world.both_selected());
  EXPECT_EQ(world.finder(0).reason(), ReasonCode::kBlackHole);
}

TEST(PathFinderChoice, StandbysAreAskedJustUnderTheLifetimeOfTheirMappings) {
  std::map<int, unsigned> checks;  // By lifetime in seconds; 0: not known.
  for (const int seconds : {0, 15, 3600}) {
    DualStack stack(17);
    for (int i = 0; i < 2; ++i) {
      if (seconds != 0) stack.world.finder(i).set_mapping_lifetime(std::chrono::seconds(seconds));
    }
    stack.world.run_for(10min);
    for (const PairReport& pair : stack.world.finder(0).report()) {
      if (pair.state == "valid") checks[seconds] += pair.checks_sent;
    }
  }

  EXPECT_GT(checks[0], 0u);
  EXPECT_GT(checks[15], 2 * checks[0]) << "10 s instead of 25 s";
  EXPECT_LT(checks[3600], checks[0]);
}

TEST(PathFinderChoice, IsQuietWhenIdle) {
  DualStack stack(16);
  stack.world.run_for(5min);
  const int before[2] = {stack.world.party(0).wakeups, stack.world.party(1).wakeups};

  stack.world.run_for(10min);

  for (int i = 0; i < 2; ++i) {
    const int per_minute = (stack.world.party(i).wakeups - before[i]) / 10;
    RecordProperty(i == 0 ? "controlling" : "controlled", per_minute);
    EXPECT_LE(per_minute, 40) << "so that two sessions stay under 2 wake-ups a second";
  }
}

TEST(PathFinderChoice, EqualSeedsGiveEqualTraces) {
  std::set<std::uint64_t> traces;
  for (const std::uint64_t seed : {1u, 1u, 2u}) {
    DualStack stack(seed);
    stack.world.loss = 0.1;
    stack.world.run_for(2min);
    traces.insert(stack.world.trace);
  }
  EXPECT_EQ(traces.size(), 2u);
}

}  // namespace
}  // namespace openp2p::path::test
