// The discovery client and the STUN service, with every kind of NAT between them, in virtual time.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>

#include "base/random.h"
#include "nat/behaviour_discovery.h"
#include "nat/stun_service.h"
#include "sim/link.h"
#include "sim/nat_table.h"
#include "sim/seeded_secrets.h"
#include "sim/world.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

Address address(std::string_view text) { return *Address::parse(text); }

const Address kClient = address("192.168.1.10:5000");
const Address kServer = address("203.0.113.1:3478");

struct Scene {
  bool has_nat = true;
  sim::NatOptions nat;
  bool has_second_address = true;
  std::uint16_t alternate_port = 0;
  double loss = 0;
  bool is_server_up = true;
  std::vector<Address> opened;  ///< Sent to before.
};

/// One client, maybe a NAT, one server; a lossy link each way.
class Simulation {
 public:
  Simulation(std::uint64_t seed, const Scene& scene)
      : scene_(scene),
        world_(seed),
        up_(world_, {.delay = 20ms, .jitter = 10ms, .loss = scene.loss}),
        down_(world_, {.delay = 20ms, .jitter = 10ms, .loss = scene.loss, .duplication = 0.05}),
        nat_(scene.nat, {scene.nat.is_firewall ? kClient.ip : IpAddress::v4(198, 51, 100, 1)},
             Random(seed).fork()),
        service_(sockets(scene.has_second_address), {}, seed),
        secrets_(seed),
        discovery_({.tag = 1,
                    .server = kServer,
                    .alternate_port = scene.alternate_port,
                    .local_addresses = {kClient},
                    .opened = scene.opened},
                   secrets_, world_.now()),
        timer_(world_, [this] {
          discovery_.on_timeout(world_.now());
          pump();
        }) {
    // Neighbours have used some ports already.
    for (std::uint16_t i = 0; i < 5; ++i) {
      const Address neighbour{IpAddress::v4(192, 168, 1, 20), static_cast<std::uint16_t>(5000 + i)};
      nat_.outbound(neighbour, address("203.0.113.99:9"), world_.now());
    }
    for (const Address& opened : scene.opened) nat_.outbound(kClient, opened, world_.now());
  }

  BehaviourReport run() {
    pump();
    EXPECT_TRUE(world_.run_until([this] { return discovery_.is_done(); }, world_.now() + 60s));
    return discovery_.report();
  }
  Duration elapsed() const { return world_.elapsed(); }

 private:
  static std::vector<StunSocket> sockets(bool has_second_address) {
    std::vector<StunSocket> all = {{SocketId{0}, kServer, false, false},
                                   {SocketId{1}, {kServer.ip, 3479}, false, true},
                                   {SocketId{2}, address("203.0.113.2:3478"), true, false},
                                   {SocketId{3}, address("203.0.113.2:3479"), true, true}};
    if (!has_second_address) all.resize(2);
    return all;
  }

  void pump() {
    Bytes out(kStunBytesMax);
    Address to;
    while (const std::size_t size = discovery_.poll_datagram(to, out, world_.now())) {
      up_.send(ByteView(out).first(size),
               [this, to](ByteView bytes, TimePoint) { leave(to, bytes); });
    }
    timer_.arm(discovery_.next_timeout());
  }

  /// A client's datagram at the NAT.
  void leave(const Address& to, ByteView bytes) {
    if (!scene_.has_nat) return serve(kClient, to, bytes);
    const sim::NatVerdict verdict = nat_.outbound(kClient, to, world_.now());
    if (verdict.action == sim::NatAction::kForward) serve(verdict.from, verdict.to, bytes);
    if (verdict.action == sim::NatAction::kHairpin) deliver(verdict.from, bytes);
  }

  void serve(const Address& from, const Address& to, ByteView bytes) {
    if (!scene_.is_server_up) return;
    for (const StunSocket& socket : sockets(scene_.has_second_address)) {
      if (socket.address != to) continue;
      Bytes out(StunService::kAnswerBytesMax);
      const auto answer = service_.on_datagram(socket.id, from, bytes, out, world_.now());
      if (answer) enter(*answer, ByteView(out).first(answer->size));
      return;
    }
  }

  /// The server's answer at the NAT.
  void enter(const StunService::Answer& answer, ByteView bytes) {
    const Address from = sockets(true)[answer.socket.value()].address;
    if (!scene_.has_nat) return deliver(from, bytes);
    const sim::NatVerdict verdict = nat_.inbound(from, answer.to, world_.now());
    if (verdict.action == sim::NatAction::kForward) deliver(verdict.from, bytes);
  }

  void deliver(const Address& from, ByteView bytes) {
    down_.send(bytes, [this, from](ByteView copy, TimePoint now) {
      discovery_.on_datagram(from, copy, now);
      pump();
    });
  }

  const Scene scene_;
  sim::World world_;
  sim::Link up_;
  sim::Link down_;
  sim::NatTable nat_;
  StunService service_;
  sim::SeededSecrets secrets_;
  BehaviourDiscovery discovery_;
  sim::Timer timer_;
};

std::string all_evidence(const BehaviourReport& report) {
  std::string text = describe(report);
  for (const std::string& line : report.evidence) text += "\n  " + line;
  return text;
}

Dependence in_our_words(sim::NatMapping mapping) {
  switch (mapping) {
    case sim::NatMapping::kEndpointIndependent:
      return Dependence::kEndpointIndependent;
    case sim::NatMapping::kAddressDependent:
      return Dependence::kAddressDependent;
    case sim::NatMapping::kAddressAndPortDependent:
      return Dependence::kAddressAndPortDependent;
  }
  return Dependence::kUnknown;
}

Dependence in_our_words(sim::NatFiltering filtering) {
  switch (filtering) {
    case sim::NatFiltering::kNone:
    case sim::NatFiltering::kEndpointIndependent:
      return Dependence::kEndpointIndependent;
    case sim::NatFiltering::kAddressDependent:
      return Dependence::kAddressDependent;
    case sim::NatFiltering::kAddressAndPortDependent:
      return Dependence::kAddressAndPortDependent;
  }
  return Dependence::kUnknown;
}

constexpr sim::NatMapping kMappings[] = {sim::NatMapping::kEndpointIndependent,
                                         sim::NatMapping::kAddressDependent,
                                         sim::NatMapping::kAddressAndPortDependent};
constexpr sim::NatFiltering kFilterings[] = {sim::NatFiltering::kEndpointIndependent,
                                             sim::NatFiltering::kAddressDependent,
                                             sim::NatFiltering::kAddressAndPortDependent};
constexpr sim::PortAllocation kAllocations[] = {
    sim::PortAllocation::kPreserving, sim::PortAllocation::kSequential,
    sim::PortAllocation::kRandom, sim::PortAllocation::kBlocks};

template <class Check>
void for_every_nat(std::uint64_t seeds, Check check) {
  for (const auto mapping : kMappings) {
    for (const auto filtering : kFilterings) {
      for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        Scene scene;
        scene.nat.mapping = mapping;
        scene.nat.filtering = filtering;
        scene.nat.allocation = kAllocations[seed % std::size(kAllocations)];
        scene.nat.hairpinning =
            seed % 3 == 0 ? sim::Hairpinning::kNone : sim::Hairpinning::kExternalSource;
        check(seed, scene);
      }
    }
  }
}

TEST(BehaviourDiscovery, NamesEveryNatInSpiteOfLoss) {
  for_every_nat(/*seeds=*/120, [](std::uint64_t seed, Scene scene) {
    scene.loss = 0.1;
    Simulation simulation(seed, scene);

    const BehaviourReport report = simulation.run();

    SCOPED_TRACE(testing::Message() << "seed " << seed << "\n" << all_evidence(report));
    EXPECT_TRUE(report.is_translated);
    EXPECT_EQ(report.mapping, in_our_words(scene.nat.mapping));
    EXPECT_EQ(report.filtering, in_our_words(scene.nat.filtering));
    EXPECT_LE(simulation.elapsed(), 30s);
  });
}

TEST(BehaviourDiscovery, GivesEveryNatItsClassicName) {
  const std::map<std::pair<Dependence, Dependence>, std::string_view> names = {
      {{Dependence::kEndpointIndependent, Dependence::kEndpointIndependent}, "full cone"},
      {{Dependence::kEndpointIndependent, Dependence::kAddressDependent},
       "address-restricted cone"},
      {{Dependence::kEndpointIndependent, Dependence::kAddressAndPortDependent},
       "port-restricted cone"}};
  for_every_nat(/*seeds=*/4, [&](std::uint64_t seed, const Scene& scene) {
    Simulation simulation(seed, scene);
    const auto expected =
        names.find({in_our_words(scene.nat.mapping), in_our_words(scene.nat.filtering)});

    const BehaviourReport report = simulation.run();

    EXPECT_EQ(classic_name(report), expected == names.end() ? "symmetric" : expected->second);
    EXPECT_LE(simulation.elapsed(), 9s) << all_evidence(report);
  });
}

TEST(BehaviourDiscovery, FindsHairpinning) {
  for (const auto hairpinning : {sim::Hairpinning::kNone, sim::Hairpinning::kInternalSource,
                                 sim::Hairpinning::kExternalSource}) {
    Scene scene;
    scene.nat.filtering = sim::NatFiltering::kEndpointIndependent;
    scene.nat.hairpinning = hairpinning;

    const BehaviourReport report = Simulation(1, scene).run();

    EXPECT_EQ(report.hairpins, hairpinning != sim::Hairpinning::kNone) << all_evidence(report);
  }
}

TEST(BehaviourDiscovery, SeesHowPortsAreAllocated) {
  const std::pair<sim::PortAllocation, PortAllocation> cases[] = {
      {sim::PortAllocation::kSequential, PortAllocation::kSequential},
      {sim::PortAllocation::kRandom, PortAllocation::kNoPattern}};
  for (const auto& [allocation, expected] : cases) {
    Scene scene;
    scene.nat.mapping = sim::NatMapping::kAddressAndPortDependent;
    scene.nat.allocation = allocation;

    const BehaviourReport report = Simulation(2, scene).run();

    EXPECT_EQ(report.ports, expected) << all_evidence(report);
    EXPECT_EQ(report.port_delta.has_value(), expected == PortAllocation::kSequential);
  }
}

TEST(BehaviourDiscovery, SeesPreservedPorts) {
  Scene scene;
  scene.nat.allocation = sim::PortAllocation::kPreserving;
  scene.nat.collision = sim::PortCollision::kOverload;
  scene.nat.mapping = sim::NatMapping::kEndpointIndependent;

  const BehaviourReport report = Simulation(1, scene).run();

  EXPECT_EQ(report.ports, PortAllocation::kPreserved) << all_evidence(report);
}

TEST(BehaviourDiscovery, SeesThroughNatThatUnsolicitedDatagramsSpoil) {
  Scene scene;
  scene.nat.collision = sim::PortCollision::kOverload;
  scene.nat.unsolicited = sim::Unsolicited::kRemap;

  const BehaviourReport report = Simulation(1, scene).run();

  EXPECT_EQ(classic_name(report), "port-restricted cone") << all_evidence(report);
  EXPECT_TRUE(report.is_spoilt_by_unsolicited);
}

TEST(BehaviourDiscovery, TellsNoNatFromFirewall) {
  Scene open;
  open.has_nat = false;
  Scene firewall;
  firewall.nat.is_firewall = true;

  const BehaviourReport without = Simulation(1, open).run();
  const BehaviourReport behind = Simulation(1, firewall).run();

  EXPECT_FALSE(without.is_translated);
  EXPECT_EQ(without.filtering, Dependence::kEndpointIndependent);
  EXPECT_EQ(classic_name(without), "no NAT");
  EXPECT_FALSE(behind.is_translated) << all_evidence(behind);
  EXPECT_EQ(behind.filtering, Dependence::kAddressAndPortDependent);
  EXPECT_EQ(classic_name(behind), "no NAT, but a firewall");
}

TEST(BehaviourDiscovery, WithOneServerAddressClaimsOnlyWhatItKnows) {
  for_every_nat(/*seeds=*/40, [](std::uint64_t seed, Scene scene) {
    scene.has_second_address = false;
    scene.alternate_port = 3479;
    scene.loss = 0.1;

    const BehaviourReport report = Simulation(seed, scene).run();

    SCOPED_TRACE(testing::Message() << "seed " << seed << "\n" << all_evidence(report));
    const auto blurred = [](Dependence truth) {
      return truth == Dependence::kAddressAndPortDependent
                 ? truth
                 : Dependence::kIndependentOrAddressDependent;
    };
    EXPECT_EQ(report.mapping, blurred(in_our_words(scene.nat.mapping)));
    EXPECT_EQ(report.filtering, blurred(in_our_words(scene.nat.filtering)));
  });
}

TEST(BehaviourDiscovery, OnSocketInUseNeverTakesOpenedFiltersForOpenOnes) {
  const std::vector<Address> opened_before[] = {
      {address("203.0.113.1:3479")},
      {address("203.0.113.2:3478")},
      {address("203.0.113.2:3479")},
      {address("203.0.113.1:3479"), address("203.0.113.2:3478"), address("203.0.113.2:3479")}};
  for (const auto& opened : opened_before) {
    for_every_nat(/*seeds=*/4, [&](std::uint64_t seed, Scene scene) {
      scene.opened = opened;

      const BehaviourReport report = Simulation(seed, scene).run();

      SCOPED_TRACE(all_evidence(report));
      const Dependence truth = in_our_words(scene.nat.filtering);
      const bool is_blurred = report.filtering == Dependence::kIndependentOrAddressDependent &&
                              truth != Dependence::kAddressAndPortDependent;
      EXPECT_TRUE(report.filtering == truth || is_blurred ||
                  report.filtering == Dependence::kUnknown);
      EXPECT_EQ(report.mapping, in_our_words(scene.nat.mapping));
    });
  }
}

TEST(BehaviourDiscovery, WithOneServerPortLearnsTheOtherOrAdmitsIgnorance) {
  Scene scene;
  scene.has_second_address = false;
  scene.nat.filtering = sim::NatFiltering::kEndpointIndependent;
  const BehaviourReport learnt = Simulation(1, scene).run();
  scene.nat.filtering = sim::NatFiltering::kAddressAndPortDependent;
  const BehaviourReport ignorant = Simulation(1, scene).run();

  EXPECT_EQ(learnt.mapping, Dependence::kIndependentOrAddressDependent);
  EXPECT_EQ(ignorant.mapping, Dependence::kUnknown);
  EXPECT_EQ(ignorant.filtering, Dependence::kUnknown);
  EXPECT_EQ(classic_name(ignorant), "NAT of unknown kind");
}

TEST(BehaviourDiscovery, ReportsBlockedUdpInTime) {
  Scene scene;
  scene.is_server_up = false;
  Simulation simulation(1, scene);

  const BehaviourReport report = simulation.run();

  EXPECT_TRUE(report.is_udp_blocked());
  EXPECT_EQ(classic_name(report), "UDP blocked");
  EXPECT_EQ(simulation.elapsed(), 17500ms);
}

}  // namespace
}  // namespace openp2p::nat
