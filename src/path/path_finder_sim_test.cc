// Two finders in the simulated internet: homes behind each kind of NAT, bad lines, moves, reboots.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "path/path_finder.h"
#include "path/test_reflexive_service.h"
#include "sim/driver.h"
#include "sim/internet.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kStunPort = 3478;

struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
};

/// A finder, and the question to a STUN server that gives it server-reflexive candidates.
class Node {
 public:
  Node(sim::World& world, IceRole role, const Address& stun_server)
      : finder(config(role), world.random().fork(), Log(), world.now()),
        stun_server_(stun_server) {}

  void ask(SocketId socket) { question_from_ = socket; }
  void add(const Candidate& candidate, TimePoint now) {
    candidates.push_back(candidate);
    finder.add_local(candidate, now);
  }

  // sim::Machine
  void on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint now) {
    const auto message = nat::decode_stun(bytes);
    if (!message) return;
    if (from != stun_server_) return finder.on_stun({socket, from}, *message, bytes, now);
    is_answered = true;
    if (!message->xor_mapped_address) return;
    add({CandidateType::kServerReflexive, *message->xor_mapped_address, socket}, now);
  }
  void on_timeout(TimePoint now) { finder.on_timeout(now); }
  std::optional<TimePoint> next_timeout() const { return finder.next_timeout(); }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint now) {
    if (const auto socket = std::exchange(question_from_, std::nullopt)) {
      nat::StunMessage question;
      question.has_fingerprint = true;
      const std::size_t size = nat::encode_stun(question, {}, out);
      return Transmit{*socket, stun_server_, size, size};
    }
    CheckTarget to;
    const std::size_t size = finder.poll_datagram(to, out, now);
    if (size == 0) return std::nullopt;
    return Transmit{to.path.socket, to.path.remote, size, size};
  }

  PathFinder finder;
  std::vector<Candidate> candidates;
  bool is_answered = false;  ///< By the STUN server.

 private:
  static PathFinderConfig config(IceRole role) {
    PathFinderConfig config;
    config.role = role;
    const bool is_controlling = role == IceRole::kControlling;
    config.local_tag = FinderTag(is_controlling ? 1 : 2);
    config.remote_tag = FinderTag(is_controlling ? 2 : 1);
    config.check_key.fill(std::byte{9});
    return config;
  }

  Address stun_server_;
  std::optional<SocketId> question_from_;
};

/// A node on a host, with a socket for each address family.
class Party {
 public:
  Party(sim::World& world, sim::Host& host, IceRole role, const Address& stun_server)
      : node(world, role, stun_server),
        driver_(host, node),
        sockets_{driver_.open(0, sim::Family::kV4), driver_.open(0, sim::Family::kV6)} {}

  /// Forgets what was gathered and asks the server anew.
  void gather(TimePoint now) {
    node.candidates.clear();
    node.is_answered = false;
    for (const SocketId socket : sockets_) {
      const Address local = driver_.socket(socket).local();
      if (!local.ip.is_unspecified()) node.add({CandidateType::kHost, local, socket}, now);
    }
    node.ask(sockets_.front());
    driver_.poke();
  }
  void hear_of(const Party& peer, TimePoint now) {
    for (Candidate candidate : peer.node.candidates) {
      candidate.socket = SocketId{};
      node.finder.add_remote(candidate, now);
    }
    driver_.poke();
  }
  void change_network(TimePoint now) {
    node.finder.on_network_changed(now);
    gather(now);
  }

  Node node;

 private:
  sim::Driver<Node> driver_;
  std::array<SocketId, 2> sockets_;
};

struct Scene {
  NatKind kinds[2] = {NatKind::kPortRestricted, NatKind::kPortRestricted};
  sim::LinkOptions line = {.delay = 10ms};
  bool has_v6 = false;
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Scene& scene) : world(seed), internet(world) {
    server_ = sim::make_public_host(internet);
    serve_reflexive(server_->open_udp(kStunPort));
    for (int i = 0; i < 2; ++i) {
      const sim::HomeOptions options{.link = scene.line, .has_v6 = scene.has_v6};
      homes[i] = std::make_unique<sim::Home>(internet, scene.kinds[i], options);
      const IceRole role = i == 0 ? IceRole::kControlling : IceRole::kControlled;
      parties[i] = std::make_unique<Party>(world, homes[i]->host(), role, stun_server());
    }
  }

  Address stun_server() { return {*server_->address(sim::Family::kV4), kStunPort}; }

  /// Until the server answered, or three questions went unanswered.
  void gather(int party) {
    for (int tries = 0; tries < 3 && !parties[party]->node.is_answered; ++tries) {
      parties[party]->gather(world.now());
      world.run_until([&] { return parties[party]->node.is_answered; }, world.now() + 500ms);
    }
  }
  void signal(int to) { parties[to]->hear_of(*parties[1 - to], world.now()); }
  void meet() {
    gather(0);
    gather(1);
    signal(0);
    signal(1);
    met_at = world.now();
  }
  PathFinder& finder(int party) { return parties[party]->node.finder; }
  bool is_joined() { return finder(0).selected() && finder(1).selected(); }
  bool run_until_joined(Duration at_most) {
    return world.run_until([this] { return is_joined(); }, world.now() + at_most);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Home> homes[2];
  std::unique_ptr<Party> parties[2];
  TimePoint met_at;

 private:
  std::unique_ptr<sim::Host> server_;
};

TEST(PathFinderSim, EasyPairsTakeThreeRoundTripsAtMost) {
  for (const NatKind a : sim::kEimNatKinds) {
    for (const NatKind b : sim::kEimNatKinds) {
      SCOPED_TRACE(testing::Message() << sim::nat_kind_text(a) << " x " << sim::nat_kind_text(b));
      Simulation simulation(1, {.kinds = {a, b}});

      simulation.meet();

      ASSERT_TRUE(simulation.run_until_joined(10s));
      const Duration taken = simulation.world.now() - simulation.met_at;
      simulation.world.run_for(1s);
      ASSERT_TRUE(simulation.is_joined());
      EXPECT_LE(taken, 3 * *simulation.finder(0).selected_rtt());
    }
  }
}

TEST(PathFinderSim, AllEndpointIndependentPairsJoinOverBadLines) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    Scene scene;
    scene.kinds[0] = sim::kEimNatKinds[random.below(sim::kEimNatKinds.size())];
    scene.kinds[1] = sim::kEimNatKinds[random.below(sim::kEimNatKinds.size())];
    scene.line = {.delay = 1ms + Duration(random.below(60'000'000)),
                  .jitter = Duration(random.below(20'000'000)),
                  .loss = random.fraction() * 0.05,  // Two lines: up to 10 % each way.
                  .duplication = random.fraction() * 0.05,
                  .reordering = random.fraction() * 0.1};
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << sim::nat_kind_text(scene.kinds[0])
                                    << " x " << sim::nat_kind_text(scene.kinds[1]));
    Simulation simulation(seed, scene);
    simulation.gather(0);
    simulation.gather(1);
    const int first = static_cast<int>(random.below(2));
    simulation.signal(first);
    simulation.world.run_for(Duration(random.below(3'000'000'000)));  // Signalling is uneven.
    simulation.signal(1 - first);

    EXPECT_TRUE(simulation.run_until_joined(3s));
    simulation.world.run_for(20s);
    EXPECT_TRUE(simulation.is_joined());
  }
}

TEST(PathFinderSim, Ipv6PassesTwoFirewalls) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation simulation(seed, {.kinds = {NatKind::kIpv6Firewall, NatKind::kIpv6Firewall},
                                 .line = {.delay = 10ms, .loss = 0.02}});
    simulation.meet();

    ASSERT_TRUE(simulation.run_until_joined(2s));
    EXPECT_TRUE(simulation.finder(0).selected()->remote.ip.is_v6());
  }
}

TEST(PathFinderSim, SaysWhyRandomSymmetricNatsDoNotMeet) {
  Simulation simulation(1, {.kinds = {NatKind::kSymmetricRandom, NatKind::kSymmetricRandom}});

  simulation.meet();
  simulation.world.run_for(10s);

  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(simulation.finder(i).is_failed());
    EXPECT_EQ(simulation.finder(i).reason(), ReasonCode::kNoAnswer);
  }
}

TEST(PathFinderSim, ASymmetricNatReachesWhoLetsItsAddressIn) {
  for (const NatKind kind : {NatKind::kNone, NatKind::kFullCone, NatKind::kAddressRestricted}) {
    for (const int symmetric : {0, 1}) {
      Scene scene;
      scene.kinds[symmetric] = NatKind::kSymmetricRandom;
      scene.kinds[1 - symmetric] = kind;
      Simulation simulation(2, scene);

      simulation.meet();

      EXPECT_TRUE(simulation.run_until_joined(1s)) << sim::nat_kind_text(kind);
    }
  }
}

TEST(PathFinderSim, NeighboursUseTheirLan) {
  Simulation simulation(3, {});
  sim::Host& neighbour = simulation.homes[0]->add_host();
  simulation.parties[1] = std::make_unique<Party>(simulation.world, neighbour, IceRole::kControlled,
                                                  simulation.stun_server());

  simulation.meet();
  simulation.world.run_for(2s);

  ASSERT_TRUE(simulation.is_joined());
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(simulation.finder(i).selected()->remote.ip.is_private());
    EXPECT_LE(*simulation.finder(i).selected_rtt(), 2ms);
  }
}

TEST(PathFinderSim, ALaptopThatMovesIsBackWithinASecond) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    for (const int mover : {0, 1}) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " mover " << mover);
      Simulation simulation(seed, {});
      sim::Home cafe(simulation.internet, NatKind::kPortRestricted);
      simulation.meet();
      ASSERT_TRUE(simulation.run_until_joined(2s));
      simulation.world.run_for(30s);

      simulation.homes[mover]->host().move_to(cafe.lan(), cafe.host_options());
      simulation.parties[mover]->change_network(simulation.world.now());
      simulation.gather(mover);
      simulation.signal(1 - mover);
      const TimePoint told_at = simulation.world.now();

      const IpAddress there = simulation.parties[mover]->node.candidates.back().address.ip;
      const auto is_back = [&] {
        const Path* path = simulation.finder(1 - mover).selected();
        return simulation.is_joined() && path->remote.ip == there;
      };
      EXPECT_TRUE(simulation.world.run_until(is_back, told_at + 1s));
      simulation.world.run_for(10s);
      EXPECT_TRUE(is_back());
    }
  }
}

TEST(PathFinderSim, EqualSeedsGiveEqualRuns) {
  std::map<std::uint64_t, int> runs;
  for (const std::uint64_t seed : {1u, 1u, 2u}) {
    Simulation simulation(seed, {.line = {.delay = 10ms, .jitter = 5ms, .loss = 0.1}});
    simulation.meet();
    simulation.world.run_for(1min);
    ++runs[simulation.world.trace_hash()];
  }
  EXPECT_EQ(runs.size(), 2u);
}

}  // namespace
}  // namespace openp2p::path
