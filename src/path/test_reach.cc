#include "path/test_reach.h"

#include <span>
#include <utility>

#include "path/test_reflexive_service.h"

namespace openp2p::path::reach {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kStunPort = 3478;
/// Between being told of each other and beginning: what signalling leaves both.
constexpr Duration kGoDelay = 100ms;

PathFinderConfig config_of(IceRole role, SocketSource& sockets, Node& node) {
  PathFinderConfig config;
  config.role = role;
  const bool is_controlling = role == IceRole::kControlling;
  config.local_tag = FinderTag(is_controlling ? 1 : 2);
  config.remote_tag = FinderTag(is_controlling ? 2 : 1);
  config.check_key.fill(std::byte{9});
  config.sockets = &sockets;
  config.probes = &node.probes;
  config.history = &node.history;
  return config;
}

}  // namespace

Node::Node(sim::World& world, IceRole role, const Address& stun_server, SocketSource& sockets)
    : finder(config_of(role, sockets, *this), world.random().fork(), Log(), world.now()),
      stun_server_(stun_server) {}

void Node::on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint now) {
  const auto message = nat::decode_stun(bytes);
  if (!message) return;
  if (from != stun_server_) return finder.on_stun({socket, from}, *message, bytes, now);
  if (message->xor_mapped_address) reflexive = *message->xor_mapped_address;
}

std::optional<Transmit> Node::poll_transmit(MutableByteView out, TimePoint now) {
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

Party::Party(sim::World& world, sim::Host& host, IceRole role, const Address& stun_server)
    : node_(std::make_unique<Node>(world, role, stun_server, *this)),
      driver_(std::make_unique<sim::Driver<Node>>(host, *node_)),
      main_(driver_->open()) {}

Party::~Party() {
  is_ending_ = true;  // The driver goes before the finder, and closes all sockets itself.
  driver_.reset();
}

std::optional<SocketSource::Opened> Party::open_udp(bool) {
  if (driver_->open_sockets() >= sockets_max) return std::nullopt;
  const SocketId id = driver_->open();
  sockets_peak = std::max(sockets_peak, driver_->open_sockets());
  return Opened{id, driver_->socket(id).local()};
}

void Party::close(SocketId socket) {
  if (!is_ending_) driver_->close(socket);
}

std::vector<Candidate> Party::candidates() {
  std::vector<Candidate> all{{CandidateType::kHost, local(), main_}};
  if (node_->reflexive && *node_->reflexive != local()) {
    all.push_back({CandidateType::kServerReflexive, *node_->reflexive, main_});
  }
  return all;
}

void Party::ask() {
  node_->ask(main_);
  driver_->poke();
}

nat::NatProfile profile_of(NatKind kind, const Address& reflexive) {
  using nat::Dependence;
  nat::NatProfile profile;
  profile.mapping = Dependence::kEndpointIndependent;
  profile.filtering = Dependence::kAddressAndPortDependent;
  profile.external = reflexive.ip;
  profile.last_port = reflexive.port;
  const auto make_symmetric = [&](nat::PortAllocation allocation) {
    profile.mapping = Dependence::kAddressAndPortDependent;
    profile.allocation = allocation;
  };
  switch (kind) {
    case NatKind::kNone:
      profile.is_translated = false;
      profile.filtering = Dependence::kEndpointIndependent;
      break;
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
      make_symmetric(nat::PortAllocation::kNoPattern);
      break;
    case NatKind::kSymmetricSequential:
      make_symmetric(nat::PortAllocation::kSequential);
      profile.step = 1;
      break;
    case NatKind::kSymmetricBlocks: {
      make_symmetric(nat::PortAllocation::kBlocks);
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

Simulation::Simulation(std::uint64_t seed, const Scene& wanted)
    : world(seed), internet(world), scene(wanted), server_(sim::make_public_host(internet)) {
  serve();
  for (int i = 0; i < 2; ++i) {
    homes[i] = std::make_unique<sim::Home>(
        internet, scene.kinds[i], sim::HomeOptions{.link = scene.line, .has_v6 = scene.has_v6});
    const IceRole role = i == 0 ? IceRole::kControlling : IceRole::kControlled;
    parties[i] = std::make_unique<Party>(world, homes[i]->host(), role, stun_server());
    if (scene.disturbance > Duration::zero()) disturb(i, homes[i]->add_host());
  }
}

void Simulation::meet() {
  measure();
  world.run_for(scene.profile_age);
  begin();
}

void Simulation::measure() {
  for (int i = 0; i < 2; ++i) gather(i);
  for (int i = 0; i < 2; ++i) {
    const Address reflexive = parties[i]->node().reflexive.value_or(Address{});
    profiles[i].udp = profile_of(scene.kinds[i], reflexive);
    profiles[i].tcp.is_blocked = true;  // TCP is another test's.
    profiles[i].methods = scene.methods;
  }
}

void Simulation::begin() {
  met_at = world.now();
  for (int i = 0; i < 2; ++i) {
    profiles[i].entries_left =
        parties[i]->node().probes.left(world.now()) + finder(i).search_entries_held(world.now());
  }
  tell(0);
  world.run_for(scene.skew);
  tell(1);
}

void Simulation::tell(int to) {
  PathFinder& finder = parties[to]->finder();
  const TimePoint go_at = world.now() + kGoDelay;
  SideProfile told = profiles[1 - to];
  if (!scene.tells_entries) told.entries_left.reset();
  finder.set_profiles(profiles[to], told, scene.round, go_at, world.now());
  for (const Candidate& own : parties[to]->candidates()) finder.add_local(own, world.now());
  for (Candidate candidate : parties[1 - to]->candidates()) {
    candidate.socket = SocketId{};
    finder.add_remote(candidate, world.now());
  }
  parties[to]->poke();
}

bool Simulation::run_until_joined(Duration at_most) {
  return world.run_until([this] { return is_joined(); }, met_at + at_most);
}

std::uint64_t Simulation::packets() {
  return parties[0]->node().datagrams_sent + parties[1]->node().datagrams_sent;
}

std::size_t Simulation::conntrack() {
  std::size_t most = 0;
  for (const auto& home : homes) {
    if (home->router() == nullptr || home->router()->table(sim::Family::kV4) == nullptr) continue;
    most = std::max(most, home->router()->nat().flows_peak());
  }
  return most;
}

Address Simulation::stun_server() { return {*server_->address(sim::Family::kV4), kStunPort}; }

void Simulation::serve() { serve_reflexive(server_->open_udp(kStunPort)); }

void Simulation::gather(int party) {
  const auto is_answered = [&] { return parties[party]->node().reflexive.has_value(); };
  for (int tries = 0; tries < 4 && !is_answered(); ++tries) {
    parties[party]->ask();
    world.run_until(is_answered, world.now() + 500ms);
  }
}

void Simulation::disturb(int party, sim::Host& host) {
  const auto jitter = world.random().below(static_cast<std::uint64_t>(scene.disturbance.count()));
  world.after(scene.disturbance / 2 + Duration(jitter), [this, party, &host] {
    const std::array<std::byte, 1> byte{};
    host.open_udp().send({*server_->address(sim::Family::kV4), 9}, byte);
    disturb(party, host);
  });
}

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
      << " ms, max " << f.slowest() / 1ms << " ms; packets " << f.packets_median() << " (max "
      << f.packets_max() << "), entries " << f.conntrack_max;
  for (const std::uint64_t seed : f.missed) out << " missed " << seed;
  return out;
}

}  // namespace openp2p::path::reach
