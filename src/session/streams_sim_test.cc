// Sessions over the simulator's TCP, through its NATs: SYNs, RSTs and congestion are real there.

#include <gtest/gtest.h>

#include "path/stream_opener.h"
#include "session/test_party.h"
#include "session/test_sim_streams.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 27183;

/// Two homes whose UDP is cut, so that TCP is all they have.
struct TwoTcpHomes {
  TwoTcpHomes(std::uint64_t seed, sim::NatKind nat_a, sim::NatKind nat_b,
              const sim::LinkOptions& link)
      : kind_a(nat_a),
        kind_b(nat_b),
        world(seed),
        internet(world),
        home_a(internet, kind_a, {.link = link}),
        home_b(internet, kind_b, {.link = link}),
        server_host(sim::make_public_host(internet)),
        streams_a(home_a.host(), kPort),
        streams_b(home_b.host(), kPort),
        a(home_a.host(), seed * 2, /*accepts=*/false, 0, &streams_a),
        b(home_b.host(), seed * 2 + 1, /*accepts=*/false, 0, &streams_b) {
    a.cut_udp(true);
    b.cut_udp(true);
  }

  /// What a STUN server reached from the party's TCP port would say.
  Address reflexive(sim::Host& host) {
    const std::uint16_t port = ++last_port_;
    Address seen;
    CHECK(server_host->tcp().listen(port, sim::Family::kV4,
                                    [&](sim::TcpConnection& c, TimePoint) { seen = c.remote(); }));
    const auto connection =
        host.tcp().connect({*server_host->address(sim::Family::kV4), port}, {.local_port = kPort});
    CHECK(connection.has_value());
    world.run_until([&] { return seen.port != 0; }, world.now() + 10s);
    server_host->tcp().stop_listening(port, sim::Family::kV4);
    return seen;
  }

  /// Two mappings tell how the NAT chooses ports; what else uses it meanwhile is not known.
  path::SideProfile profile_of(sim::NatKind kind, const Address& reflexive) {
    path::SideProfile profile;
    nat::NatProfile& tcp = profile.tcp;
    tcp.external = reflexive.ip;
    tcp.last_port = reflexive.port;
    tcp.mapping = nat::Dependence::kEndpointIndependent;
    tcp.filtering = nat::Dependence::kAddressAndPortDependent;
    if (kind == sim::NatKind::kSymmetricSequential) {
      tcp.mapping = nat::Dependence::kAddressAndPortDependent;
      tcp.allocation = nat::PortAllocation::kSequential;
      tcp.step = 1;
    }
    profile.udp.is_blocked = true;
    profile.udp.external = reflexive.ip;
    return profile;
  }

  void meet(Duration error) {
    const Address seen_a = reflexive(home_a.host());
    const Address seen_b = reflexive(home_b.host());
    const path::SideProfile profile_a = profile_of(kind_a, seen_a);
    const path::SideProfile profile_b = profile_of(kind_b, seen_b);
    session::meet(a, b, world.now(), 50ms);
    met_at = world.now();
    const TimePoint go_at = met_at + 200ms;
    a.session->paths()->set_profiles(profile_a, profile_b, 0, go_at, met_at);
    b.session->paths()->set_profiles(profile_b, profile_a, 0, go_at + error, met_at);
    name(a, home_b.host(), seen_b);
    name(b, home_a.host(), seen_a);
  }
  void name(TestParty& party, sim::Host& other, const Address& reflexive) {
    path::PathFinder& finder = *party.session->paths();
    const Address host{*other.address(sim::Family::kV4), kPort};
    using path::CandidateType;
    finder.add_remote({CandidateType::kHost, host, SocketId(), path::Transport::kTcp}, met_at);
    finder.add_remote(
        {CandidateType::kServerReflexive, reflexive, SocketId(), path::Transport::kTcp}, met_at);
    party.endpoint().touch(*party.session);
    party.poke();
  }
  bool run_until(const std::function<bool()>& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }

  const sim::NatKind kind_a, kind_b;
  sim::World world;
  sim::Internet internet;
  sim::Home home_a, home_b;
  std::unique_ptr<sim::Host> server_host;
  SimStreams streams_a, streams_b;
  TestParty a, b;
  TimePoint met_at;

 private:
  std::uint16_t last_port_ = 3000;
};

constexpr std::array kTcpEimKinds = {sim::NatKind::kNone, sim::NatKind::kFullCone,
                                     sim::NatKind::kPortRestricted, sim::NatKind::kDoubleNat,
                                     sim::NatKind::kUdpBlocked};

TEST(StreamsSim, EveryPairOfEndpointIndependentNatsMeetsOverTcp) {
  std::uint64_t seed = 500;
  Duration slowest{};
  for (const sim::NatKind kind_a : kTcpEimKinds) {
    for (const sim::NatKind kind_b : kTcpEimKinds) {
      const Duration error = (static_cast<int>(++seed % 5) - 2) * 10ms;
      SCOPED_TRACE(testing::Message()
                   << sim::nat_kind_text(kind_a) << " x " << sim::nat_kind_text(kind_b) << " seed "
                   << seed << " error " << error.count());
      TwoTcpHomes net(seed, kind_a, kind_b, {.delay = 10ms});
      net.meet(error);
      ASSERT_TRUE(net.run_until([&] { return net.a.is_up && net.b.is_up; }, 6s));
      slowest = std::max(slowest, net.world.now() - net.met_at);

      net.a.send(200'000);

      ASSERT_TRUE(net.run_until([&] { return net.b.has_end; }, 30s));
      EXPECT_EQ(net.b.received, net.a.sent());
      net.world.run_for(30s);
      EXPECT_EQ(net.streams_a.open(), 1U);
      EXPECT_EQ(net.streams_b.open(), 1U);
    }
  }
  RecordProperty("slowest_ms", static_cast<int>(slowest / 1ms));
}

TEST(StreamsSim, SlowLossyLinesMeetOverTcp) {
  for (std::uint64_t seed = 600; seed < 620; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Duration delay = 5ms + (seed - 600) * 7ms;  // Round trips from 20 to 560 ms.
    TwoTcpHomes net(seed, sim::NatKind::kPortRestricted, sim::NatKind::kPortRestricted,
                    {.delay = delay, .loss = 0.02});
    net.meet(-20ms);

    ASSERT_TRUE(net.run_until([&] { return net.a.is_up && net.b.is_up; }, 10s));
    net.a.send(100'000);
    ASSERT_TRUE(net.run_until([&] { return net.b.has_end; }, 60s));
    EXPECT_EQ(net.b.received, net.a.sent());
  }
}

TEST(StreamsSim, PortsOfANatThatCountsThemAreForeseen) {
  using sim::NatKind;
  std::uint64_t seed = 700;
  for (const auto& [kind_a, kind_b] :
       {std::pair{NatKind::kSymmetricSequential, NatKind::kPortRestricted},
        std::pair{NatKind::kPortRestricted, NatKind::kSymmetricSequential},
        std::pair{NatKind::kSymmetricSequential, NatKind::kSymmetricSequential}}) {
    int up = 0;
    for (int run = 0; run < 20; ++run) {
      TwoTcpHomes net(++seed, kind_a, kind_b, {.delay = 10ms});
      net.meet((run % 5 - 2) * 5ms);
      up += net.run_until([&] { return net.a.is_up && net.b.is_up; }, 8s);
      EXPECT_LE(net.streams_a.connects, path::StreamOpener::kConnectsBurst + 10U);
    }
    EXPECT_GE(up, 19) << sim::nat_kind_text(kind_a) << " x " << sim::nat_kind_text(kind_b);
  }
}

}  // namespace
}  // namespace openp2p::session
