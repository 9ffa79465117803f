// Pairs of NATs that need more than checks between candidates: searches, openers, and their cost.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "path/path_finder.h"
#include "sim/driver.h"
#include "sim/internet.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kStunPort = 3478;
/// How long ago the NAT was measured when the attempt begins.
constexpr Duration kProfileAge = 500ms;

struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
  std::uint8_t hop_limit = 0;
};

/// A finder, and questions to a STUN server.
class Node {
 public:
  Node(sim::World& world, IceRole role, const Address& stun_server, SocketSource& sockets)
      : finder(config(role, sockets, &probes, &history), world.random().fork(), Log(), world.now()),
        stun_server_(stun_server) {}

  void ask(SocketId socket) { question_from_ = socket; }
  void on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint now) {
    const auto message = nat::decode_stun(bytes);
    if (!message) return;
    if (from != stun_server_) return finder.on_stun({socket, from}, *message, bytes, now);
    if (message->xor_mapped_address) reflexive = *message->xor_mapped_address;
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
    ++datagrams_sent;
    return Transmit{to.path.socket, to.path.remote, size, size, to.hop_limit};
  }

  ProbeBudget probes;
  MethodHistory history;
  PathFinder finder;
  std::optional<Address> reflexive;
  std::uint64_t datagrams_sent = 0;

 private:
  static PathFinderConfig config(IceRole role, SocketSource& sockets, ProbeBudget* probes,
                                 MethodHistory* history) {
    PathFinderConfig config;
    config.role = role;
    const bool is_controlling = role == IceRole::kControlling;
    config.local_tag = FinderTag(is_controlling ? 1 : 2);
    config.remote_tag = FinderTag(is_controlling ? 2 : 1);
    config.check_key.fill(std::byte{9});
    config.sockets = &sockets;
    config.probes = probes;
    config.history = history;
    return config;
  }

  Address stun_server_;
  std::optional<SocketId> question_from_;
};

/// A node on a host; its driver is also where it gets its sockets.
class Party final : public SocketSource {
 public:
  Party(sim::World& world, sim::Host& host, IceRole role, const Address& stun_server)
      : node_(std::make_unique<Node>(world, role, stun_server, *this)),
        driver_(std::make_unique<sim::Driver<Node>>(host, *node_)),
        main_(driver_->open()) {}
  ~Party() override {
    is_ending_ = true;
    driver_.reset();
  }

  std::optional<Opened> open_udp(bool) override {
    if (driver_->open_sockets() >= sockets_max) return std::nullopt;
    const SocketId id = driver_->open();
    sockets_peak = std::max(sockets_peak, driver_->open_sockets());
    return Opened{id, driver_->socket(id).local()};
  }
  std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
    return std::nullopt;
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override {
    if (!is_ending_) driver_->close(socket);
  }

  Node& node() { return *node_; }
  PathFinder& finder() { return node_->finder; }
  std::size_t open_sockets() const { return driver_->open_sockets(); }
  Address local() { return driver_->socket(main_).local(); }
  void ask() {
    node_->ask(main_);
    driver_->poke();
  }
  void poke() { driver_->poke(); }
  std::vector<Candidate> candidates() {
    std::vector<Candidate> all{{CandidateType::kHost, local(), main_}};
    if (node_->reflexive && *node_->reflexive != local()) {
      all.push_back({CandidateType::kServerReflexive, *node_->reflexive, main_});
    }
    return all;
  }

  std::size_t sockets_max = 2'000;
  std::size_t sockets_peak = 0;

 private:
  std::unique_ptr<Node> node_;
  std::unique_ptr<sim::Driver<Node>> driver_;
  SocketId main_;
  bool is_ending_ = false;
};

struct Scene {
  NatKind kinds[2] = {NatKind::kPortRestricted, NatKind::kPortRestricted};
  sim::LinkOptions line = {.delay = 50ms, .loss = 0.01};
  Duration disturbance{};  ///< Every so often another host of each home opens a new mapping.
  Duration skew{};         ///< The second side begins later.
  unsigned round = 0;
  MethodSet methods = MethodSet::all();
};

/// What a perfect survey would say.
nat::NatProfile profile_of(NatKind kind, const Address& reflexive) {
  using nat::Dependence;
  nat::NatProfile profile;
  profile.mapping = Dependence::kEndpointIndependent;
  profile.filtering = Dependence::kAddressAndPortDependent;
  profile.external = reflexive.ip;
  profile.last_port = reflexive.port;
  const auto symmetric = [&](nat::PortAllocation allocation) {
    profile.mapping = Dependence::kAddressAndPortDependent;
    profile.allocation = allocation;
  };
  switch (kind) {
    case NatKind::kNone:
      profile.is_translated = false;
      [[fallthrough]];
    case NatKind::kFullCone:
      profile.filtering = Dependence::kEndpointIndependent;
      break;
    case NatKind::kAddressRestricted:
      profile.filtering = Dependence::kAddressDependent;
      break;
    case NatKind::kPortRestricted:
    case NatKind::kDoubleNat:
      break;
    case NatKind::kSymmetricRandom:
    case NatKind::kIpv6Firewall:
      symmetric(nat::PortAllocation::kNoPattern);
      break;
    case NatKind::kSymmetricSequential:
      symmetric(nat::PortAllocation::kSequential);
      profile.step = 1;
      break;
    case NatKind::kSymmetricBlocks: {
      symmetric(nat::PortAllocation::kBlocks);
      const int first = 1024 + (reflexive.port - 1024) / 1024 * 1024;
      profile.block = {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(first + 1023)};
      break;
    }
    case NatKind::kSymmetricPreserving:
      profile.is_spoilt_by_unsolicited = true;
      profile.allocation = nat::PortAllocation::kPreserved;
      break;
    case NatKind::kUdpBlocked:
      profile = {};
      profile.is_blocked = true;
      break;
  }
  return profile;
}

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Scene& wanted)
      : world(seed), internet(world), scene(wanted), server_(sim::make_public_host(internet)) {
    serve();
    for (int i = 0; i < 2; ++i) {
      homes[i] = std::make_unique<sim::Home>(internet, scene.kinds[i],
                                             sim::HomeOptions{.link = scene.line});
      const IceRole role = i == 0 ? IceRole::kControlling : IceRole::kControlled;
      parties[i] = std::make_unique<Party>(world, homes[i]->host(), role, stun_server());
      if (scene.disturbance > Duration::zero()) disturb(i);
    }
  }

  /// Both know their NATs and each other's, and begin at one moment.
  void meet() {
    for (int i = 0; i < 2; ++i) gather(i);
    for (int i = 0; i < 2; ++i) profiles[i] = side(i);
    world.run_for(kProfileAge);
    begin();
  }
  void begin() {
    met_at = world.now();
    for (int i = 0; i < 2; ++i) {
      tell(i);
      if (i == 0) world.run_for(scene.skew);
    }
  }
  void tell(int to) {
    PathFinder& finder = parties[to]->finder();
    finder.set_profiles(profiles[to], profiles[1 - to], scene.round, met_at + 100ms, world.now());
    for (const Candidate& c : parties[to]->candidates()) finder.add_local(c, world.now());
    for (Candidate candidate : parties[1 - to]->candidates()) {
      candidate.socket = SocketId{};
      finder.add_remote(candidate, world.now());
    }
    parties[to]->poke();
  }

  PathFinder& finder(int party) { return parties[party]->finder(); }
  bool is_joined() { return finder(0).selected() && finder(1).selected(); }
  bool run_until_joined(Duration at_most) {
    return world.run_until([this] { return is_joined(); }, met_at + at_most);
  }
  Duration taken() const { return world.now() - met_at; }
  std::uint64_t packets() {
    return parties[0]->node().datagrams_sent + parties[1]->node().datagrams_sent;
  }
  std::size_t conntrack() {
    std::size_t most = 0;
    for (const auto& home : homes) {
      if (home->router() != nullptr && home->router()->table(sim::Family::kV4) != nullptr) {
        most = std::max(most, home->router()->nat().flows_peak());
      }
    }
    return most;
  }

  sim::World world;
  sim::Internet internet;
  Scene scene;
  std::unique_ptr<sim::Home> homes[2];
  std::unique_ptr<Party> parties[2];
  SideProfile profiles[2];
  TimePoint met_at;

 private:
  Address stun_server() { return {*server_->address(sim::Family::kV4), kStunPort}; }
  void serve() {
    sim::UdpSocket& socket = server_->open_udp(kStunPort);
    socket.on_receive([&socket](const Address& from, ByteView bytes, TimePoint) {
      const auto question = nat::decode_stun(bytes);
      if (!question) return;
      nat::StunMessage answer;
      answer.message_class = nat::StunClass::kSuccess;
      answer.transaction = question->transaction;
      answer.xor_mapped_address = from;
      std::array<std::byte, 256> out;
      socket.send(from, std::span(out).first(nat::encode_stun(answer, {}, out)));
    });
  }
  void gather(int party) {
    for (int tries = 0; tries < 4 && !parties[party]->node().reflexive; ++tries) {
      parties[party]->ask();
      world.run_until([&] { return parties[party]->node().reflexive.has_value(); },
                      world.now() + 500ms);
    }
  }
  SideProfile side(int party) {
    SideProfile side;
    side.udp = profile_of(scene.kinds[party], parties[party]->node().reflexive.value_or(Address{}));
    side.tcp.is_blocked = true;  // TCP is tested elsewhere.
    side.methods = scene.methods;
    return side;
  }
  void disturb(int party) {
    sim::Host& host = homes[party]->add_host();
    world.after(scene.disturbance, [this, party, &host] { make_mapping(party, host); });
  }
  void make_mapping(int party, sim::Host& host) {
    const std::array<std::byte, 1> byte{};
    host.open_udp().send({*server_->address(sim::Family::kV4), 9}, byte);
    const auto jitter =
        Duration(world.random().below(static_cast<std::uint64_t>(scene.disturbance.count())));
    world.after(scene.disturbance / 2 + jitter,
                [this, party, &host] { make_mapping(party, host); });
  }

  std::unique_ptr<sim::Host> server_;
};

/// The figures of one pair of NATs over many seeds.
struct Figures {
  int runs = 0;
  int joined = 0;
  std::vector<Duration> times;
  std::vector<std::uint64_t> packets;
  std::size_t conntrack_max = 0;
  std::vector<std::uint64_t> missed;  ///< Seeds.

  template <class T>
  static T quantile(std::vector<T> values, double part) {
    if (values.empty()) return T{};
    std::ranges::sort(values);
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
  }
  double rate() const { return static_cast<double>(joined) / runs; }
  Duration median() const { return quantile(times, 0.5); }
  Duration p95() const { return quantile(times, 0.95); }
  std::uint64_t packets_median() const { return quantile(packets, 0.5); }
  std::uint64_t packets_max() const { return quantile(packets, 1); }
};

Figures measure(const Scene& scene, int runs, Duration at_most) {
  Figures figures;
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(runs); ++seed) {
    Simulation simulation(seed, scene);
    simulation.meet();
    const bool is_joined = simulation.run_until_joined(at_most);
    ++figures.runs;
    figures.joined += is_joined ? 1 : 0;
    if (is_joined) figures.times.push_back(simulation.taken());
    if (!is_joined) figures.missed.push_back(seed);
    figures.packets.push_back(simulation.packets());
    figures.conntrack_max = std::max(figures.conntrack_max, simulation.conntrack());
  }
  return figures;
}

std::ostream& operator<<(std::ostream& out, const Figures& f) {
  out << f.joined << "/" << f.runs << " median " << f.median() / 1ms << " ms, p95 " << f.p95() / 1ms
      << " ms, max " << Figures::quantile(f.times, 1) / 1ms << " ms; packets " << f.packets_median()
      << " (max " << f.packets_max() << "), entries " << f.conntrack_max;
  for (const std::uint64_t seed : f.missed) out << " missed " << seed;
  return out;
}

constexpr std::array kLetOnlyKnownIn{NatKind::kPortRestricted, NatKind::kDoubleNat,
                                     NatKind::kSymmetricPreserving};

TEST(PathReachSim, RandomSymmetricNatsAreMet) {
  for (const auto& [a, b] : {std::pair{NatKind::kSymmetricRandom, NatKind::kPortRestricted},
                             std::pair{NatKind::kPortRestricted, NatKind::kSymmetricRandom}}) {
    const Figures figures = measure({.kinds = {a, b}}, 2'000, 12s);

    SCOPED_TRACE(testing::Message() << figures);
    EXPECT_GE(figures.rate(), 0.999);
    EXPECT_LE(figures.median(), 2s);
    EXPECT_LE(figures.p95(), 5s);
    EXPECT_LE(figures.packets_max(), 2'500u);
    EXPECT_LE(figures.conntrack_max, 1'100u);
  }
}

TEST(PathReachSim, RandomSymmetricNatsMeetTouchyAndDoubleOnes) {
  for (const NatKind kind : {NatKind::kDoubleNat, NatKind::kSymmetricPreserving}) {
    const Figures figures = measure({.kinds = {kind, NatKind::kSymmetricRandom}}, 300, 12s);

    SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
    EXPECT_GE(figures.rate(), 0.99);
    EXPECT_LE(figures.conntrack_max, 1'100u);
  }
}

TEST(PathReachSim, BlocksShrinkTheSearch) {
  for (const NatKind kind : kLetOnlyKnownIn) {
    const Figures figures = measure({.kinds = {NatKind::kSymmetricBlocks, kind}}, 300, 12s);

    SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
    EXPECT_EQ(figures.joined, figures.runs);
    EXPECT_LE(figures.median(), 500ms);
    EXPECT_LE(figures.packets_median(), 300u);
    EXPECT_LE(figures.conntrack_max, 300u);
  }
}

TEST(PathReachSim, SequencesArePredicted) {
  for (const NatKind kind : kLetOnlyKnownIn) {
    for (const Duration disturbance : {Duration(0), Duration(100ms)}) {
      const Figures figures = measure(
          {.kinds = {kind, NatKind::kSymmetricSequential}, .disturbance = disturbance}, 200, 12s);

      SCOPED_TRACE(testing::Message() << sim::nat_kind_text(kind) << ": " << figures);
      EXPECT_EQ(figures.joined, figures.runs);
      EXPECT_LE(figures.p95(), 1s);
      EXPECT_LE(figures.packets_median(), 200u);
      EXPECT_LE(figures.conntrack_max, 200u);
    }
  }
}

TEST(PathReachSim, PredictableNatsOnBothSidesMeet) {
  for (const NatKind a : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
    for (const NatKind b : {NatKind::kSymmetricSequential, NatKind::kSymmetricPreserving}) {
      for (const Duration disturbance : {Duration(0), Duration(50ms)}) {
        const Figures figures = measure({.kinds = {a, b}, .disturbance = disturbance}, 200, 3s);

        SCOPED_TRACE(testing::Message()
                     << sim::nat_kind_text(a) << " x " << sim::nat_kind_text(b) << ": " << figures);
        EXPECT_GE(figures.rate(), 0.95);
        EXPECT_LE(figures.conntrack_max, 600u);
      }
    }
  }
}

TEST(PathReachSim, EasyPairsStayEasyAndCheap) {
  for (const NatKind a : sim::kEimNatKinds) {
    for (const NatKind b : sim::kEimNatKinds) {
      const Figures figures = measure({.kinds = {a, b}, .line = {.delay = 50ms}}, 20, 12s);

      SCOPED_TRACE(testing::Message()
                   << sim::nat_kind_text(a) << " x " << sim::nat_kind_text(b) << ": " << figures);
      EXPECT_EQ(figures.joined, figures.runs);
      EXPECT_LE(Figures::quantile(figures.times, 1), 3 * 202ms);
      EXPECT_LE(figures.conntrack_max, 20u);
    }
  }
}

TEST(PathReachSim, SaysWithinFiveSecondsWhyNothingCanWork) {
  const auto reason_of = [](NatKind a, NatKind b, int party) {
    Simulation simulation(1, {.kinds = {a, b}});
    simulation.meet();
    simulation.world.run_for(5s);
    EXPECT_TRUE(simulation.finder(party).is_failed());
    EXPECT_LE(simulation.conntrack(), 20u);
    return simulation.finder(party).reason();
  };
  using enum NatKind;
  EXPECT_EQ(reason_of(kSymmetricRandom, kSymmetricRandom, 0), ReasonCode::kBothRandom);
  EXPECT_EQ(reason_of(kSymmetricRandom, kSymmetricSequential, 1), ReasonCode::kBothRandom);
  EXPECT_EQ(reason_of(kUdpBlocked, kPortRestricted, 0), ReasonCode::kUdpBlockedHere);
  EXPECT_EQ(reason_of(kUdpBlocked, kPortRestricted, 1), ReasonCode::kUdpBlockedThere);
  EXPECT_EQ(reason_of(kUdpBlocked, kUdpBlocked, 0), ReasonCode::kUdpBlockedBoth);
}

TEST(PathReachSim, SocketsOfASearchAreClosedButForTheOneInUse) {
  Simulation simulation(3, {.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted}});
  simulation.meet();
  ASSERT_TRUE(simulation.run_until_joined(12s));
  EXPECT_GT(simulation.parties[0]->sockets_peak, 100u);
  EXPECT_EQ(simulation.finder(0).method(), Method::kBirthday);
  EXPECT_EQ(simulation.finder(1).method(), Method::kBirthday);

  simulation.world.run_for(10s);

  EXPECT_EQ(simulation.parties[0]->open_sockets(), 2u);
  EXPECT_EQ(simulation.parties[1]->open_sockets(), 1u);
  simulation.world.run_for(10min);
  EXPECT_TRUE(simulation.is_joined());
  EXPECT_EQ(simulation.finder(0).counters().switches, 0u);
}

TEST(PathReachSim, AMissedSearchEndsWithItsReasonAndCloses) {
  Simulation simulation(3, {.kinds = {NatKind::kSymmetricRandom, NatKind::kPortRestricted}});
  simulation.meet();
  for (auto& home : simulation.homes) home->router()->uplink().set_up(false);

  simulation.world.run_for(15s);

  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(simulation.finder(i).is_failed());
    EXPECT_EQ(simulation.finder(i).reason(), ReasonCode::kSprayMissed);
    EXPECT_EQ(simulation.parties[i]->open_sockets(), 1u);
  }
}

}  // namespace
}  // namespace openp2p::path
