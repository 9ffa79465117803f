// Sessions over TCP connections: dialed, met, moved to and from, and what strangers do with them.

#include <gtest/gtest.h>

#include "session/socket_ledger.h"
#include "session/test_party.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

Address tcp_of(int host) {
  return {IpAddress::v4(203, 0, 113, static_cast<std::uint8_t>(host)), 27183};
}

bool is_tcp(const Session& session) {
  return session.path() && session.path()->socket.value() > StreamNet::kFirstSocket;
}

/// A server and a node, both with UDP and TCP. In memory the two are two worlds, so that the server
/// has one address for both.
struct ServerAndNode {
  explicit ServerAndNode(std::uint64_t seed)
      : world(seed),
        internet(world),
        streams(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted),
        server_address{*server_host->address(sim::Family::kV4), 27183},
        server_streams(streams.add_host(server_address, /*is_filtered=*/false)),
        node_streams(streams.add_host(tcp_of(7), /*is_filtered=*/true)),
        server(*server_host, seed * 2, /*accepts=*/true, 27183, &server_streams),
        node(home.host(), seed * 2 + 1, /*accepts=*/false, 0, &node_streams) {}

  bool run_until(const std::function<bool()>& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }
  bool connect() {
    node.dial(server.id(), {server_address});
    return run_until([&] { return node.is_up && server.is_up; }, 5s);
  }

  sim::World world;
  sim::Internet internet;
  StreamNet streams;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
  Address server_address;
  StreamHost& server_streams;
  StreamHost& node_streams;
  TestParty server;
  TestParty node;
};

TEST(Streams, ADialWithoutUdpUsesTcpAfterASecond) {
  ServerAndNode net(1);
  net.node.cut_udp(true);

  ASSERT_TRUE(net.connect());
  EXPECT_GE(net.world.elapsed(), 1s);
  EXPECT_LE(net.world.elapsed(), 1500ms);
  net.node.send(300'000);

  ASSERT_TRUE(net.run_until([&] { return net.server.has_end; }, 20s));
  EXPECT_EQ(net.server.received, net.node.sent());
  EXPECT_TRUE(is_tcp(*net.node.session));
  EXPECT_TRUE(is_tcp(*net.server.session));
  EXPECT_EQ(net.server_streams.open(), 1U);
}

TEST(Streams, ADialOverUdpOpensNoConnection) {
  ServerAndNode net(2);

  ASSERT_TRUE(net.connect());
  net.world.run_for(600s);

  EXPECT_EQ(net.node_streams.connects, 0U);
  EXPECT_TRUE(net.node.is_up && net.server.is_up);
}

TEST(Streams, ASessionMovesToTcpWhenUdpDiesAndBack) {
  for (std::uint64_t seed = 10; seed < 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ServerAndNode net(seed);
    ASSERT_TRUE(net.connect());
    net.node.send(3'000'000);
    net.world.run_for(100ms + (seed - 10) * 10ms);
    ASSERT_FALSE(net.server.has_end);

    net.node.cut_udp(true);
    const TimePoint cut_at = net.world.now();
    ASSERT_TRUE(net.run_until([&] { return is_tcp(*net.node.session); }, 5s));
    EXPECT_LE(net.world.now() - cut_at, 4s);
    ASSERT_TRUE(net.run_until([&] { return net.server.has_end; }, 60s));
    EXPECT_EQ(net.server.received, net.node.sent());

    net.world.run_for(60s);
    net.node.cut_udp(false);
    net.server.send(100'000);
    ASSERT_TRUE(net.run_until([&] { return !is_tcp(*net.node.session); }, 60s));
    ASSERT_TRUE(net.run_until([&] { return net.node.has_end; }, 20s));
    EXPECT_EQ(net.node.received, net.server.sent());
    net.world.run_for(120s);
    EXPECT_FALSE(is_tcp(*net.server.session));
    EXPECT_EQ(net.server_streams.open(), 0U);  // Not needed any more.
    EXPECT_EQ(net.node_streams.open(), 0U);
    EXPECT_EQ(net.server.accepted, 1);
  }
}

TEST(Streams, ALostConnectionIsOpenedAgain) {
  ServerAndNode net(3);
  net.node.cut_udp(true);
  ASSERT_TRUE(net.connect());

  const Path old = *net.node.session->path();
  net.node_streams.close(old.socket);
  net.node.endpoint().on_disconnected(old.socket, {}, net.world.now());
  net.node.poke();
  net.node.send(100'000);

  ASSERT_TRUE(net.run_until([&] { return net.server.has_end; }, 10s));
  EXPECT_EQ(net.server.received, net.node.sent());
  EXPECT_EQ(net.server.accepted, 1);
}

TEST(Streams, ASilentConnectionIsReplaced) {
  ServerAndNode net(4);
  net.node.cut_udp(true);
  ASSERT_TRUE(net.connect());

  net.node_streams.is_cut = true;  // Nobody is told.
  net.world.run_for(8s);
  net.node_streams.is_cut = false;
  net.node.send(100'000);

  ASSERT_TRUE(net.run_until([&] { return net.server.has_end; }, 20s));
  EXPECT_EQ(net.server.received, net.node.sent());
}

TEST(Streams, TheEndOfASessionClosesItsConnections) {
  ServerAndNode net(5);
  net.node.cut_udp(true);
  ASSERT_TRUE(net.connect());

  net.node.session->close(7, "done here", net.world.now());
  net.node.poke();

  ASSERT_TRUE(net.run_until([&] { return net.server.closed.has_value(); }, 2s));
  EXPECT_EQ(net.server.closed->code, 7U);
  net.world.run_for(5s);
  EXPECT_EQ(net.node_streams.open(), 0U);
  EXPECT_EQ(net.server_streams.open(), 0U);
}

/// Two nodes without UDP, behind NATs that let in who was sent to.
struct TwoNodes {
  explicit TwoNodes(std::uint64_t seed, bool b_is_filtered = true)
      : world(seed),
        internet(world),
        streams(world, 20ms),
        host_a(sim::make_public_host(internet)),
        host_b(sim::make_public_host(internet)),
        a_streams(streams.add_host(tcp_of(1), /*is_filtered=*/true)),
        b_streams(streams.add_host(tcp_of(2), b_is_filtered)),
        a(*host_a, seed * 2, /*accepts=*/false, 0, &a_streams),
        b(*host_b, seed * 2 + 1, /*accepts=*/false, 0, &b_streams) {
    a.cut_udp(true);
    b.cut_udp(true);
  }

  /// `error`: how much later B begins than A thinks.
  void meet(path::CandidateType type, Duration error = {}, path::SideProfile profile_b = {}) {
    session::meet(a, b, world.now(), 40ms);
    const TimePoint go_at = world.now() + 200ms;
    a.session->paths()->set_profiles({}, profile_b, 0, go_at, world.now());
    b.session->paths()->set_profiles(profile_b, {}, 0, go_at + error, world.now());
    name(a, type, b_streams.external());
    name(b, path::CandidateType::kServerReflexive, a_streams.external());
  }
  void name(TestParty& party, path::CandidateType type, const Address& address) {
    party.session->paths()->add_remote({type, address, SocketId(), path::Transport::kTcp},
                                       world.now());
    party.endpoint().touch(*party.session);
    party.poke();
  }
  bool are_up_within(Duration patience) {
    return world.run_until([&] { return a.is_up && b.is_up; }, world.now() + patience);
  }

  sim::World world;
  sim::Internet internet;
  StreamNet streams;
  std::unique_ptr<sim::Host> host_a, host_b;
  StreamHost& a_streams;
  StreamHost& b_streams;
  TestParty a, b;
};

TEST(Streams, SimultaneousOpenPassesTwoNats) {
  std::uint64_t seed = 100;
  for (const bool rejects : {false, true}) {
    for (const Duration error : {-50ms, -30ms, -10ms, 0ms, 10ms, 30ms, 50ms}) {
      SCOPED_TRACE(testing::Message() << "rejects " << rejects << " error " << error.count());
      TwoNodes net(++seed);
      net.streams.rejects = rejects;
      net.meet(path::CandidateType::kServerReflexive, error);

      ASSERT_TRUE(net.are_up_within(5s));
      EXPECT_EQ(net.a.session->paths()->method(), path::Method::kTcpSimultaneous);
      net.a.send(500'000);
      ASSERT_TRUE(net.world.run_until([&] { return net.b.has_end; }, net.world.now() + 30s));
      EXPECT_EQ(net.b.received, net.a.sent());
      net.world.run_for(60s);
      EXPECT_EQ(net.a_streams.open(), 1U);
      EXPECT_EQ(net.b_streams.open(), 1U);
      EXPECT_TRUE(net.a.is_up && net.b.is_up);
    }
  }
}

TEST(Streams, AListenerThatCanBeReachedNeedsNoAgreement) {
  TwoNodes net(200, /*b_is_filtered=*/false);
  net.meet(path::CandidateType::kMapped);

  ASSERT_TRUE(net.are_up_within(1s));
  EXPECT_EQ(net.a.session->paths()->method(), path::Method::kTcpDirect);
}

TEST(Streams, WithTcpSwitchedOffNothingIsOpened) {
  TwoNodes net(201, /*b_is_filtered=*/false);
  path::SideProfile off;
  off.methods =
      off.methods.without(path::Method::kTcpDirect).without(path::Method::kTcpSimultaneous);
  net.meet(path::CandidateType::kMapped, {}, off);

  EXPECT_FALSE(net.are_up_within(20s));
  EXPECT_EQ(net.a_streams.connects + net.b_streams.connects, 0U);
}

TEST(Streams, UdpThatWorksIsNotDisturbed) {
  TwoNodes net(202);
  net.a.cut_udp(false);
  net.b.cut_udp(false);
  net.meet(path::CandidateType::kServerReflexive);
  for (TestParty* party : {&net.a, &net.b}) {
    TestParty& other = party == &net.a ? net.b : net.a;
    party->session->paths()->add_remote(
        {path::CandidateType::kHost, other.address(), SocketId(), path::Transport::kUdp},
        net.world.now());
    party->endpoint().touch(*party->session);
    party->poke();
  }

  ASSERT_TRUE(net.are_up_within(1s));
  net.world.run_for(300s);
  EXPECT_EQ(net.a_streams.connects + net.b_streams.connects, 0U);
}

TEST(Streams, TwoThatHaveUdpMoveToTcpTogetherAndBack) {
  TwoNodes net(203);
  net.a.cut_udp(false);
  net.b.cut_udp(false);
  net.meet(path::CandidateType::kServerReflexive);
  net.a.session->paths()->add_remote({path::CandidateType::kHost, net.b.address(), SocketId()},
                                     net.world.now());
  net.b.session->paths()->add_remote({path::CandidateType::kHost, net.a.address(), SocketId()},
                                     net.world.now());
  net.a.poke();
  net.b.poke();
  ASSERT_TRUE(net.are_up_within(2s));
  net.a.send(5'000'000);
  net.world.run_for(100ms);

  net.b.cut_udp(true);

  ASSERT_TRUE(net.world.run_until([&] { return net.b.has_end; }, net.world.now() + 60s));
  EXPECT_EQ(net.b.received, net.a.sent());
  EXPECT_TRUE(is_tcp(*net.a.session));
  net.b.cut_udp(false);
  EXPECT_TRUE(net.world.run_until(
      [&] { return !is_tcp(*net.a.session) && !is_tcp(*net.b.session); }, net.world.now() + 60s));
}

/// Opens connections to the server and lets nothing of a session come over them.
struct Stranger {
  explicit Stranger(ServerAndNode& net) : net_(net) {}
  SocketId connect(IpAddress from = IpAddress::v4(198, 51, 100, 1)) {
    const SocketId socket(++next_);
    remote_ = {from, static_cast<std::uint16_t>(next_ % 60'000 + 1)};
    net_.server.endpoint().on_connected(socket, net_.server_address, remote_,
                                        /*is_incoming=*/true, net_.world.now());
    net_.server.poke();
    return socket;
  }
  void send(SocketId socket, ByteView bytes) {
    net_.server.endpoint().on_datagrams(socket, remote_, bytes, bytes.size(), net_.world.now());
    net_.server.poke();
  }

 private:
  ServerAndNode& net_;
  std::uint32_t next_ = 5'000'000;
  Address remote_;
};

TEST(StreamsHostile, GarbageProvesNothing) {
  ServerAndNode net(300);
  ASSERT_TRUE(net.connect());
  Stranger stranger(net);
  Random random(1);
  const SocketId socket = stranger.connect();

  for (int i = 0; i < 2'000; ++i) {
    Bytes garbage(1 + random.below(1'400));
    random.fill(garbage);
    if (i % 2 == 0) garbage[0] |= std::byte{0x40};
    stranger.send(socket, garbage);
    net.world.run_for(4ms);
  }
  EXPECT_TRUE(net.server.endpoint().next_timeout());
  net.world.run_for(3s);

  // It is closed by now: its id would be new to the server.
  EXPECT_EQ(net.server.endpoint().stranger_count(), 0U);
  EXPECT_TRUE(net.node.is_up && net.server.is_up);
  EXPECT_EQ(net.server.endpoint().session_count(), 1U);
}

TEST(StreamsHostile, AReplayedPacketClaimsNothing) {
  ServerAndNode net(301);
  Bytes seen;
  net.node.on_sent([&](ByteView datagrams) { seen = to_bytes(datagrams); });
  ASSERT_TRUE(net.connect());
  net.node.send(10'000);
  net.world.run_for(1s);
  net.node.on_sent(nullptr);
  ASSERT_FALSE(seen.empty());
  Stranger stranger(net);

  for (int i = 0; i < 20; ++i) stranger.send(stranger.connect(), seen);
  EXPECT_EQ(net.server.endpoint().stranger_count(), 20U);
  net.world.run_for(11s);

  EXPECT_EQ(net.server.endpoint().stranger_count(), 0U);
  EXPECT_FALSE(net.server.closed);
  EXPECT_FALSE(is_tcp(*net.server.session));
}

TEST(StreamsHostile, AFloodOfConnectionsIsBoundedAndPasses) {
  ServerAndNode net(302);
  Stranger stranger(net);
  for (std::uint32_t i = 0; i < 10'000; ++i) stranger.connect(IpAddress::v4(0x0b000000U + i));
  EXPECT_EQ(net.server.endpoint().stranger_count(), SocketLedger::kStrangersMax);

  net.world.run_for(11s);
  EXPECT_EQ(net.server.endpoint().stranger_count(), 0U);
  net.node.cut_udp(true);
  EXPECT_TRUE(net.connect());
}

}  // namespace
}  // namespace openp2p::session
