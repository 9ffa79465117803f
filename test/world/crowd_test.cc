// Much at once: both nodes call each other, and more connections than a session has streams.

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <set>
#include <string>
#include <vector>

#include "test/world/three_nodes.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

std::string session_of(SimulatedNode& node, const std::string& peer) {
  for (const agent::PeerStatus& status : node.node().peers()) {
    if (status.name == peer) return status.session;
  }
  return "unknown";
}

TEST(Glare, BothSidesCallAtOnceAndOneSessionRemains) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ThreeNodes net(seed, /*loss=*/0.05);
    ASSERT_FALSE(net.a.node().remove_forward("web"));
    net.world.run_for(5s);
    for (SimulatedNode* node : {&net.a, &net.b}) node->crash();
    for (SimulatedNode* node : {&net.a, &net.b}) {
      node->start();
      node->platform().serve(kOther, [&](sim::PipeEnd& end) {
        net.served.push_back(std::make_unique<Application>(end, net.file));
      });
    }
    ASSERT_TRUE(net.run_until(
        [&] {
          return net.a.is_connected_to_server() && net.b.is_connected_to_server() &&
                 net.a.node().status().peers_online == 2 && net.b.node().status().peers_online == 2;
        },
        60s));

    ASSERT_FALSE(net.a.forward("there", "nas", kOther, kLocal));
    ASSERT_FALSE(net.b.forward("back", "laptop", kOther, kLocal));
    Application there(*net.a.platform().connect(kLocal), {});
    Application back(*net.b.platform().connect(kLocal), {});

    ASSERT_TRUE(net.run_until([&] { return there.is_done() && back.is_done(); }, 30s));
    EXPECT_EQ(there.received, net.file) << net.a.node().forwards().front().reason;
    EXPECT_EQ(back.received, net.file) << net.b.node().forwards().front().reason;
    EXPECT_EQ(net.a.node().status().sessions, 1U);
  }
}

/// Offers that cross on the way, or that one side sends while the other's is all but there.
TEST(Glare, OffersThatCrossWithAnySkewEndInOneSessionThatStays) {
  for (int skew_ms = 0; skew_ms <= 200; skew_ms += 4) {
    SCOPED_TRACE(testing::Message() << "skew " << skew_ms << " ms");
    ThreeNodes net(static_cast<std::uint64_t>(skew_ms) + 1);
    ASSERT_FALSE(net.a.node().remove_forward("web"));
    const bool is_a_first = skew_ms % 8 == 0;
    SimulatedNode& first = is_a_first ? net.a : net.b;
    SimulatedNode& second = is_a_first ? net.b : net.a;
    int answered = 0;
    const auto ping = [&](SimulatedNode& from, const char* to) {
      from.node().advance(net.world.now());
      ASSERT_FALSE(from.node().ping(to, 1, [&](const agent::PingReply& reply) {
        if (reply.rtt) ++answered;
        return true;
      }));
      from.poke();
    };

    ping(first, is_a_first ? "nas" : "laptop");
    net.world.run_for(std::chrono::milliseconds(skew_ms));
    ping(second, is_a_first ? "laptop" : "nas");

    ASSERT_TRUE(net.run_until([&] { return answered == 2; }, 3s));
    for (int i = 0; i < 50; ++i) {
      net.world.run_for(100ms);
      ASSERT_EQ(net.a.node().status().sessions, 1U);
    }
    EXPECT_EQ(session_of(net.a, "nas"), "connected");
    EXPECT_EQ(session_of(net.b, "laptop"), "connected");
  }
}

TEST(Glare, ASessionThatOneSideLostIsMadeAnewWithoutCrossing) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ThreeNodes net(seed);
    net.expect_forward_works();
    net.world.run_for(10s);

    net.b.crash();
    net.b.start();
    ASSERT_FALSE(net.b.forward("back", "laptop", kOther, kLocal));  // Calls as soon as it can.
    ASSERT_TRUE(net.run_until([&] { return net.b.is_connected_to_server(); }, 10s));
    net.world.run_for(4s);

    EXPECT_EQ(net.a.node().status().sessions, 1U);
    net.expect_forward_works();
  }
}

TEST(Crowd, MoreConnectionsThanStreamsAllArriveIntact) {
  ThreeNodes net(9);
  constexpr std::size_t kCount = 1'400;
  std::list<Application> clients;
  std::vector<Bytes> questions;
  for (std::size_t i = 0; i < kCount; ++i) {
    questions.push_back(random_bytes(net.world.random(), 1 + net.world.random().below(3'000)));
  }
  Application first(*net.a.platform().connect(kLocal), {});
  ASSERT_TRUE(net.run_until([&] { return first.is_done(); }, 10s));
  net.served.clear();
  net.b.platform().serve(kService, [&](sim::PipeEnd& end) {
    net.served.push_back(std::make_unique<Application>(end, Bytes(5'000, std::byte{3})));
  });
  for (const Bytes& question : questions) {
    clients.emplace_back(*net.a.platform().connect(kLocal), question);
  }

  const auto is_done = [](const Application& client) { return client.is_done(); };
  ASSERT_TRUE(net.run_until([&] { return std::ranges::all_of(clients, is_done); }, 20s));

  std::multiset<Bytes> sent(questions.begin(), questions.end()), arrived;
  for (const auto& application : net.served) arrived.insert(application->received);
  EXPECT_TRUE(sent == arrived);
  for (const Application& client : clients) {
    ASSERT_TRUE(client.has_end);
    ASSERT_EQ(client.received, Bytes(5'000, std::byte{3}));
  }
  EXPECT_EQ(net.a.node().forwards().front().connections_failed, 0U);
}

}  // namespace
}  // namespace openp2p::test
