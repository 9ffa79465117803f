// What `openp2p ping` says where no path leads to the peer, with whole nodes in virtual time.

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "sim/internet.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

/// Two homes whose NATs leave no way, and a server that can measure them.
struct HopelessPair {
  HopelessPair()
      : server_host(world, internet.core(), two_addresses()),
        server(server_host, 2),
        laptop(home_a.host(), 3, "laptop"),
        nas(home_b.host(), 4, "nas") {
    const JoinToken token = server.new_token("admin", {.is_reusable = true, .expires_at = {}});
    laptop.join(token);
    nas.join(token);
    world.run_for(15s);  // Both know each other and their NATs.
  }
  static sim::AttachOptions two_addresses() {
    sim::AttachOptions options = sim::line({.delay = 5ms});
    options.v4_addresses = 2;
    return options;
  }

  sim::World world{1};
  sim::Internet internet{world};
  sim::Host server_host;
  sim::Home home_a{internet, sim::NatKind::kSymmetricRandom};
  sim::Home home_b{internet, sim::NatKind::kSymmetricRandom};
  server::SimulatedServer server;
  SimulatedNode laptop, nas;
};

TEST(Ping, SaysWithinFiveSecondsThatNothingCanWork) {
  HopelessPair pair;
  std::vector<agent::PingReply> replies;
  std::optional<TimePoint> told_at;
  const TimePoint begun = pair.world.now();

  const auto error = pair.laptop.node().ping("nas", 1, [&](const agent::PingReply& reply) {
    if (!told_at) told_at = pair.world.now();
    replies.push_back(reply);
    return true;
  });
  ASSERT_FALSE(error);
  pair.laptop.poke();
  pair.world.run_for(20s);

  ASSERT_EQ(replies.size(), 2U);
  EXPECT_LE(*told_at - begun, 5s);
  EXPECT_FALSE(replies[0].rtt);
  EXPECT_EQ(replies[0].reason_code, "both-random");
  ASSERT_TRUE(replies[1].peer);
  EXPECT_FALSE(replies[1].peer->timeline.empty());
  EXPECT_TRUE(replies[1].peer->retry_in);
}

}  // namespace
}  // namespace openp2p::test
