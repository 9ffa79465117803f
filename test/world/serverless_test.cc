// The server is away for hours: what is there goes on, and nodes that know each other find each
// other again, where they were, on their own network, or through a third node of theirs.

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "base/check.h"
#include "nat/stun_signal.h"
#include "test/world/relay_world.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using agent::PeerSignal;
using sim::NatKind;

/// RelayWorld's nodes, which have had a session; from then on the server may go.
struct AwayWorld : RelayWorld {
  AwayWorld(std::uint64_t seed, const Options& options)
      : RelayWorld(seed, options), file(random_bytes(world.random(), 20'000)) {
    serve(file);
    CHECK(join());
    CHECK(!a.forward("web", "nas", kService, kLocal));
    CHECK(downloads(30s));
    world.run_for(70s);  // What is known of peers is on the disk, also of who crashes.
  }
  bool downloads(Duration patience) {
    sim::PipeEnd* end = a.platform().connect(kLocal);
    if (end == nullptr) return false;
    Application client(*end, Bytes(10));
    run_until([&] { return client.is_done(); }, patience);
    return client.received == file;
  }
  /// Nobody remembers sessions, nor, after minutes, routers what they let in.
  void restart_all(Duration pause = 60s) {
    for (SimulatedNode* node : {&a, &b, &gate}) {
      if (node->is_running()) node->stop();
    }
    world.run_for(pause);
    for (SimulatedNode* node : {&b, &gate, &a}) {
      if (node != &gate || has_gate()) node->start();
    }
  }
  bool has_gate() const { return !gate.known_peers.empty(); }
  static Options pair(NatKind a, NatKind b) {
    Options options;
    options.kind_a = a;
    options.kind_b = b;
    options.share_mbit = 0;
    return options;
  }
  static Options pair_with_gate(NatKind a, NatKind b) {
    Options options = pair(a, b);
    options.has_own_relay = true;
    return options;
  }

  const Bytes file;
};

TEST(WithoutTheServer, ASessionAndItsForwardsGoOnForHoursAndThroughAMove) {
  AwayWorld net(1, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kFullCone));
  sim::Home cafe(net.internet, NatKind::kSymmetricSequential);
  std::optional<Talker> nas;
  net.b.platform().serve(RelayWorld::kService, [&](sim::PipeEnd& end) { nas.emplace(end); });
  Talker laptop(*net.a.platform().connect(RelayWorld::kLocal));
  ASSERT_TRUE(net.run_until([&] { return nas.has_value(); }, 30s));

  net.server.crash();

  for (std::size_t hour = 1; hour <= 6; ++hour) {
    if (hour == 3) net.home_a.host().move_to(cafe.lan(), cafe.host_options());
    net.world.run_for(1h);
    EXPECT_TRUE(laptop.say() && nas->say());
    const auto is_heard = [&] { return laptop.heard() == hour && nas->heard() == hour; };
    ASSERT_TRUE(net.run_until(is_heard, 5s)) << hour;
  }
  EXPECT_FALSE(laptop.is_over() || nas->is_over());
}

TEST(WithoutTheServer, RestartedNodesMeetWhereThePeerWas) {
  for (const NatKind nas : {NatKind::kNone, NatKind::kFullCone}) {
    for (const NatKind laptop :
         {NatKind::kNone, NatKind::kPortRestricted, NatKind::kSymmetricRandom}) {
      SCOPED_TRACE(std::string(sim::nat_kind_text(laptop)) + " to " +
                   std::string(sim::nat_kind_text(nas)));
      AwayWorld net(2, AwayWorld::pair(laptop, nas));
      net.server.crash();

      net.restart_all(20min);

      EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
      EXPECT_TRUE(net.is_direct());
    }
  }
}

TEST(WithoutTheServer, NodesThatCrashedMeetAsWell) {
  AwayWorld net(3, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kNone));
  net.server.crash();
  net.a.crash();
  net.b.crash();
  net.world.run_for(10s);

  net.b.start();
  net.a.start();

  EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
}

TEST(WithoutTheServer, WhoMovedMeanwhileCallsFromWhereItIs) {
  AwayWorld net(4, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kFullCone));
  sim::Home cafe(net.internet, NatKind::kPortRestricted);
  net.server.crash();
  net.a.stop();
  net.home_a.host().move_to(cafe.lan(), cafe.host_options());
  net.world.run_for(10min);

  net.a.start();

  EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
}

TEST(WithoutTheServer, NodesMeetOnTheirLan) {
  sim::World world(5);
  sim::Internet internet(world);
  const auto server_host = sim::make_public_host(internet);
  sim::Home home(internet, NatKind::kSymmetricRandom);
  server::SimulatedServer server(*server_host, 5);
  SimulatedNode laptop(home.host(), 51, "laptop");
  SimulatedNode nas(home.add_host(), 52, "nas");
  const Bytes file = random_bytes(world.random(), 20'000);
  std::list<std::unique_ptr<Application>> served;
  nas.platform().serve(
      80, [&](sim::PipeEnd& end) { served.push_back(std::make_unique<Application>(end, file)); });
  const auto downloads = [&] {
    Application client(*laptop.platform().connect(8'080), Bytes(10));
    world.run_until([&] { return client.is_done(); }, world.now() + 30s);
    return client.received == file;
  };
  const JoinToken token = server.new_token("admin", {.is_reusable = true, .expires_at = {}});
  laptop.join(token);
  nas.join(token);
  world.run_for(10s);
  ASSERT_FALSE(laptop.forward("web", "nas", 80, 8'080));
  ASSERT_TRUE(downloads());
  server.crash();

  laptop.stop();
  nas.stop();
  world.run_for(60s);
  nas.start();
  laptop.start();

  EXPECT_TRUE(downloads());
}

TEST(WithoutTheServer, AThirdNodeCarriesWhatCannotGoDirectly) {
  AwayWorld net(6, AwayWorld::pair_with_gate(NatKind::kSymmetricRandom, NatKind::kSymmetricRandom));
  net.server.crash();

  net.restart_all();
  net.world.run_for(40s);  // Both have found the gate.

  EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
  EXPECT_EQ(net.seen_by_a().path, "relayed by gate (own node)");
}

TEST(WithoutTheServer, AThirdNodeCarriesSignalsForADirectPath) {
  AwayWorld net(7, AwayWorld::pair_with_gate(NatKind::kPortRestricted, NatKind::kPortRestricted));
  net.server.crash();

  net.restart_all(20min);
  net.world.run_for(40s);

  EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
  EXPECT_GT(net.b.node().signal_ways().counters().letters_taken, 0U);
  EXPECT_TRUE(net.run_until([&] { return net.is_direct(); }, 2min)) << net.seen_by_a().path;
}

TEST(WithoutTheServer, EverythingCatchesUpWhenItIsBack) {
  AwayWorld net(8, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kNone));
  net.server.crash();
  net.restart_all();
  ASSERT_TRUE(net.downloads(30s));
  EXPECT_FALSE(net.seen_by_a().is_online);  // Nobody says so.

  net.server.start();

  EXPECT_TRUE(net.run_until([&] { return net.seen_by_a().is_online; }, 3min));
  EXPECT_TRUE(net.run_until([&] { return net.seen_by_b().is_online; }, 3min));
  EXPECT_TRUE(net.downloads(30s));
}

TEST(WithoutTheServer, ARemovedMemberIsOutOnceTheServerIsBack) {
  AwayWorld net(9, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kNone));
  net.server.crash();
  net.restart_all();
  ASSERT_TRUE(net.downloads(30s));
  ASSERT_TRUE(net.server.records().remove(net.b.id(), server::SimulatedServer::kEpoch));

  net.server.start();

  const auto is_gone = [&] { return net.a.node().peers().empty(); };
  ASSERT_TRUE(net.run_until(is_gone, 3min));
  net.server.crash();
  net.world.run_for(2min);
  net.a.stop();
  net.a.start();
  EXPECT_FALSE(net.downloads(40s));
  EXPECT_TRUE(is_gone());
}

TEST(WithoutTheServer, WhateverRestartsInWhateverOrderFindsTheOthers) {
  constexpr std::array kKinds = {NatKind::kNone,           NatKind::kFullCone,
                                 NatKind::kPortRestricted, NatKind::kAddressRestricted,
                                 NatKind::kDoubleNat,      NatKind::kSymmetricPreserving,
                                 NatKind::kSymmetricRandom};
  for (std::uint64_t seed = 100; seed < 130; ++seed) {
    Random random(seed);
    const NatKind laptop = kKinds[random.below(kKinds.size())];
    const NatKind nas = kKinds[random.below(kKinds.size())];
    SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::string(sim::nat_kind_text(laptop)) +
                 " to " + std::string(sim::nat_kind_text(nas)));
    AwayWorld net(seed, AwayWorld::pair_with_gate(laptop, nas));
    net.server.crash();
    for (SimulatedNode* node : {&net.a, &net.b, &net.gate}) {
      const bool is_crash = random.below(2) == 0;
      const Duration goes_after = std::chrono::seconds(random.below(600));
      const Duration stays_away = std::chrono::seconds(1 + random.below(600));
      net.world.after(goes_after, [node, is_crash] { is_crash ? node->crash() : node->stop(); });
      net.world.after(goes_after + stays_away, [node] { node->start(); });
    }

    net.world.run_for(21min);

    EXPECT_TRUE(net.downloads(60s)) << net.seen_by_a().reason;
  }
}

/// A machine somewhere that sends signals to the nas, and takes what comes back.
struct Sender {
  Sender(AwayWorld& away, sim::Host& host) : net(away), socket(host.open_udp()) {
    socket.on_receive([this](const Address&, ByteView datagram, TimePoint) {
      got.push_back(to_bytes(datagram));
    });
  }
  Address nas() const {
    return {*net.home_b.host().address(sim::Family::kV4), net.b.node().last_ports().v4};
  }
  void send(const NodeId& from, ByteView body) {
    Bytes signal = to_bytes(from.key);
    signal.insert(signal.end(), net.b.id().key.begin(), net.b.id().key.begin() + 8);
    signal.insert(signal.end(), body.begin(), body.end());
    Bytes out(nat::kStunBytesMax);
    out.resize(nat::encode_stun_signal(nat::TransactionId(), signal, out));
    sent_bytes = out.size();
    socket.send(nas(), out);
    net.world.run_for(100ms);
  }
  /// Of the last datagram that came, as from the nas to `to`.
  std::optional<PeerSignal> answer(const NodeId& to) const {
    const auto payload = got.empty() ? std::nullopt : nat::decode_stun_signal(got.back());
    if (!payload) return std::nullopt;
    auto signal =
        agent::decode_signal(payload->subspan(agent::DirectSignals::kHeadBytes), net.b.id(), to);
    return signal ? std::optional(*signal) : std::nullopt;
  }

  AwayWorld& net;
  sim::UdpSocket& socket;
  std::vector<Bytes> got;
  std::size_t sent_bytes = 0;  ///< Of the last datagram.
};

PeerSignal offer_of(const NodeId& from, const NodeId& to) {
  PeerSignal offer;
  offer.from = from;
  offer.to = to;
  offer.attempt.fill(std::byte{7});
  offer.kind = PeerSignal::Kind::kOffer;
  offer.agreement_key.fill(std::byte{9});
  offer.tag = path::FinderTag(77);
  return offer;
}

/// The laptop is away, and its key is abused, or others pretend to have it.
struct HostileAway : testing::Test {
  HostileAway()
      : net(10, AwayWorld::pair(NatKind::kPortRestricted, NatKind::kNone)),
        host(sim::make_public_host(net.internet)),
        sender(net, *host) {
    net.server.crash();
    net.a.stop();
    net.world.run_for(2min);
  }
  const agent::DirectSignals::Counters& counters() { return net.b.node().signal_ways().direct(); }
  AwayWorld net;
  std::unique_ptr<sim::Host> host;
  Sender sender;
};

TEST_F(HostileAway, AnOfferThatIsOldIsAskedForMoreAndNothingElseHappens) {
  const PeerSignal offer = offer_of(net.a.id(), net.b.id());
  const Bytes body = agent::encode_signal(offer, net.a.identity());

  for (int i = 0; i < 5; ++i) sender.send(net.a.id(), body);

  ASSERT_EQ(sender.got.size(), 5U);
  for (const Bytes& got : sender.got) EXPECT_LT(got.size(), sender.sent_bytes);
  EXPECT_EQ(sender.answer(net.a.id())->kind, PeerSignal::Kind::kChallenge);
  EXPECT_EQ(counters().taken, 0U);
  EXPECT_EQ(net.seen_by_b().session, "none");
}

TEST_F(HostileAway, AChallengeIsGoodForItsPlaceAttemptAndTimeAlone) {
  PeerSignal offer = offer_of(net.a.id(), net.b.id());
  const auto send = [&](Sender& from) {
    from.send(net.a.id(), agent::encode_signal(offer, net.a.identity()));
  };
  send(sender);
  offer.echo = sender.answer(net.a.id())->echo;
  Sender elsewhere(net, *host);
  PeerSignal other = offer;
  other.attempt.fill(std::byte{8});

  send(elsewhere);  // Another port.
  sender.send(net.a.id(), agent::encode_signal(other, net.a.identity()));
  net.world.run_for(2min);
  send(sender);  // Too late.
  EXPECT_EQ(counters().taken, 0U);

  offer.echo = sender.answer(net.a.id())->echo;
  send(sender);
  EXPECT_EQ(counters().taken, 1U);
}

TEST_F(HostileAway, WhoIsNoMemberGetsNoAnswer) {
  sim::SeededSecrets secrets(99);
  const IdentityKey eve = IdentityKey::generate(secrets);
  const Bytes body = agent::encode_signal(offer_of(eve.id(), net.b.id()), eve);

  sender.send(eve.id(), body);         // As herself.
  sender.send(net.a.id(), body);       // As the laptop.
  sender.send(net.a.id(), Bytes(20));  // Nothing at all.
  PeerSignal forged = offer_of(net.a.id(), net.b.id());
  sender.send(net.a.id(), agent::encode_signal(forged, eve));

  EXPECT_TRUE(sender.got.empty());
  EXPECT_EQ(counters().stranger, 1U);
  EXPECT_EQ(counters().forged, 3U);
}

TEST_F(HostileAway, PartsOfNoAttemptGetNoAnswer) {
  for (const auto kind : {PeerSignal::Kind::kAnswer, PeerSignal::Kind::kCandidates,
                          PeerSignal::Kind::kRefusal, PeerSignal::Kind::kChallenge}) {
    PeerSignal part = offer_of(net.a.id(), net.b.id());
    part.kind = kind;
    sender.send(net.a.id(), agent::encode_signal(part, net.a.identity()));
  }

  EXPECT_TRUE(sender.got.empty());
  EXPECT_EQ(counters().stale, 4U);
}

TEST_F(HostileAway, AFloodIsCutAndThePeerStillComesThrough) {
  const Bytes body = agent::encode_signal(offer_of(net.a.id(), net.b.id()), net.a.identity());
  bool is_over = false;
  const std::function<void()> flood = [&] {
    for (int i = 0; i < 20 && !is_over; ++i) {
      Bytes signal = to_bytes(net.a.id().key);
      signal.insert(signal.end(), net.b.id().key.begin(), net.b.id().key.begin() + 8);
      signal.insert(signal.end(), body.begin(), body.end());
      Bytes out(nat::kStunBytesMax);
      out.resize(nat::encode_stun_signal(nat::TransactionId(), signal, out));
      sender.socket.send(sender.nas(), out);
    }
    if (!is_over) net.world.after(10ms, flood);
  };
  net.world.after(10ms, flood);
  net.world.run_for(10s);
  const std::size_t answered = sender.got.size();

  net.a.start();

  EXPECT_TRUE(net.downloads(30s)) << net.seen_by_a().reason;
  is_over = true;
  EXPECT_LT(answered, 100U);  // Of 20,000.
  EXPECT_GT(counters().limited, 19'000U);
}

TEST_F(HostileAway, AMemberThatGivesABystandersAddressAsItsOwnCostsItLittle) {
  sim::UdpSocket& bystander = host->open_udp();
  std::size_t bytes = 0;
  bystander.on_receive([&](const Address&, ByteView got, TimePoint) { bytes += got.size(); });
  net.b.crash();  // Only its lie is left.
  agent::PeerCache cache(net.a.id(), net.server.key());
  ASSERT_TRUE(cache.decode(net.a.known_peers));
  PeerSignal lie = offer_of(net.b.id(), net.a.id());
  lie.kind = PeerSignal::Kind::kNews;
  lie.candidates = {{path::CandidateType::kMapped, bystander.local(), {}}};
  cache.on_signal(lie, agent::encode_signal(lie, net.b.identity()));
  net.a.known_peers = cache.encode();

  net.a.start();
  net.world.run_for(1h);  // The forward wants a session all the time.

  EXPECT_GT(bytes, 0U);
  EXPECT_LT(bytes, 300'000U);  // 85 bytes a second.
}

}  // namespace
}  // namespace openp2p::test
