#include <gtest/gtest.h>

#include "server/simulated_server.h"
#include "server/test_node.h"
#include "sim/internet.h"

/// What the network and strangers do to a server.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using control::ServerMessage;

/// A world with one server and nodes at its ends, each behind a line of its own.
class HostileWorld {
 public:
  explicit HostileWorld(std::uint64_t seed, const sim::LinkOptions& line = {.delay = 10ms})
      : world(seed), internet(world), line_(line) {
    secret = server.new_token("admin", {.is_reusable = true, .expires_at = {}}).secret;
  }

  sim::Host& add_host() { return *hosts.emplace_back(sim::make_public_host(internet, line_)); }
  TestNode& add_node() {
    const std::uint64_t number = nodes.size();
    return *nodes.emplace_back(std::make_unique<TestNode>(
        add_host(), server,
        TestNode::Options{.key_seed = 1'000 + number, .seed = world.seed() * 100 + number}));
  }
  template <class Done>
  bool run_until(Done done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host = sim::make_public_host(internet);
  SimulatedServer server{*server_host, 7};
  Bytes secret;
  std::vector<std::unique_ptr<sim::Host>> hosts;
  std::vector<std::unique_ptr<TestNode>> nodes;

 private:
  sim::LinkOptions line_;
};

/// What a node was told of the others, in the end.
std::map<std::string, bool> view_of(const TestNode& node) {
  std::map<std::string, std::pair<std::string, bool>> by_id;
  const auto learn = [&](const control::Node& told) {
    if (told.id() != as_text(node.id().key)) by_id[told.id()] = {told.name(), told.online()};
  };
  for (const ServerMessage& message : node.heard) {
    if (message.has_welcome()) by_id.clear();
    for (const auto& told : message.welcome().nodes()) learn(told);
    if (message.has_node_changed()) learn(message.node_changed().node());
    if (message.has_node_removed()) by_id.erase(message.node_removed().id());
  }
  std::map<std::string, bool> view;
  for (const auto& [id, told] : by_id) view[told.first] = told.second;
  return view;
}

TEST(HostileNetwork, NodesThatComeAndGoOverLossyLinesEndWithOneView) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const double loss = 0.02 * static_cast<double>(seed % 6);
    HostileWorld at(seed, {.delay = 20ms, .jitter = 10ms, .loss = loss});
    for (int i = 0; i < 5; ++i) at.add_node().join(at.secret, "n" + std::to_string(i));

    Random& random = at.world.random();
    for (int i = 0; i < 12; ++i) {
      at.world.run_for(std::chrono::milliseconds(random.below(1'500)));
      TestNode& node = *at.nodes[random.below(at.nodes.size())];
      if (node.is_welcome() && !node.is_closed() && random.chance(0.7)) node.leave();
      if (node.is_closed()) node.come_back();
      if (i == 6) {
        at.server.crash();
        at.server.start();
      }
    }
    // The last one leaves for good; all others are back after a minute, whatever they were doing.
    for (int round = 0; round < 4; ++round) {
      at.world.run_for(25s);
      for (std::size_t i = 0; i + 1 < at.nodes.size(); ++i) {
        if (at.nodes[i]->is_closed()) at.nodes[i]->come_back();
      }
      if (!at.nodes.back()->is_closed()) at.nodes.back()->leave();
    }
    at.world.run_for(60s);

    EXPECT_EQ(at.server.core().online_count(), at.nodes.size() - 1);
    for (std::size_t i = 0; i + 1 < at.nodes.size(); ++i) {
      const auto view = view_of(*at.nodes[i]);
      EXPECT_EQ(view.size(), at.nodes.size() - 1) << "node " << i;
      for (const auto& [name, is_online] : view) {
        EXPECT_EQ(is_online, name != "n4") << "node " << i << " about " << name;
      }
    }
  }
}

TEST(HostileNetwork, GarbageAtThePortHurtsNobody) {
  HostileWorld at(3);
  TestNode& member = at.add_node();
  member.join(at.secret, "member");
  ASSERT_TRUE(at.run_until([&] { return member.is_welcome(); }, 5s));
  sim::UdpSocket& socket = at.add_host().open_udp();
  Random random(9);

  for (int i = 0; i < 5'000; ++i) {
    Bytes datagram(1 + random.below(1'400));
    random.fill(datagram);
    if (i % 3 == 0) datagram[0] = std::byte{0xc3};  // A long header: an Initial, perhaps.
    if (i % 3 == 1) datagram[0] = std::byte{0x00};  // STUN, perhaps.
    socket.send(at.server.address(), datagram);
    if (i % 50 == 0) at.world.run_for(10ms);
  }
  at.world.run_for(5s);

  EXPECT_EQ(at.server.core().session_count(), 1U);
  EXPECT_FALSE(member.is_closed());
  TestNode& other = at.add_node();
  other.join(at.secret, "other");
  EXPECT_TRUE(at.run_until([&] { return other.is_welcome(); }, 5s));
}

TEST(HostileClients, GarbageInTheControlStreamEndsOnlyTheirOwnSession) {
  HostileWorld at(4);
  TestNode& member = at.add_node();
  member.join(at.secret, "member");
  ASSERT_TRUE(at.run_until([&] { return member.is_welcome(); }, 5s));
  Random random(5);

  for (int i = 0; i < 60; ++i) {
    TestNode& node = at.add_node();
    node.dial();
    ASSERT_TRUE(at.run_until([&] { return node.is_established(); }, 5s));
    Bytes message(random.below(300));
    random.fill(message);
    if (random.chance(0.5)) {
      node.say_bytes(message);  // A good frame around it.
    } else {
      node.write(message);
    }
    at.world.run_for(100ms);
  }
  at.world.run_for(Core::kHelloTimeout + 5s);

  EXPECT_EQ(at.server.core().session_count(), 1U);
  EXPECT_FALSE(member.is_closed());
  EXPECT_EQ(view_of(member).size(), 0U);
}

TEST(HostileClients, ANetworkFullOfNodesIsWelcomedWhole) {
  HostileWorld at(5);
  for (std::size_t i = 0; i < kNodesPerNetworkMax - 2; ++i) {
    NodeId id;
    id.key[0] = std::byte(i & 255);
    id.key[1] = std::byte(i >> 8);
    ASSERT_TRUE(at.server.records().join({.secret_hash = sha256(at.secret),
                                          .node = id,
                                          .name = std::string(58, 'n') + std::to_string(i),
                                          .version = "1",
                                          .platform = "p",
                                          .now = SimulatedServer::kEpoch}));
  }
  TestNode& first = at.add_node();
  first.join(at.secret, "first");
  TestNode& second = at.add_node();
  second.join(at.secret, "second");
  TestNode& third = at.add_node();
  ASSERT_TRUE(at.run_until([&] { return second.is_welcome() && first.is_welcome(); }, 10s));
  third.join(at.secret, "third");
  ASSERT_TRUE(at.run_until([&] { return third.is_closed(); }, 10s));

  ASSERT_NE(third.find(ServerMessage::kRefused), nullptr);
  EXPECT_EQ(third.find(ServerMessage::kRefused)->refused().code(), control::Refused::LIMIT_REACHED);
  EXPECT_TRUE(at.run_until([&] { return view_of(second).size() == kNodesPerNetworkMax - 1; }, 10s));
  EXPECT_TRUE(view_of(second).at("first"));
}

}  // namespace
}  // namespace openp2p::server
