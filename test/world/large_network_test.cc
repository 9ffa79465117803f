// Networks of more nodes than one Welcome tells of.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "sim/internet.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

/// A network with members that were never seen online, and one node of it that is.
struct LargeNetwork {
  LargeNetwork(std::uint64_t seed, std::size_t others)
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted),
        server(*server_host, seed + 1),
        node(home.host(), seed + 2, "laptop"),
        token(server.new_token("admin", {.is_reusable = true, .expires_at = {}})) {
    for (std::size_t i = 0; i < others; ++i) add_member(i);
    node.join(token);
    CHECK(run_until([&] { return node.is_connected_to_server(); }));
    world.run_for(1s);
  }

  static NodeId id_of(std::size_t number) {
    NodeId id;
    id.key[0] = static_cast<std::byte>(number >> 8);
    id.key[1] = static_cast<std::byte>(number);
    return id;
  }
  void add_member(std::size_t number) {
    CHECK(server.records().join({.secret_hash = sha256(token.secret),
                                 .node = id_of(number),
                                 .name = "n" + std::to_string(number),
                                 .version = "",
                                 .platform = "",
                                 .now = server::SimulatedServer::kEpoch}));
  }
  void remove_member(std::size_t number) {
    CHECK(server.records().remove(id_of(number), server::SimulatedServer::kEpoch));
  }
  template <class Done>
  bool run_until(Done&& done) {
    return world.run_until(done, world.now() + 60s);
  }
  std::size_t peers() { return node.node().peers().size(); }
  bool knows(std::size_t number) {
    return std::ranges::count(node.node().peers(), id_of(number), &agent::PeerStatus::id) == 1;
  }
  /// The node loses the server, `change` happens meanwhile, and it comes back.
  template <class Change>
  void while_away(Change&& change) {
    server.crash();
    world.run_for(5s);
    change();
    server.start();
    ASSERT_TRUE(run_until([&] { return !node.is_connected_to_server(); }));
    ASSERT_TRUE(run_until([&] { return node.is_connected_to_server(); }));
    world.run_for(1s);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home;
  server::SimulatedServer server;
  SimulatedNode node;
  const JoinToken token;
};

TEST(LargeNetwork, EveryNodeIsToldOfHoweverManyThereAre) {
  for (const std::size_t others : {254U, 255U, 256U, 257U, 600U}) {
    SCOPED_TRACE(others);
    LargeNetwork net(others, others);

    EXPECT_EQ(net.peers(), others);
    EXPECT_TRUE(net.knows(others - 1));
  }
}

TEST(LargeNetwork, WhoWasRemovedMeanwhileIsForgottenWhereTheWelcomeTellsOfAll) {
  LargeNetwork net(1, 20);

  net.while_away([&] { net.remove_member(7); });

  EXPECT_EQ(net.peers(), 19U);
  EXPECT_FALSE(net.knows(7));
}

/// The Welcome of a large network names but a part: who is not in it is not gone.
TEST(LargeNetwork, WhoIsNotInTheWelcomeIsNotForgotten) {
  LargeNetwork net(2, 600);

  net.while_away([&] { net.add_member(600); });

  EXPECT_EQ(net.peers(), 601U);
  for (std::size_t i = 0; i <= 600; ++i) EXPECT_TRUE(net.knows(i)) << i;
}

}  // namespace
}  // namespace openp2p::test
