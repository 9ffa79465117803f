// The survey and the STUN service, with every kind of NAT between them, in virtual time.
#include "nat/mapping_survey.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "base/random.h"
#include "nat/stun_service.h"
#include "sim/link.h"
#include "sim/nat_kind.h"
#include "sim/nat_table.h"
#include "sim/seeded_secrets.h"
#include "sim/world.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

Address address(std::string_view text) { return *Address::parse(text); }

const IpAddress kClient = IpAddress::v4(192, 168, 1, 10);
const IpAddress kCarrierSide = IpAddress::v4(100, 64, 0, 7);
const IpAddress kExternal = IpAddress::v4(198, 51, 100, 1);
constexpr Duration kOneWay = 20ms;

struct Scene {
  std::vector<sim::NatOptions> nats;  ///< From the client outwards.
  unsigned server_addresses = 2;
  double loss = 0;
  bool is_server_up = true;
  bool is_alternate_port_told = true;
  unsigned neighbours_per_ms = 0;  ///< New mappings of others at the outermost NAT.
  std::size_t sockets = 4;
  std::vector<IpAddress> external_pool = {kExternal};
};

Scene scene_of(sim::NatKind kind) {
  Scene scene;
  if (const auto options = sim::nat_options(kind)) scene.nats.push_back(*options);
  if (kind == sim::NatKind::kDoubleNat) scene.nats.push_back(sim::carrier_nat_options());
  scene.is_server_up = kind != sim::NatKind::kUdpBlocked;
  return scene;
}

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Scene& scene)
      : scene_(scene),
        world_(seed),
        up_(world_, {.delay = kOneWay, .jitter = 4ms, .loss = scene.loss}),
        down_(world_, {.delay = kOneWay, .jitter = 4ms, .loss = scene.loss, .duplication = 0.05}),
        service_(stun_sockets(), {}, seed),
        secrets_(seed),
        random_(seed),
        timer_(world_, [this] {
          survey_->on_timeout(world_.now());
          pump();
        }) {
    for (std::size_t i = 0; i < scene.nats.size(); ++i) {
      const bool is_outer = i + 1 == scene.nats.size();
      nats_.push_back(std::make_unique<sim::NatTable>(
          scene.nats[i], is_outer ? scene.external_pool : std::vector{kCarrierSide},
          random_.fork()));
    }
    for (int i = 0; i < 5; ++i) map_for_neighbour();  // Ports in use before.
    MappingSurveyConfig config;
    config.tag = 1;
    config.servers = {address("203.0.113.1:3478")};
    if (scene.is_alternate_port_told) config.servers.push_back(address("203.0.113.1:3479"));
    config.local_addresses = {kClient};
    for (std::size_t i = 0; i < scene.sockets; ++i) {
      config.ports.push_back(static_cast<std::uint16_t>(32'768 + random_.below(28'000)));
    }
    ports_ = config.ports;
    survey_.emplace(config, secrets_, world_.now());
  }

  const SurveyReport& run() {
    if (scene_.neighbours_per_ms > 0) disturb();
    pump();
    EXPECT_TRUE(world_.run_until([this] { return survey_->is_done(); }, world_.now() + 60s));
    return survey_->report();
  }
  Duration elapsed() const { return world_.elapsed(); }
  std::size_t mappings() { return nats_.empty() ? 0 : nats_.back()->mappings(world_.now()) - 5; }
  std::size_t flows() { return nats_.empty() ? 0 : nats_.back()->flows(world_.now()) - 5; }
  /// The external port of the newest mapping, made now for the client.
  std::uint16_t next_port() {
    const Address fresh{nats_.size() > 1 ? kCarrierSide : kClient, 61'001};
    return nats_.back()->outbound(fresh, address("203.0.113.7:9"), world_.now()).from.port;
  }
  MappingSurvey& survey() { return *survey_; }

 private:
  std::vector<StunSocket> stun_sockets() const {
    std::vector<StunSocket> all = {{SocketId{0}, address("203.0.113.1:3478"), false, false},
                                   {SocketId{1}, address("203.0.113.1:3479"), false, true},
                                   {SocketId{2}, address("203.0.113.2:3478"), true, false},
                                   {SocketId{3}, address("203.0.113.2:3479"), true, true}};
    if (scene_.server_addresses == 1) all.resize(2);
    return all;
  }

  void map_for_neighbour() {
    if (nats_.empty()) return;
    const Address neighbour{IpAddress::v4(192, 168, 1, 20), next_neighbour_++};
    nats_.back()->outbound(neighbour, address("203.0.113.99:9"), world_.now());
  }
  void disturb() {
    for (unsigned i = 0; i < scene_.neighbours_per_ms; ++i) map_for_neighbour();
    if (!survey_->is_done()) world_.after(1ms, [this] { disturb(); });
  }

  void pump() {
    Bytes out(kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    while (const std::size_t size = survey_->poll_datagram(socket, to, out, world_.now())) {
      const Address from{kClient, ports_.at(socket)};
      up_.send(ByteView(out).first(size),
               [this, from, to](ByteView bytes, TimePoint) { leave(from, to, bytes); });
    }
    timer_.arm(survey_->next_timeout());
  }

  void leave(Address from, const Address& to, ByteView bytes) {
    for (const auto& nat : nats_) {
      const sim::NatVerdict verdict = nat->outbound(from, to, world_.now());
      if (verdict.action != sim::NatAction::kForward) return;
      from = verdict.from;
    }
    if (!scene_.is_server_up) return;
    for (const StunSocket& socket : stun_sockets()) {
      if (socket.address != to) continue;
      Bytes out(StunService::kAnswerBytesMax);
      const auto answer = service_.on_datagram(socket.id, from, bytes, out, world_.now());
      if (answer) enter(to, answer->to, ByteView(out).first(answer->size));
    }
  }

  void enter(const Address& from, Address to, ByteView bytes) {
    for (auto nat = nats_.rbegin(); nat != nats_.rend(); ++nat) {
      const sim::NatVerdict verdict = (*nat)->inbound(from, to, world_.now());
      if (verdict.action != sim::NatAction::kForward) return;
      to = verdict.to;
    }
    down_.send(bytes, [this, from, to](ByteView copy, TimePoint now) {
      const auto port = std::ranges::find(ports_, to.port);
      survey_->on_datagram(static_cast<std::size_t>(port - ports_.begin()), from, copy, now);
      pump();
    });
  }

  const Scene scene_;
  sim::World world_;
  sim::Link up_;
  sim::Link down_;
  std::vector<std::unique_ptr<sim::NatTable>> nats_;
  StunService service_;
  sim::SeededSecrets secrets_;
  Random random_;
  std::vector<std::uint16_t> ports_;
  std::uint16_t next_neighbour_ = 5000;
  std::optional<MappingSurvey> survey_;
  sim::Timer timer_;
};

std::string all_evidence(const SurveyReport& report) {
  std::string text;
  for (const std::string& line : report.evidence) text += "\n  " + line;
  return text;
}

struct Expected {
  Dependence mapping;
  PortAllocation allocation;
};

Expected expected_of(sim::NatKind kind) {
  switch (kind) {
    case sim::NatKind::kNone:
    case sim::NatKind::kFullCone:
    case sim::NatKind::kAddressRestricted:
    case sim::NatKind::kPortRestricted:
      return {Dependence::kEndpointIndependent, PortAllocation::kPreserved};
    case sim::NatKind::kSymmetricPreserving:  // Seen from several remotes it is a cone.
      return {Dependence::kEndpointIndependent, PortAllocation::kPreserved};
    case sim::NatKind::kDoubleNat:
      return {Dependence::kEndpointIndependent, PortAllocation::kBlocks};
    case sim::NatKind::kSymmetricRandom:
    case sim::NatKind::kIpv6Firewall:
      return {Dependence::kAddressAndPortDependent, PortAllocation::kNoPattern};
    case sim::NatKind::kSymmetricSequential:
      return {Dependence::kAddressAndPortDependent, PortAllocation::kSequential};
    case sim::NatKind::kSymmetricBlocks:
      return {Dependence::kAddressAndPortDependent, PortAllocation::kBlocks};
    case sim::NatKind::kUdpBlocked:
      return {Dependence::kUnknown, PortAllocation::kUnknown};
  }
  return {};
}

TEST(MappingSurvey, TellsEveryKindInTwoRoundTrips) {
  for (const sim::NatKind kind : sim::kNatKinds) {
    if (kind == sim::NatKind::kUdpBlocked) continue;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      Simulation simulation(seed, scene_of(kind));

      const SurveyReport& report = simulation.run();

      SCOPED_TRACE(testing::Message()
                   << sim::nat_kind_text(kind) << " seed " << seed << all_evidence(report));
      EXPECT_EQ(report.profile.mapping, expected_of(kind).mapping);
      EXPECT_EQ(report.profile.allocation, expected_of(kind).allocation);
      EXPECT_EQ(report.profile.is_translated, kind != sim::NatKind::kNone);
      EXPECT_EQ(report.profile.external, kind == sim::NatKind::kNone ? kClient : kExternal);
      EXPECT_LE(simulation.elapsed(), 2 * (2 * kOneWay + 8ms));
      EXPECT_LE(simulation.flows(), 7u);
    }
  }
}

TEST(MappingSurvey, TellsEveryKindInSpiteOfLossAndNeighbours) {
  unsigned runs = 0, wrong_mapping = 0, wrong_allocation = 0;
  for (const sim::NatKind kind : sim::kNatKinds) {
    if (kind == sim::NatKind::kUdpBlocked) continue;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      Scene scene = scene_of(kind);
      scene.loss = 0.1;
      scene.neighbours_per_ms = kind == sim::NatKind::kSymmetricBlocks ? 0 : seed % 10 == 0;
      Simulation simulation(seed, scene);

      const SurveyReport& report = simulation.run();

      ++runs;
      wrong_mapping += report.profile.mapping != expected_of(kind).mapping;
      wrong_allocation += report.profile.allocation != expected_of(kind).allocation;
      EXPECT_FALSE(report.is_silent()) << sim::nat_kind_text(kind) << " seed " << seed;
      EXPECT_LE(simulation.elapsed(), MappingSurvey::kSilence + MappingSurvey::kPatience);
    }
  }
  RecordProperty("wrong_mapping", static_cast<int>(wrong_mapping));
  RecordProperty("wrong_allocation", static_cast<int>(wrong_allocation));
  EXPECT_LE(wrong_mapping * 50, runs) << wrong_mapping << " of " << runs;
  EXPECT_LE(wrong_allocation * 20, runs) << wrong_allocation << " of " << runs;
}

TEST(MappingSurvey, KnowsTheNextPortOfASequence) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Simulation simulation(seed, scene_of(sim::NatKind::kSymmetricSequential));

    const NatProfile& profile = simulation.run().profile;

    EXPECT_EQ(profile.step, 1) << "seed " << seed;
    const int next = profile.last_port == 65'535 ? 1024 : profile.last_port + 1;
    EXPECT_EQ(simulation.next_port(), next) << "seed " << seed;
  }
}

TEST(MappingSurvey, FindsTheBlockThatLaterMappingsComeFrom) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Simulation simulation(seed, scene_of(sim::NatKind::kSymmetricBlocks));

    const NatProfile& profile = simulation.run().profile;

    EXPECT_EQ(profile.block.size(), 1024u) << "seed " << seed;
    const std::uint16_t next = simulation.next_port();
    EXPECT_TRUE(next >= profile.block.first && next <= profile.block.last) << "seed " << seed;
  }
}

TEST(MappingSurvey, SeesADependenceOnTheAddressOnly) {
  Scene scene = scene_of(sim::NatKind::kSymmetricRandom);
  scene.nats[0].mapping = sim::NatMapping::kAddressDependent;

  EXPECT_EQ(Simulation(1, scene).run().profile.mapping, Dependence::kAddressDependent);
}

TEST(MappingSurvey, LeavesOpenWhatOneServerAddressCannotTell) {
  Scene scene = scene_of(sim::NatKind::kPortRestricted);
  scene.server_addresses = 1;
  EXPECT_EQ(Simulation(1, scene).run().profile.mapping, Dependence::kIndependentOrAddressDependent);

  scene.is_alternate_port_told = false;
  EXPECT_EQ(Simulation(1, scene).run().profile.mapping, Dependence::kUnknown);

  Scene symmetric = scene_of(sim::NatKind::kSymmetricRandom);
  symmetric.server_addresses = 1;
  EXPECT_EQ(Simulation(1, symmetric).run().profile.mapping, Dependence::kAddressAndPortDependent);
}

TEST(MappingSurvey, SeesSeveralExternalAddresses) {
  Scene scene = scene_of(sim::NatKind::kSymmetricRandom);
  scene.nats[0].pooling = sim::AddressPooling::kArbitrary;
  scene.external_pool = {kExternal, IpAddress::v4(198, 51, 100, 2)};

  const SurveyReport report = Simulation(3, scene).run();

  EXPECT_EQ(report.externals.size(), 2u) << all_evidence(report);
}

TEST(MappingSurvey, SaysSoonThatNothingAnswers) {
  Simulation simulation(1, scene_of(sim::NatKind::kUdpBlocked));

  const SurveyReport& report = simulation.run();

  EXPECT_TRUE(report.is_silent());
  EXPECT_FALSE(report.profile.is_known());
  EXPECT_EQ(simulation.elapsed(), MappingSurvey::kSilence);
}

TEST(MappingSurvey, CopiesTakeNoFurtherMappings) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Scene scene = scene_of(sim::NatKind::kSymmetricRandom);
    scene.loss = 0.4;
    Simulation simulation(seed, scene);

    simulation.run();

    EXPECT_LE(simulation.mappings(), scene.sockets + MappingSurvey::kOtherServersMax);
  }
}

// --- Hostile answers ---

const Address kServer = address("203.0.113.1:3478");

class HostileAnswers : public testing::Test {
 protected:
  HostileAnswers()
      : secrets_(1),
        survey_({.tag = 1,
                 .servers = {kServer},
                 .local_addresses = {kClient},
                 .ports = {40'000, 40'001}},
                secrets_, now_) {
    poll();
  }

  /// Requests that wait to be sent; answers are made to them.
  void poll() {
    Bytes out(kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    while (const std::size_t size = survey_.poll_datagram(socket, to, out, now_)) {
      asked_.push_back({socket, to, *decode_stun(ByteView(out).first(size))});
    }
  }
  Bytes answer(const StunMessage& request, const Address& mapped,
               std::optional<Address> other = std::nullopt) {
    StunMessage message;
    message.message_class = StunClass::kSuccess;
    message.transaction = request.transaction;
    message.xor_mapped_address = mapped;
    message.other_address = other;
    Bytes out(kStunBytesMax);
    out.resize(encode_stun(message, {}, out));
    return out;
  }
  const SurveyReport& finish() {
    for (int i = 0; i < 100 && !survey_.is_done(); ++i) {
      now_ = survey_.next_timeout().value_or(now_);
      survey_.on_timeout(now_);
      poll();
    }
    EXPECT_TRUE(survey_.is_done());
    return survey_.report();
  }

  struct Asked {
    std::size_t socket;
    Address to;
    StunMessage request;
  };
  TimePoint now_{};
  sim::SeededSecrets secrets_;
  MappingSurvey survey_;
  std::vector<Asked> asked_;
};

TEST_F(HostileAnswers, CountOnlyFromWhereTheyWereAskedFor) {
  const Bytes lie = answer(asked_[0].request, address("192.0.2.66:6666"));

  EXPECT_TRUE(survey_.on_datagram(0, address("203.0.113.66:3478"), lie, now_));
  EXPECT_TRUE(survey_.on_datagram(1, kServer, lie, now_));  // To the wrong socket.

  EXPECT_TRUE(finish().is_silent());
}

TEST_F(HostileAnswers, NameOnlyAddressesThatASocketCanHave) {
  const char* lies[] = {"127.0.0.1:5000",    "224.0.0.1:5000",     "0.0.0.0:5000",
                        "255.255.255.255:1", "[2001:db8::1]:5000", "198.51.100.1:0"};
  for (const char* lie : lies) {
    MappingSurvey survey(
        {.tag = 1, .servers = {kServer}, .local_addresses = {kClient}, .ports = {40'000}}, secrets_,
        now_);
    Bytes out(kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    const std::size_t size = survey.poll_datagram(socket, to, out, now_);
    const auto request = decode_stun(ByteView(out).first(size));

    survey.on_datagram(0, kServer, answer(*request, address(lie)), now_);

    EXPECT_TRUE(survey.is_done());
    EXPECT_TRUE(survey.report().is_silent()) << lie;
  }
}

TEST_F(HostileAnswers, CannotAimRequestsElsewhere) {
  const char* targets[] = {"127.0.0.1:80",    "224.0.0.1:80", "0.0.0.0:80",    "192.168.1.1:80",
                           "192.168.1.10:80", "[::1]:80",     "203.0.113.1:80"};
  const std::size_t before = asked_.size();
  for (const char* target : targets) {
    survey_.on_datagram(
        0, kServer, answer(asked_[0].request, address("198.51.100.1:1"), address(target)), now_);
    poll();
  }
  EXPECT_EQ(asked_.size(), before);
}

TEST_F(HostileAnswers, AimAtMostOneRequestAndOnlyAtTheKnownPort) {
  for (int i = 0; i < 200; ++i) {
    const Address other{IpAddress::v4(203, 0, 113, static_cast<std::uint8_t>(2 + i)), 80};
    for (const Asked& asked : std::vector(asked_)) {
      survey_.on_datagram(asked.socket, asked.to,
                          answer(asked.request, address("198.51.100.1:1"), other), now_);
    }
    poll();
  }
  EXPECT_EQ(asked_.size(), 3u);
  EXPECT_EQ(asked_.back().to, address("203.0.113.2:3478"));
}

TEST_F(HostileAnswers, FloodsChangeNothing) {
  Random random(1);
  Bytes noise(64);
  for (int i = 0; i < 20'000; ++i) {
    random.fill(noise);
    if (i % 2 == 0) noise = answer(asked_[0].request, address("198.51.100.66:1"));
    noise[19] ^= std::byte{1};  // The last byte of the transaction id.
    survey_.on_datagram(0, kServer, noise, now_);
  }
  EXPECT_FALSE(survey_.is_done());
  for (const Asked& asked : std::vector(asked_)) {
    survey_.on_datagram(asked.socket, kServer, answer(asked.request, address("198.51.100.1:40000")),
                        now_);
  }
  EXPECT_EQ(finish().profile.external, kExternal);
  EXPECT_EQ(survey_.report().samples.size(), 1u);
}

}  // namespace
}  // namespace openp2p::nat
