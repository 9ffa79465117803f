// A node whose server says what no server should: it keeps to its limits, says why it left, and
// tries again.

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "agent/test_party.h"
#include "sim/internet.h"
#include "test/world/applications.h"
#include "test/world/hostile_server.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

/// A node whose server belongs to an adversary.
struct Victim {
  explicit Victim(std::uint64_t seed)
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted),
        server(*server_host, seed + 1),
        node(home.host(), seed + 2, "victim") {}

  agent::NodeStatus status() { return node.node().status(); }
  template <class Done>
  bool run_until(Done&& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
  HostileServer server;
  SimulatedNode node;
};

control::Node node_message(const NodeId& id, const std::string& name) {
  control::Node node;
  node.set_id(std::string(as_text(id.key)));
  node.set_name(name);
  node.set_online(true);
  node.set_incarnation(1);
  return node;
}

NodeId numbered_id(std::uint32_t number) {
  NodeId id;
  for (std::size_t i = 0; i < 4; ++i) id.key[i] = static_cast<std::byte>(number >> (24 - 8 * i));
  return id;
}

TEST(HostileServer, GarbageEndsTheSessionAndTheReasonIsTold) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Victim net(seed);
    net.server.on_hello = [&] {
      if (net.server.hellos > 1) return net.server.welcome();
      if (seed % 2 == 0) net.server.welcome();
      Bytes garbage = random_bytes(net.world.random(), 500);
      if (seed % 3 != 0) garbage[0] = garbage[1] = std::byte{0};  // A length that is allowed.
      net.server.send_raw(garbage);
      if (seed % 3 != 0) net.server.send_raw(Bytes(0x10000, std::byte{0xff}));
    };
    net.node.join(net.server.token());

    ASSERT_TRUE(net.run_until([&] { return net.status().server_state == "waiting"; }, 10s));
    EXPECT_NE(net.status().server_reason.find("the server"), std::string::npos)
        << net.status().server_reason;
    ASSERT_TRUE(net.run_until([&] { return net.node.is_connected_to_server(); }, 20s));
  }
}

TEST(HostileServer, MessagesOutOfTurnEndTheSession) {
  control::ServerMessage changed;
  *changed.mutable_node_changed()->mutable_node() = node_message(numbered_id(1), "early");
  Victim early(1);
  early.server.on_hello = [&] { early.server.send(changed); };
  early.node.join(early.server.token());
  ASSERT_TRUE(early.run_until([&] { return early.status().server_state == "waiting"; }, 10s));
  EXPECT_NE(early.status().server_reason.find("out of turn"), std::string::npos);
  EXPECT_EQ(early.status().peers_total, 0U);

  Victim twice(2);
  twice.server.on_hello = [&] {
    twice.server.welcome();
    twice.server.welcome({node_message(numbered_id(1), "late")});
  };
  twice.node.join(twice.server.token());
  ASSERT_TRUE(twice.run_until([&] { return twice.status().server_state == "waiting"; }, 10s));
  EXPECT_NE(twice.status().server_reason.find("out of turn"), std::string::npos);
}

TEST(HostileServer, NamesWithControlCharactersAreNotShown) {
  Victim net(3);
  net.server.on_hello = [&] {
    net.server.welcome(
        {node_message(numbered_id(1), "a\x1b[2Jb"), node_message(numbered_id(2), "two\nlines"),
         node_message(numbered_id(3), "honest"), node_message(numbered_id(4), "../../etc"),
         node_message(numbered_id(5), std::string(64, 'x'))});
    control::ServerMessage renamed;
    *renamed.mutable_node_changed()->mutable_node() = node_message(numbered_id(3), "evil\r");
    net.server.send(renamed);
  };
  net.node.join(net.server.token());
  net.world.run_for(2s);

  const auto peers = net.node.node().peers();
  ASSERT_EQ(peers.size(), 1U);
  EXPECT_EQ(peers[0].name, "honest");
}

TEST(HostileServer, AHugeListOfNodesIsCut) {
  Victim net(4);
  net.server.on_hello = [&] {
    net.server.welcome();
    for (std::uint32_t i = 1; i <= 12'000; ++i) {
      control::ServerMessage changed;
      *changed.mutable_node_changed()->mutable_node() =
          node_message(numbered_id(i), "n" + std::to_string(i));
      net.server.send(changed);
    }
  };
  net.node.join(net.server.token());
  net.world.run_for(10s);

  EXPECT_EQ(net.status().peers_total, 10'000U);
  EXPECT_TRUE(net.node.is_connected_to_server());
}

TEST(HostileServer, SignalsThatNobodySignedOrOfStrangersDoNothing) {
  const agent::Party friend_key(11), stranger(12);
  Victim net(5);
  int sent_back = 0;
  net.server.on_message = [&](const control::ClientMessage& message) {
    if (message.has_signal()) ++sent_back;
  };
  agent::PeerSignal offer;
  offer.from = stranger.id();
  offer.to = net.node.id();
  offer.attempt.fill(std::byte{1});
  offer.agreement_key.fill(std::byte{9});
  offer.tag = path::FinderTag(5);
  net.server.on_hello = [&] {
    net.server.welcome({node_message(friend_key.id(), "friend")});
    net.server.signal(stranger.id(), agent::encode_signal(offer, stranger.key()));
    offer.from = friend_key.id();
    net.server.signal(friend_key.id(), agent::encode_signal(offer, stranger.key()));
    net.server.signal(friend_key.id(), random_bytes(net.world.random(), 300));
    net.server.signal(friend_key.id(), {});
  };
  net.node.join(net.server.token());
  net.world.run_for(5s);

  EXPECT_EQ(sent_back, 0);
  EXPECT_TRUE(net.node.is_connected_to_server());
  EXPECT_EQ(net.node.node().peers().front().session, "none");
}

TEST(HostileServer, AReplayedOfferMakesOneSessionAndAKeyOfLowOrderNone) {
  const agent::Party friend_key(11);
  Victim net(6);
  std::set<std::string> answers;
  net.server.on_message = [&](const control::ClientMessage& message) {
    if (!message.has_signal()) return;
    const auto signal =
        agent::decode_signal(as_bytes(message.signal().body()), net.node.id(), friend_key.id());
    ASSERT_TRUE(signal);
    if (signal->kind == agent::PeerSignal::Kind::kNews) return;
    answers.insert(std::to_string(signal->tag.value()));
  };
  sim::SeededSecrets secrets(13);
  agent::PeerSignal offer;
  offer.from = friend_key.id();
  offer.to = net.node.id();
  offer.tag = path::FinderTag(5);
  net.server.on_hello = [&] {
    net.server.welcome({node_message(friend_key.id(), "friend")});
    offer.attempt.fill(std::byte{1});
    offer.agreement_key.fill(std::byte{0});  // RFC 7748 section 6.1: the result would be known.
    net.server.signal(friend_key.id(), agent::encode_signal(offer, friend_key.key()));
    offer.attempt.fill(std::byte{2});
    offer.agreement_key = AgreementKey::generate(secrets).public_key();
    const Bytes good = agent::encode_signal(offer, friend_key.key());
    for (int i = 0; i < 200; ++i) net.server.signal(friend_key.id(), good);
  };
  net.node.join(net.server.token());
  net.world.run_for(5s);
  EXPECT_EQ(net.node.node().peers().front().session, "connecting");
  net.world.run_for(30s);
  net.server.signal(friend_key.id(), agent::encode_signal(offer, friend_key.key()));  // Much later.
  net.world.run_for(5s);

  EXPECT_EQ(answers.size(), 1U);
  EXPECT_EQ(net.node.node().peers().front().session, "none");
  EXPECT_FALSE(net.node.node().peers().front().reason.empty());
}

TEST(HostileServer, ClosingAtRandomIsSurvivedAndTold) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Victim net(seed);
    Random& random = net.world.random();
    net.server.on_hello = [&] {
      const std::uint64_t choice = random.below(5);
      if (choice != 0) net.server.welcome();
      if (choice == 1) net.server.session->finish(net.server.stream);
      if (choice == 2) net.server.session->reset(net.server.stream, 7);
      if (choice == 3) net.server.session->stop(net.server.stream, 7);
    };
    net.node.join(net.server.token());
    for (int round = 0; round < 8; ++round) {
      net.world.run_for(std::chrono::milliseconds(random.below(3'000)));
      net.server.close(random.below(10), "go\x1b[2Jaway\n");
      if (!net.run_until([&] { return net.status().server_state == "waiting"; }, 30s)) continue;
      const std::string reason = net.status().server_reason;
      EXPECT_FALSE(reason.empty());
      EXPECT_EQ(printable(reason, 500), reason);
      ASSERT_TRUE(net.status().server_retry_in);
    }
    net.server.on_hello = [&] { net.server.welcome(); };
    EXPECT_TRUE(net.run_until([&] { return net.node.is_connected_to_server(); }, 200s));
  }
}

TEST(HostileServer, ARefusalIsFitForATerminalAndKeptWithinBounds) {
  Victim net(7);
  net.server.on_hello = [&] {
    control::ServerMessage refused;
    refused.mutable_refused()->set_code(control::Refused::UNAVAILABLE);
    refused.mutable_refused()->set_text("wait \x1b]0;owned\x07" + std::string(60'000, 'x'));
    refused.mutable_refused()->set_retry_after_s(0xffffffff);
    net.server.send(refused);
  };
  net.node.join(net.server.token());

  ASSERT_TRUE(net.run_until([&] { return !net.node.refusals.empty(); }, 10s));
  const agent::Refusal refusal = net.node.refusals.front();
  EXPECT_FALSE(refusal.is_final);
  EXPECT_EQ(printable(refusal.text, 500), refusal.text);
  EXPECT_LE(refusal.text.size(), 403U);
  EXPECT_LE(*net.status().server_retry_in, 300s);
}

}  // namespace
}  // namespace openp2p::test
