#include <gtest/gtest.h>

#include <set>

#include "session/sealed_keys.h"
#include "session/test_party.h"
#include "session/test_sealed.h"

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
        server(*server_host, seed * 2, /*accepts=*/true, 27183),
        node(home.host(), seed * 2 + 1, /*accepts=*/false) {
    node.dial(server.id(), {server.address()});
    world.run_until([&] { return node.is_up && server.is_up; }, world.now() + 20s);
    for (const SealedUse use : {SealedUse::kRelay, SealedUse::kForward, SealedUse::kNetwork}) {
      server.session->set_sealed_handler(use, &server_ear);
      node.session->set_sealed_handler(use, &node_ear);
    }
    world.run_for(1s);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
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

}  // namespace
}  // namespace openp2p::session
