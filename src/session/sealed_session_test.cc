#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "session/sealed_keys.h"
#include "session/sealed_outbox.h"
#include "session/test_party.h"
#include "session/test_sealed.h"
#include "session/test_sim_streams.h"

/// Sealed datagrams over whole Endpoints in a simulated internet.
namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

constexpr SealedUse kUse = SealedUse::kForward;

/// A node that has a session with a server, and both listen.
struct Talk {
  explicit Talk(std::uint64_t seed, const sim::LinkOptions& link = {.delay = 10ms})
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted, {.link = link}),
        server_streams(*server_host, 27183),
        node_streams(home.host(), 27183),
        server(*server_host, seed * 2, /*accepts=*/true, 27183, &server_streams),
        node(home.host(), seed * 2 + 1, /*accepts=*/false, 0, &node_streams) {
    node.dial(server.id(), {server.address()});
    world.run_until([&] { return node.is_up && server.is_up; }, world.now() + 20s);
    for (const SealedUse use : {SealedUse::kRelay, SealedUse::kForward, SealedUse::kNetwork}) {
      server.session->set_sealed_handler(use, &server_ear);
      node.session->set_sealed_handler(use, &node_ear);
    }
    world.run_for(1s);
  }

  /// `count` numbered datagrams, one each `gap`, while the world runs on.
  void flow(TestParty& from, std::uint32_t count, Duration gap) {
    for (std::uint32_t i = 0; i < count; ++i) {
      world.after(i * gap, [&from, i] {
        if (from.session != nullptr) send_sealed(*from.session, kUse, numbered_payload(i));
        from.poke();
      });
    }
  }
  SealedCounters counters(TestParty& party) { return party.endpoint().counters().sealed; }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
  SimStreams server_streams, node_streams;
  TestParty server;
  TestParty node;
  SealedEar server_ear, node_ear;
};

std::set<std::uint32_t> numbers(const SealedEar& ear, SealedUse use) {
  std::set<std::uint32_t> numbers;
  const auto found = ear.heard.find(use);
  if (found == ear.heard.end()) return numbers;
  for (const Bytes& payload : found->second) numbers.insert(number_of(payload));
  return numbers;
}

TEST(SealedSession, CarriesEachUseBothWays) {
  Talk talk(1);

  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto use = static_cast<SealedUse>(i);
    ASSERT_TRUE(send_sealed(*talk.node.session, use, numbered_payload(i)));
    ASSERT_TRUE(send_sealed(*talk.server.session, use, numbered_payload(10 + i)));
  }
  talk.node.poke();
  talk.server.poke();
  talk.world.run_for(100ms);

  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto use = static_cast<SealedUse>(i);
    ASSERT_EQ(talk.server_ear.count(use), 1U);
    EXPECT_EQ(talk.server_ear.heard[use][0], numbered_payload(i));
    ASSERT_EQ(talk.node_ear.count(use), 1U);
    EXPECT_EQ(talk.node_ear.heard[use][0], numbered_payload(10 + i));
  }
  EXPECT_EQ(talk.server.endpoint().counters().sealed.received, 3U);
  EXPECT_EQ(talk.server.endpoint().counters().sealed.sent, 3U);
}

TEST(SealedSession, EqualSizesLeaveInOneBurst) {
  Talk talk(2);
  std::vector<std::size_t> bursts;
  talk.node.on_sent([&](ByteView bytes) {
    if (is_sealed_form(bytes)) bursts.push_back(bytes.size());
  });

  for (std::uint32_t i = 0; i < 40; ++i) {
    send_sealed(*talk.node.session, kUse, numbered_payload(i, 1'000));
  }
  send_sealed(*talk.node.session, kUse, numbered_payload(40, 500));
  send_sealed(*talk.node.session, kUse, numbered_payload(41, 600));
  talk.node.poke();
  talk.world.run_for(100ms);

  ASSERT_GE(bursts.size(), 2U);
  EXPECT_EQ(bursts[0], 40 * (1'000 + kSealedOverhead) + 500 + kSealedOverhead);
  EXPECT_EQ(bursts[1], 600 + kSealedOverhead);
  EXPECT_EQ(numbers(talk.server_ear, kUse).size(), 42U);
}

/// Each payload at most once and unchanged, and as many as the lines let pass.
void expect_each_once(const SealedEar& ear, std::size_t at_least) {
  ASSERT_TRUE(ear.heard.contains(kUse));
  std::set<std::uint32_t> seen;
  for (const Bytes& payload : ear.heard.at(kUse)) {
    ASSERT_EQ(payload, numbered_payload(number_of(payload)));
    ASSERT_TRUE(seen.insert(number_of(payload)).second) << number_of(payload);
  }
  EXPECT_GE(seen.size(), at_least);
}

TEST(SealedSession, LossReorderingAndCopiesAreTakenInStride) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Talk talk(seed, {.delay = 10ms,
                     .jitter = 5ms,
                     .loss = 0.05,
                     .duplication = 0.1,
                     .reordering = 0.2,
                     .reordering_delay = 30ms});
    ASSERT_TRUE(talk.node.is_up && talk.server.is_up);

    talk.flow(talk.node, 2'000, 1ms);
    talk.flow(talk.server, 2'000, 1ms);
    talk.world.run_for(5s);

    expect_each_once(talk.server_ear, 1'700);
    expect_each_once(talk.node_ear, 1'700);
    EXPECT_GT(talk.counters(talk.server).replayed, 50U);
    EXPECT_EQ(talk.counters(talk.server).forged, 0U);
  }
}

TEST(SealedSession, NothingBeforeTheSessionAndNothingAfterIt) {
  Talk talk(3);
  TestParty other(*talk.server_host, 77, /*accepts=*/false);
  other.dial(talk.node.id(), {{IpAddress::v4(203, 0, 113, 99), 27183}});
  EXPECT_FALSE(send_sealed(*other.session, kUse, numbered_payload(1)));
  EXPECT_EQ(talk.counters(other).dropped, 1U);

  Session& closed = *talk.node.session;
  send_sealed(closed, kUse, numbered_payload(2));
  closed.close(0, "done", talk.world.now());

  EXPECT_FALSE(send_sealed(closed, kUse, numbered_payload(3)));
  talk.node.poke();
  talk.world.run_for(1s);
  EXPECT_EQ(talk.server_ear.count(kUse), 0U);
}

TEST(SealedSession, BatchesEndForSealedDatagramsToo) {
  Talk talk(4);
  const std::uint64_t before = talk.server.batches;

  send_sealed(*talk.node.session, kUse, numbered_payload(1));
  talk.node.poke();
  talk.world.run_for(100ms);

  EXPECT_GT(talk.server.batches, before);
}

TEST(SealedSession, PayloadsAreAsLargeAsThePath) {
  Talk talk(5);
  Session& session = *talk.node.session;
  EXPECT_EQ(session.sealed_payload_max(), 1'472 - kSealedOverhead);

  EXPECT_TRUE(send_sealed(session, kUse, Bytes(session.sealed_payload_max())));
  EXPECT_FALSE(send_sealed(session, kUse, Bytes(session.sealed_payload_max() + 1)));
  EXPECT_FALSE(send_sealed(session, kUse, {}));
  talk.node.poke();
  talk.world.run_for(100ms);

  EXPECT_EQ(talk.server_ear.count(kUse), 1U);
  EXPECT_EQ(talk.counters(talk.node).dropped, 2U);
}

TEST(SealedSession, TheSmallestSizeGoesWhereThePathIsNarrow) {
  Talk talk(6, {.delay = 10ms, .mtu = 1'280, .is_mtu_silent = true});
  Session& session = *talk.node.session;
  ASSERT_GE(session.sealed_payload_max(), kSealedBytesMin - kSealedOverhead);
  ASSERT_LE(session.sealed_payload_max(), 1'252 - kSealedOverhead);

  EXPECT_TRUE(send_sealed(session, kUse, Bytes(kSealedBytesMin - kSealedOverhead)));
  talk.node.poke();
  talk.world.run_for(100ms);

  EXPECT_EQ(talk.server_ear.count(kUse), 1U);
}

TEST(SealedSession, AFullQueueDropsAndGoesOn) {
  Talk talk(7);
  const Bytes payload(1'000);
  std::size_t taken = 0;
  while (send_sealed(*talk.node.session, kUse, payload)) ++taken;

  EXPECT_LE(taken * payload.size(), SealedOutbox::kBytesMax);
  talk.node.poke();
  talk.world.run_for(1s);

  EXPECT_EQ(talk.counters(talk.node).sent, taken);
  EXPECT_TRUE(send_sealed(*talk.node.session, kUse, payload));
}

TEST(SealedSession, SealedDatagramsAndStreamsTakeTurns) {
  Talk talk(8, {.delay = 10ms, .bits_per_second = 50'000'000});
  talk.node.send(2'000'000);
  talk.flow(talk.node, 4'000, 250us);

  ASSERT_TRUE(talk.world.run_until([&] { return talk.server.has_end; }, talk.world.now() + 10s));
  EXPECT_EQ(talk.server.received, talk.node.sent());
  talk.world.run_for(1s);
  expect_each_once(talk.server_ear, 3'500);
}

TEST(SealedSession, FollowsANatThatRebinds) {
  Talk talk(9);
  talk.flow(talk.node, 2'000, 10ms);
  talk.flow(talk.server, 2'000, 10ms);
  talk.world.run_for(5s);

  talk.home.router()->reboot(/*has_new_address=*/true);
  talk.world.run_for(17s);

  expect_each_once(talk.server_ear, 1'900);
  expect_each_once(talk.node_ear, 1'600);
  EXPECT_FALSE(talk.node.closed);
}

TEST(SealedSession, MovesToTcpAndBack) {
  Talk talk(10);
  talk.flow(talk.node, 6'000, 10ms);
  talk.flow(talk.server, 6'000, 10ms);
  talk.world.run_for(5s);

  talk.node.cut_udp(true);
  talk.world.run_for(15s);
  const std::size_t before = talk.server_ear.count(kUse);
  EXPECT_TRUE(talk.node_streams.is_stream(talk.node.session->path()->socket));
  talk.world.run_for(5s);
  EXPECT_GT(talk.server_ear.count(kUse), before + 450);

  talk.node.cut_udp(false);
  talk.world.run_for(40s);
  EXPECT_FALSE(talk.node_streams.is_stream(talk.node.session->path()->socket));
  expect_each_once(talk.server_ear, 4'500);
  expect_each_once(talk.node_ear, 4'500);
}

TEST(SealedSession, OneWayFlowsDoNotMakeAPathSuspect) {
  Talk talk(11);
  talk.node.path_changes.clear();
  const auto checks = [&] { return talk.node.session->paths()->counters().checks_sent; };
  const std::uint64_t before = checks();

  talk.flow(talk.node, 6'000, 10ms);
  talk.world.run_for(61s);

  expect_each_once(talk.server_ear, 6'000);
  EXPECT_TRUE(talk.node.path_changes.empty());
  EXPECT_EQ(talk.node.session->paths()->counters().switches, 0U);
  EXPECT_LT(checks() - before, 300U);
}

TEST(SealedSession, OneWayFlowsNoticeADeadPath) {
  Talk talk(17);
  talk.flow(talk.node, 2'000, 10ms);
  talk.world.run_for(5s);
  const auto path = talk.node.session->path();

  talk.node.cut_udp(true);

  const path::PathFinder& finder = *talk.node.session->paths();
  EXPECT_TRUE(talk.world.run_until(
      [&] { return finder.selected() == nullptr || *finder.selected() != *path; },
      talk.world.now() + 3'100ms));
}

/// What an observer of the line has: datagrams of the session as they were sent.
struct Observer {
  explicit Observer(Talk& seen) : talk(seen) {
    talk.node.on_sent([this](ByteView bytes) {
      if (is_sealed_form(bytes) && bytes.size() == 100 + kSealedOverhead) {
        sealed.push_back(to_bytes(bytes));
      }
    });
  }
  void replay(ByteView datagram, const Address& from) {
    talk.server.endpoint().on_datagrams(talk.server.socket(), from, datagram, datagram.size(),
                                        talk.world.now());
    talk.server.poke();
  }

  Talk& talk;
  std::vector<Bytes> sealed;
};

const Address kElsewhere{IpAddress::v4(198, 51, 100, 66), 666};

/// Captures 20 datagrams that also arrived.
void capture(Talk& talk, Observer& observer) {
  for (std::uint32_t i = 0; i < 20; ++i) {
    send_sealed(*talk.node.session, kUse, numbered_payload(i));
    talk.node.poke();
    talk.world.run_for(50ms);
  }
  std::erase_if(observer.sealed, [&](const Bytes& datagram) {  // QUIC's packets of that size.
    return !std::ranges::equal(ByteView(datagram).subspan(1, 8),
                               ByteView(observer.sealed.back()).subspan(1, 8));
  });
  ASSERT_EQ(observer.sealed.size(), 20U);
  ASSERT_EQ(talk.server_ear.count(kUse), 20U);
}

TEST(SealedSession, ReplaysFromAnywhereCauseNothing) {
  Talk talk(12);
  Observer observer(talk);
  capture(talk, observer);
  const auto path = talk.server.session->path();

  for (int i = 0; i < 10'000; ++i) {
    observer.replay(observer.sealed[static_cast<std::size_t>(i) % 20], kElsewhere);
  }
  talk.world.run_for(10s);

  EXPECT_EQ(talk.server_ear.count(kUse), 20U);
  EXPECT_EQ(talk.counters(talk.server).replayed, 10'000U);
  EXPECT_EQ(talk.server.session->path(), path);
  EXPECT_EQ(talk.server.endpoint().session_count(), 1U);
}

TEST(SealedSession, ForgedDatagramsOfTheRightIdCauseNothing) {
  Talk talk(13);
  Observer observer(talk);
  capture(talk, observer);
  Random random(13);
  const std::uint64_t resets = talk.server.endpoint().counters().resets_sent;

  for (int i = 0; i < 20'000; ++i) {
    Bytes forged = observer.sealed[static_cast<std::size_t>(i) % 20];
    random.fill(MutableByteView(forged).subspan(9));
    forged[0] = static_cast<std::byte>(0b0100'0000 | random.below(64));
    if (i % 5 == 0) forged.resize(random.below(forged.size()));
    observer.replay(forged, kElsewhere);
  }
  talk.world.run_for(10s);

  EXPECT_EQ(talk.server_ear.count(kUse), 20U);
  const SealedCounters counters = talk.counters(talk.server);
  EXPECT_EQ(counters.received, 20U);
  EXPECT_GT(counters.forged + counters.stale, 19'000U);
  EXPECT_LE(talk.server.endpoint().counters().resets_sent - resets, 300U);
  send_sealed(*talk.node.session, kUse, numbered_payload(20));
  talk.node.poke();
  talk.world.run_for(100ms);
  EXPECT_EQ(talk.server_ear.count(kUse), 21U);
}

TEST(SealedSession, DatagramsUnderAnotherUsesOrPartysIdCauseNothing) {
  Talk talk(14);
  Observer observer(talk);
  capture(talk, observer);
  const Bytes forward = observer.sealed.back();
  observer.sealed.clear();
  send_sealed(*talk.node.session, SealedUse::kNetwork, numbered_payload(50));
  talk.node.poke();
  talk.world.run_for(50ms);
  ASSERT_FALSE(observer.sealed.empty());
  Bytes swapped = observer.sealed.back();
  ASSERT_FALSE(
      std::ranges::equal(ByteView(swapped).subspan(1, 8), ByteView(forward).subspan(1, 8)));
  std::copy_n(forward.begin() + 1, 8, swapped.begin() + 1);
  swapped[12] = std::byte{100};  // A counter that was not seen.

  observer.replay(swapped, kElsewhere);
  talk.node.endpoint().on_datagrams(talk.node.socket(), talk.server.address(), forward,
                                    forward.size(), talk.world.now());

  EXPECT_EQ(talk.server_ear.count(kUse), 20U);
  EXPECT_EQ(talk.server_ear.count(SealedUse::kNetwork), 1U);
  EXPECT_EQ(talk.counters(talk.server).forged, 1U);
  EXPECT_EQ(talk.node_ear.count(kUse), 0U);
}

/// An Initial may carry any id: one that is a session's gets its sender nowhere.
TEST(SealedSession, InitialsUnderASealedIdReachNoSession) {
  Talk talk(15);
  Observer observer(talk);
  capture(talk, observer);
  Bytes initial(1'200);
  const std::array<std::byte, 6> head{std::byte{0xC3}, {}, {}, {}, std::byte{1}, std::byte{8}};
  std::ranges::copy(head, initial.begin());
  std::copy_n(observer.sealed.back().begin() + 1, 8, initial.begin() + head.size());

  for (int i = 0; i < 100; ++i) observer.replay(initial, kElsewhere);
  talk.world.run_for(30s);

  EXPECT_EQ(talk.server.endpoint().session_count(), 1U);
  EXPECT_EQ(talk.counters(talk.server).forged, 0U);
  EXPECT_TRUE(talk.server.is_up && talk.node.is_up);
}

/// Without a byte of QUIC's own to be answered.
TEST(SealedSession, AServerThatRestartedIsNoticedAtOnce) {
  Talk talk(16);
  talk.flow(talk.node, 6'000, 10ms);
  talk.world.run_for(1s);

  talk.server.restart(27183);

  ASSERT_TRUE(
      talk.world.run_until([&] { return talk.node.closed.has_value(); }, talk.world.now() + 1s));
  EXPECT_EQ(talk.node.closed->kind, CloseReason::Kind::kProtocol);
}

}  // namespace
}  // namespace openp2p::session
