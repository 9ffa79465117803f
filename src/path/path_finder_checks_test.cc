#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "path/test_world.h"

/// What strangers, copies and a lying peer can do: nothing but a bounded trickle.
namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

const Address kVictim = address("198.51.100.200:53");

int strays_of(const World& world) {
  return std::accumulate(world.strays.begin(), world.strays.end(), 0,
                         [](int sum, const auto& stray) { return sum + stray.second; });
}

/// Two public hosts, so that nothing but the finders keeps datagrams away.
struct Joined {
  explicit Joined(std::uint64_t seed) : world(seed) {
    world.tap = [this](const Flight& flight) { seen.push_back(flight); };
    for (int i = 0; i < 2; ++i) {
      world.add_socket(i, address(i == 0 ? "198.51.100.1:1" : "198.51.100.2:2"), nullptr);
    }
    world.gather_and_tell();
    world.run_for(10s);
  }
  SocketId socket(int party) { return world.party(party).sockets.front().id; }
  World world;
  std::vector<Flight> seen;
};

TEST(PathFinderChecks, IgnoresAndCountsForgeries) {
  Joined joined(1);
  World& world = joined.world;
  const auto before = world.finder(0).counters();
  const Bytes wrong_key = make_check(1, 1u << 20, false, as_bytes("another key"));
  const Bytes no_key = make_check(1, 1u << 20, false, {});
  const Bytes own_check = make_check(0, 1u << 20, false, config_of(0).check_key);
  Bytes flipped = make_check(1, 1u << 20, false, config_of(1).check_key);
  flipped[24] ^= std::byte{1};

  for (const Bytes& bytes : {wrong_key, no_key, own_check, flipped}) {
    world.inject(0, joined.socket(0), kVictim, bytes);
  }
  world.run_for(1min);

  EXPECT_EQ(world.strays.count(kVictim), 0u);
  EXPECT_EQ(world.finder(0).counters().forged, before.forged + 3) << "a bad FINGERPRINT is no STUN";
  EXPECT_EQ(world.finder(0).report().size(), 1u);
}

TEST(PathFinderChecks, RoleConflictIsHarmless) {
  Joined joined(2);
  World& world = joined.world;
  nat::StunMessage message;
  message.set_username("000000aa:000000bb");
  message.ice_controlling = 1u << 20;  // So is the receiver.
  message.has_fingerprint = true;
  Bytes bytes(256);
  bytes.resize(nat::encode_stun(message, config_of(0).check_key, bytes));

  world.inject(0, joined.socket(0), kVictim, bytes);
  world.run_for(10s);

  EXPECT_EQ(world.finder(0).counters().ignored, 1u);
  EXPECT_EQ(world.strays.count(kVictim), 0u);
  EXPECT_TRUE(world.both_selected());
}

TEST(PathFinderChecks, ReplaysFromElsewhereCauseNothing) {
  Joined joined(3);
  World& world = joined.world;
  const std::vector<Flight> copies = joined.seen;
  const auto is_request_to_0 = [](const Flight& copy) {
    const auto message = nat::decode_stun(copy.bytes);
    return message && message->message_class == nat::StunClass::kRequest &&
           copy.to == address("198.51.100.1:1");
  };
  const auto requests = std::ranges::count_if(copies, is_request_to_0);
  ASSERT_GE(requests, 3);

  for (int round = 0; round < 20; ++round) {
    for (const Flight& copy : copies) {
      const int to = copy.to == address("198.51.100.1:1") ? 0 : 1;
      world.inject(to, joined.socket(to), kVictim, copy.bytes);
    }
    world.run_for(1s);
  }

  EXPECT_EQ(world.strays.count(kVictim), 0u);
  EXPECT_EQ(world.finder(0).counters().replayed, 20u * static_cast<unsigned>(requests));
  EXPECT_EQ(world.finder(0).counters().switches + world.finder(1).counters().switches, 0u);
}

TEST(PathFinderChecks, OvertakenChecksCauseATrickleAndNoSwitch) {
  Joined joined(4);
  World& world = joined.world;
  // The attacker's copy of every check arrives first, from the victim's address.
  world.tap = [&](const Flight& flight) {
    const int to = flight.to == address("198.51.100.1:1") ? 0 : 1;
    if (flight.to == kVictim) return;
    world.inject(to, joined.socket(to), kVictim, flight.bytes);
  };

  world.run_for(1min);
  const int in_first_minute = world.strays[kVictim];
  world.run_for(10min);
  const int later = world.strays[kVictim] - in_first_minute;

  EXPECT_LE(in_first_minute, 2 * (24 + 12 + 64 + 60)) << "checks and answers of two parties";
  EXPECT_LE(later, 10 * 2 * (12 + 60));
  EXPECT_EQ(world.finder(0).counters().switches + world.finder(1).counters().switches, 0u);
  EXPECT_TRUE(world.both_selected()) << "the originals are still answered";
}

TEST(PathFinderChecks, OldNominationsDoNotCount) {
  World world(5);
  for (int i = 0; i < 2; ++i) {
    world.add_socket(i, address(i == 0 ? "198.51.100.1:1" : "198.51.100.2:2"), nullptr);
    world.add_socket(i, address(i == 0 ? "[2001:db8::1]:1" : "[2001:db8::2]:2"), nullptr);
  }
  std::vector<Flight> seen;
  world.tap = [&](const Flight& flight) {
    if (flight.to.ip.is_v4()) seen.push_back(flight);
  };
  world.drop = [](const Flight& flight) { return flight.to.ip.is_v6(); };
  world.gather_and_tell();
  world.run_for(5s);  // IPv4 is nominated first, IPv6 later.
  world.drop = nullptr;
  const auto on_v6 = [&] {
    return world.finder(1).selected() && world.finder(1).selected()->remote.ip.is_v6();
  };
  ASSERT_TRUE(world.run_until(on_v6, 5min));
  world.run_for(10s);

  for (const Flight& copy : seen) {
    if (copy.to != address("198.51.100.2:2")) continue;
    world.inject(1, world.party(1).sockets[0].id, copy.from, copy.bytes);
  }

  EXPECT_TRUE(on_v6());
}

TEST(PathFinderChecks, AnOvertakenNominationDoesNotCount) {
  World world(12);
  for (int i = 0; i < 2; ++i) {
    world.add_socket(i, address(i == 0 ? "198.51.100.1:1" : "198.51.100.2:2"), nullptr);
    world.add_socket(i, address(i == 0 ? "[2001:db8::1]:1" : "[2001:db8::2]:2"), nullptr);
  }
  world.gather_and_tell();
  world.run_for(30s);
  PathFinder& finder = world.finder(1);
  ASSERT_TRUE(finder.selected()->remote.ip.is_v6());
  const auto nominate_v4 = [&](std::uint64_t number) {
    world.inject(1, world.party(1).sockets[0].id, address("198.51.100.1:1"),
                 make_check(0, number, /*is_nomination=*/true, config_of(0).check_key));
    return finder.selected()->remote.ip.is_v4();
  };
  nominate_v4(500);
  ASSERT_TRUE(finder.selected()->remote.ip.is_v4()) << "a new one counts";
  world.inject(1, world.party(1).sockets[1].id, address("[2001:db8::1]:1"),
               make_check(0, 600, /*is_nomination=*/true, config_of(0).check_key));
  ASSERT_TRUE(finder.selected()->remote.ip.is_v6());

  EXPECT_FALSE(nominate_v4(599)) << "never seen, but older";
}

TEST(PathFinderChecks, AnswersToAnAddressThatNeverAnsweredAreATrickle) {
  Joined joined(13);
  World& world = joined.world;

  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Bytes check = make_check(1, 1000 + i, /*is_nomination=*/false, config_of(1).check_key);
    world.inject(0, joined.socket(0), kVictim, check);
    world.run_for(10ms);
  }

  EXPECT_LE(world.strays[kVictim], 64 + 10 + 24 + 2) << "answers and checks of ten seconds";
  EXPECT_GE(world.strays[kVictim], 64);
}

TEST(PathFinderChecks, AnswersFromElsewhereProveNothing) {
  World world(6);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.gather(0);
  world.tap = [&](const Flight& flight) {
    const auto request = nat::decode_stun(flight.bytes);
    if (!request || request->message_class != nat::StunClass::kRequest) return;
    nat::StunMessage answer;
    answer.message_class = nat::StunClass::kSuccess;
    answer.transaction = request->transaction;
    answer.xor_mapped_address = flight.from;
    answer.has_fingerprint = true;
    Bytes bytes(256);
    bytes.resize(nat::encode_stun(answer, config_of(0).check_key, bytes));
    const auto message = nat::decode_stun(bytes);
    ASSERT_TRUE(message);
    world.finder(0).on_stun({SocketId{1}, kVictim}, *message, bytes, world.now());
  };

  world.finder(0).add_remote({CandidateType::kHost, address("198.51.100.2:2"), {}}, world.now());
  world.settle(0);
  world.run_for(10s);

  EXPECT_EQ(world.finder(0).selected(), nullptr);
  EXPECT_GE(world.finder(0).counters().forged, 10u);
}

TEST(PathFinderChecks, TellsWhoIsSeenWhereOverIpv4) {
  World world(8);
  const auto router = world.add_router({.external = IpAddress::v4(203, 0, 113, 9)});
  world.add_socket(0, address("192.168.1.2:1"), router);
  world.add_socket(1, address("198.51.100.2:2"), nullptr);

  world.gather_and_tell();
  ASSERT_TRUE(world.run_until([&] { return world.both_selected(); }, 5s));
  world.run_for(1s);

  ASSERT_TRUE(world.finder(0).reflexive_v4());
  EXPECT_EQ(world.finder(0).reflexive_v4()->ip, IpAddress::v4(203, 0, 113, 9));
  EXPECT_EQ(world.finder(0).reflexive_v4(), world.finder(1).answered_v4());
  EXPECT_EQ(world.finder(1).reflexive_v4(), address("198.51.100.2:2"));
  EXPECT_EQ(world.finder(0).answered_v4(), address("198.51.100.2:2"));
}

TEST(PathFinderChecks, SurvivesReordering) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.extra_delay = [&](const Flight&) { return Duration(world.random().below(300'000'000)); };
    world.loss = 0.05;
    for (int i = 0; i < 2; ++i) {
      world.add_socket(
          i, address(i == 0 ? "192.168.1.2:1" : "192.168.2.2:2"),
          world.add_router({.external = IpAddress::v4(203, 0, 113, static_cast<std::uint8_t>(i))}));
    }
    world.gather_and_tell();

    EXPECT_TRUE(world.run_until([&] { return world.both_selected(); }, 5s));
    world.run_for(1min);

    EXPECT_TRUE(world.both_selected());
    EXPECT_LE(world.finder(0).counters().switches + world.finder(1).counters().switches, 4u);
  }
}

TEST(PathFinderChecks, RefusesAddressesThatAreNobody) {
  World world(7);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(0, address("[2001:db8::1]:1"), nullptr);
  world.gather(0);

  for (const char* lie : {"127.0.0.1:22", "127.255.0.9:1", "0.0.0.0:9", "224.0.0.251:5353",
                          "255.255.255.255:67", "203.0.113.5:0", "198.51.100.1:1", "[::1]:22",
                          "[::]:9", "[ff02::fb]:5353", "[2001:db8::1]:1", "[fe80::1]:1"}) {
    world.finder(0).add_remote({CandidateType::kHost, address(lie), {}}, world.now());
  }
  world.settle(0);
  world.run_for(1min);

  EXPECT_TRUE(world.finder(0).report().empty());
  EXPECT_EQ(world.finder(0).counters().checks_sent, 0u);
}

TEST(PathFinderChecks, LearnsNoAddressThatIsNobody) {
  Joined joined(8);
  const Bytes check = make_check(1, 1u << 20, false, config_of(1).check_key);

  joined.world.inject(0, joined.socket(0), address("127.0.0.1:22"), check);
  joined.world.run_for(10s);

  EXPECT_EQ(joined.world.strays.count(address("127.0.0.1:22")), 0u);
}

TEST(PathFinderChecks, AThirdPartyNamedByThePeerGetsATrickle) {
  World world(9);
  for (int i = 0; i < 3; ++i) {  // More sockets do not mean more checks.
    world.add_socket(0, {IpAddress::v4(198, 51, 100, 1), static_cast<std::uint16_t>(i + 1)},
                     nullptr);
  }
  world.gather(0);
  const auto name_victim = [&] {
    world.finder(0).add_remote({CandidateType::kServerReflexive, kVictim, {}}, world.now());
    world.settle(0);
  };

  name_victim();
  world.run_for(1min);
  const int in_first_minute = world.strays[kVictim];
  for (int i = 0; i < 600; ++i) {  // And again, every second.
    name_victim();
    world.run_for(1s);
  }
  const int later = world.strays[kVictim] - in_first_minute;

  EXPECT_GE(in_first_minute, 16);
  EXPECT_LE(in_first_minute, 24 + 12);
  EXPECT_LE(later, 10 * 12 + 12);
}

TEST(PathFinderChecks, TenThousandCandidatesAreBounded) {
  World world(10);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.add_socket(0, address("198.51.100.1:2"), nullptr);
  world.gather(0);

  for (std::uint32_t i = 0; i < 10'000; ++i) {
    world.finder(0).add_remote({CandidateType::kHost, {IpAddress::v4((100u << 24) + i), 443}, {}},
                               world.now());
  }
  world.settle(0);

  EXPECT_LE(world.finder(0).report().size(), PathFinder::kPairsMax);
  world.run_for(1min);
  EXPECT_LE(world.strays.size(), PathFinder::kRemoteCandidatesMax);
  EXPECT_LE(strays_of(world), 32 * (24 + 12));
  world.strays.clear();
  for (std::uint32_t minute = 0; minute < 10; ++minute) {  // Always new ones, for ten minutes.
    for (std::uint32_t i = 0; i < 1000; ++i) {
      const std::uint32_t host = (101u << 24) + minute * 1000 + i;
      world.finder(0).add_remote({CandidateType::kHost, {IpAddress::v4(host), 443}, {}},
                                 world.now());
      world.settle(0);
      world.run_for(60ms);
    }
  }
  EXPECT_LE(strays_of(world), 10 * 60 * 50) << "Ta bounds everything";
  EXPECT_LE(strays_of(world), 10 * (6 * 24 + 32 * 12));
}

TEST(PathFinderChecks, PacesChecks) {
  World world(11);
  world.add_socket(0, address("198.51.100.1:1"), nullptr);
  world.gather(0);
  for (std::uint32_t i = 0; i < 32; ++i) {
    world.finder(0).add_remote({CandidateType::kHost, {IpAddress::v4((100u << 24) + i), 443}, {}},
                               world.now());
  }
  std::map<std::int64_t, int> per_tenth;
  world.tap = [&](const Flight&) { ++per_tenth[world.now().time_since_epoch() / 100ms]; };

  world.settle(0);
  world.run_for(10s);

  for (const auto& [tenth, count] : per_tenth) EXPECT_LE(count, tenth == 0 ? 15 : 5) << tenth;
}

}  // namespace
}  // namespace openp2p::path::test
