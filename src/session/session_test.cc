#include <gtest/gtest.h>

#include <algorithm>

#include "session/test_party.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

/// A server and a node behind a NAT, in one simulated internet.
struct ServerAndNode {
  explicit ServerAndNode(std::uint64_t seed, const sim::LinkOptions& link = {.delay = 10ms})
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted, {.link = link}),
        server(*server_host, seed * 2, /*accepts=*/true, 27183),
        node(home.host(), seed * 2 + 1, /*accepts=*/false) {}

  bool run_until(const std::function<bool()>& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
  TestParty server;
  TestParty node;
};

TEST(Endpoint, DialsAndIsAccepted) {
  ServerAndNode net(1);

  net.node.dial(net.server.id(), {net.server.address()});

  ASSERT_TRUE(net.run_until([&] { return net.node.is_up && net.server.is_up; }, 2s));
  EXPECT_EQ(net.server.session->peer(), net.node.id());
  EXPECT_TRUE(net.server.session->is_incoming());
}

TEST(Endpoint, CarriesStreamsThroughLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ServerAndNode net(seed, {.delay = 10ms, .loss = 0.05});
    net.node.dial(net.server.id(), {net.server.address()});
    ASSERT_TRUE(net.run_until([&] { return net.node.is_up; }, 20s));

    net.node.send(300'000);

    EXPECT_TRUE(net.run_until([&] { return net.server.has_end; }, 60s));
    EXPECT_TRUE(std::ranges::equal(net.server.received, net.node.sent()));
    EXPECT_GT(net.server.batches, 0U);
  }
}

TEST(Endpoint, RefusesAServerWithAnotherKey) {
  ServerAndNode net(2);
  NodeId other = net.server.id();
  other.key[0] ^= std::byte{1};

  net.node.dial(other, {net.server.address()});

  ASSERT_TRUE(net.run_until([&] { return net.node.closed.has_value(); }, 5s));
  EXPECT_EQ(net.node.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(net.server.accepted, 0);
}

TEST(Endpoint, RefusesAnUnwelcomeClient) {
  ServerAndNode net(3);
  net.server.unwelcome = net.node.id();

  net.node.dial(net.server.id(), {net.server.address()});

  ASSERT_TRUE(net.run_until([&] { return net.node.closed.has_value(); }, 5s));
  EXPECT_EQ(net.node.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_EQ(net.server.accepted, 0);
  net.world.run_for(30s);
  EXPECT_EQ(net.server.endpoint().session_count(), 0U);
}

TEST(Endpoint, TriesTheNextAddressAfter250Ms) {
  ServerAndNode net(4);
  const Address dead{IpAddress::v4(203, 0, 113, 99), 27183};

  net.node.dial(net.server.id(), {dead, net.server.address()});

  ASSERT_TRUE(net.run_until([&] { return net.node.is_up; }, 1s));
  EXPECT_GE(net.world.elapsed(), 250ms);
  ASSERT_TRUE(net.run_until([&] { return net.node.session->path().has_value(); }, 1s));
  EXPECT_EQ(net.node.session->path()->remote, net.server.address());
}

TEST(Endpoint, GivesUpOnASilentServerWithTheReason) {
  ServerAndNode net(5);
  net.node.dial(net.server.id(), {{IpAddress::v4(203, 0, 113, 99), 27183}});

  ASSERT_TRUE(net.run_until([&] { return net.node.closed.has_value(); }, 30s));
  EXPECT_EQ(net.node.closed->kind, CloseReason::Kind::kHandshakeTimeout);
  net.world.run_for(1s);
  EXPECT_EQ(net.node.endpoint().session_count(), 0U);
}

TEST(Endpoint, FollowsANatThatRebindsBothWays) {
  ServerAndNode net(6);
  net.node.dial(net.server.id(), {net.server.address()});
  ASSERT_TRUE(net.run_until([&] { return net.server.is_up; }, 2s));
  net.world.run_for(10s);

  net.home.router()->reboot(
      /*has_new_address=*/true);  // Mappings are gone: the node's next packet has another source.
  net.world.run_for(15s);
  net.server.send(100'000);  // The server can only reach it at the new one.

  EXPECT_TRUE(net.run_until([&] { return net.node.has_end; }, 10s));
  EXPECT_EQ(net.node.received, net.server.sent());
  EXPECT_FALSE(net.node.closed);
}

TEST(Endpoint, WhatWaitedIsSentAtOnceWhenThereIsAPathAgain) {
  ServerAndNode net(10);
  net.node.dial(net.server.id(), {net.server.address()});
  ASSERT_TRUE(net.run_until([&] { return net.server.is_up; }, 2s));
  net.world.run_for(3s);
  const auto has_path = [&] { return net.node.session->paths()->selected() != nullptr; };
  net.node.cut_udp(true);
  net.node.send(1'000);
  ASSERT_TRUE(net.run_until([&] { return !has_path(); }, 20s));
  net.world.run_for(6s);  // By now QUIC's own probes are seconds apart.
  ASSERT_FALSE(net.server.has_end);

  net.node.cut_udp(false);
  net.node.endpoint().on_network_changed(net.world.now());
  net.node.poke();
  ASSERT_TRUE(net.run_until(has_path, 1s));

  EXPECT_TRUE(net.run_until([&] { return net.server.has_end; }, 100ms));
}

TEST(Endpoint, NoticesARestartedServerBeforeTheIdleTimeout) {
  ServerAndNode net(7);
  net.node.dial(net.server.id(), {net.server.address()});
  ASSERT_TRUE(net.run_until([&] { return net.node.is_up && net.server.is_up; }, 2s));

  net.server.restart(27183);
  net.node.send(1'000);

  ASSERT_TRUE(net.run_until([&] { return net.node.closed.has_value(); }, 5s));
  EXPECT_EQ(net.node.closed->kind, CloseReason::Kind::kProtocol);
}

TEST(Endpoint, CloseReachesThePeerWithItsReason) {
  ServerAndNode net(8);
  net.node.dial(net.server.id(), {net.server.address()});
  ASSERT_TRUE(net.run_until([&] { return net.server.is_up; }, 2s));

  net.node.session->close(7, "done here", net.world.now());
  net.node.poke();

  ASSERT_TRUE(net.run_until([&] { return net.server.closed.has_value(); }, 2s));
  EXPECT_EQ(net.server.closed->kind, CloseReason::Kind::kPeer);
  EXPECT_EQ(net.server.closed->code, 7U);
  EXPECT_EQ(net.server.closed->text, "done here");
}

TEST(Endpoint, IdleSessionsStayAndWakeRarely) {
  ServerAndNode net(9);
  net.node.dial(net.server.id(), {net.server.address()});
  ASSERT_TRUE(net.run_until([&] { return net.server.is_up; }, 2s));
  net.world.run_for(10s);
  const std::uint64_t before = net.node.endpoint().counters().datagrams_received;

  net.world.run_for(600s);

  EXPECT_TRUE(net.node.is_up && net.server.is_up);
  EXPECT_LT(net.node.endpoint().counters().datagrams_received - before, 600U);
}

/// Two nodes behind NATs that exchanged tags, key and candidates, as signalling does.
struct TwoHomes {
  TwoHomes(std::uint64_t seed, sim::NatKind kind_a, sim::NatKind kind_b,
           const sim::LinkOptions& link = {.delay = 10ms})
      : world(seed),
        internet(world),
        home_a(internet, kind_a, {.link = link}),
        home_b(internet, kind_b, {.link = link}),
        server_host(sim::make_public_host(internet)),
        a(home_a.host(), seed * 2, /*accepts=*/false),
        b(home_b.host(), seed * 2 + 1, /*accepts=*/false) {}

  /// What a STUN server in the middle would say.
  Address reflexive(TestParty& party) {
    Address seen;
    sim::UdpSocket& socket = server_host->open_udp();
    socket.on_receive([&](const Address& from, ByteView, TimePoint) { seen = from; });
    const std::array<std::byte, 1> one{};
    party.host().socket(party.socket()).send(socket.local(), one);
    world.run_until([&] { return seen.port != 0; }, world.now() + 5s);
    socket.close();
    return seen;
  }

  void meet() {
    const Address seen_a = reflexive(a);
    const Address seen_b = reflexive(b);
    session::meet(a, b, world.now());
    add(a, b.address(), seen_b);
    add(b, a.address(), seen_a);
  }

  void add(TestParty& party, const Address& host, const Address& reflexive) {
    path::PathFinder& finder = *party.session->paths();
    finder.add_remote({path::CandidateType::kHost, host, SocketId()}, world.now());
    finder.add_remote({path::CandidateType::kServerReflexive, reflexive, SocketId()}, world.now());
    party.endpoint().touch(*party.session);
    party.poke();
  }

  sim::World world;
  sim::Internet internet;
  sim::Home home_a, home_b;
  std::unique_ptr<sim::Host> server_host;
  TestParty a, b;
};

TEST(Meeting, EveryPairOfEndpointIndependentNatsMeets) {
  std::uint64_t seed = 100;
  for (const sim::NatKind kind_a : sim::kEimNatKinds) {
    for (const sim::NatKind kind_b : sim::kEimNatKinds) {
      SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind_a) << " x "
                                      << sim::nat_kind_text(kind_b) << " seed " << ++seed);
      TwoHomes net(seed, kind_a, kind_b, {.delay = 10ms, .loss = 0.02});
      net.meet();
      ASSERT_TRUE(
          net.world.run_until([&] { return net.a.is_up && net.b.is_up; }, net.world.now() + 10s));
      EXPECT_EQ(net.b.session->peer(), net.a.id());

      net.a.send(50'000);

      ASSERT_TRUE(net.world.run_until([&] { return net.b.has_end; }, net.world.now() + 20s));
      EXPECT_EQ(net.b.received, net.a.sent());
    }
  }
}

TEST(Meeting, TakesAtMostFourRoundTripsToTheFirstByte) {
  TwoHomes net(7, sim::NatKind::kPortRestricted, sim::NatKind::kPortRestricted);
  net.meet();
  const TimePoint start = net.world.now();
  ASSERT_TRUE(net.world.run_until([&] { return net.a.is_up; }, start + 5s));
  net.a.send(100);
  ASSERT_TRUE(net.world.run_until([&] { return net.b.has_end; }, start + 5s));

  const Duration round_trip = 2 * (10ms + 10ms + 200us * 2);
  EXPECT_LE(net.world.now() - start, 4 * round_trip);
}

TEST(Meeting, StrangersCannotOpenASession) {
  TwoHomes net(8, sim::NatKind::kNone, sim::NatKind::kNone);
  net.meet();
  ASSERT_TRUE(
      net.world.run_until([&] { return net.a.is_up && net.b.is_up; }, net.world.now() + 5s));
  auto host = sim::make_public_host(net.internet);
  TestParty stranger(*host, 99, /*accepts=*/false);

  stranger.dial(net.b.id(), {net.b.address()});
  net.world.run_for(12s);

  EXPECT_FALSE(stranger.is_up);
  EXPECT_EQ(net.b.endpoint().session_count(), 1U);
}

TEST(Meeting, AWrongPeerKeyIsRefused) {
  TwoHomes net(9, sim::NatKind::kNone, sim::NatKind::kNone);
  Meeting meeting;
  meeting.local_tag = path::FinderTag(1);
  meeting.remote_tag = path::FinderTag(2);
  meeting.peer = net.b.id();
  meeting.peer.key[3] ^= std::byte{4};  // The one who has the check key is not who was meant.
  net.a.session = &net.a.endpoint().meet(meeting, net.a, net.world.now());
  std::swap(meeting.local_tag, meeting.remote_tag);
  meeting.peer = net.a.id();
  meeting.role = path::IceRole::kControlled;
  net.b.session = &net.b.endpoint().meet(meeting, net.b, net.world.now());
  net.add(net.a, net.b.address(), net.b.address());
  net.add(net.b, net.a.address(), net.a.address());

  ASSERT_TRUE(net.world.run_until([&] { return net.a.closed.has_value(); }, net.world.now() + 5s));
  EXPECT_EQ(net.a.closed->kind, CloseReason::Kind::kRefused);
  EXPECT_FALSE(net.a.is_up);
}

TEST(Meeting, StreamsSurviveALostMappingOnEitherSide) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwoHomes net(seed, sim::NatKind::kFullCone, sim::NatKind::kFullCone,
                 {.delay = 10ms, .bits_per_second = 50'000'000});
    net.meet();
    ASSERT_TRUE(
        net.world.run_until([&] { return net.a.is_up && net.b.is_up; }, net.world.now() + 5s));
    net.a.send(2'000'000);
    net.world.run_for(100ms);

    (seed % 2 == 0 ? net.home_a : net.home_b).router()->reboot(/*has_new_address=*/true);

    ASSERT_TRUE(net.world.run_until([&] { return net.b.has_end; }, net.world.now() + 30s));
    EXPECT_EQ(net.b.received, net.a.sent());
  }
}

/// The peer's NAT may be spoilt by what comes from elsewhere, and the peer does not know yet.
TEST(Meeting, WhatWaitsInANewNetworkIsSentWhenThePeerKnows) {
  TwoHomes net(1, sim::NatKind::kPortRestricted, sim::NatKind::kPortRestricted,
               {.delay = 10ms, .bits_per_second = 50'000'000});
  net.meet();
  ASSERT_TRUE(
      net.world.run_until([&] { return net.a.is_up && net.b.is_up; }, net.world.now() + 5s));
  net.a.send(1'000'000);
  net.world.run_for(50ms);
  const std::uint64_t before = net.a.session->bytes_sent();

  net.a.session->paths()->be_quiet(net.world.now() + 300ms);
  net.world.run_for(250ms);

  EXPECT_EQ(net.a.session->bytes_sent(), before);
  const auto has_all = [&] { return net.b.has_end; };
  ASSERT_TRUE(net.world.run_until(has_all, net.world.now() + 1s));
  EXPECT_EQ(net.b.received, net.a.sent());
}

}  // namespace
}  // namespace openp2p::session
