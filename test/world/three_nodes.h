#pragma once

#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <optional>

#include "base/check.h"
#include "server/simulated_server.h"
#include "sim/internet.h"
#include "test/world/applications.h"
#include "test/world/hostile_peer.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {

inline constexpr std::uint16_t kService = 80;  ///< On the nas: gives `file`.
inline constexpr std::uint16_t kOther = 81;
inline constexpr std::uint16_t kLocal = 8'080;  ///< On the laptop: leads to kService.

/// An honest laptop with a forward to an honest nas, and eve, a third member of their network.
struct ThreeNodes {
  explicit ThreeNodes(std::uint64_t seed, double loss = 0)
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home_a(internet, sim::NatKind::kPortRestricted,
               {.link = {.delay = std::chrono::milliseconds(10), .loss = loss}}),
        home_b(internet, sim::NatKind::kFullCone,
               {.link = {.delay = std::chrono::milliseconds(10), .loss = loss}}),
        home_e(internet, sim::NatKind::kFullCone,
               {.link = {.delay = std::chrono::milliseconds(10), .loss = loss}}),
        server(*server_host, seed ^ 0xa5a5),
        a(home_a.host(), seed * 5 + 1, "laptop"),
        b(home_b.host(), seed * 5 + 2, "nas"),
        file(random_bytes(world.random(), 50'000)) {
    const JoinToken token = server.new_token("admin", {.is_reusable = true, .expires_at = {}});
    b.platform().serve(kService, [this](sim::PipeEnd& end) {
      served.push_back(std::make_unique<Application>(end, file));
    });
    a.join(token);
    b.join(token);
    CHECK(run_until([&] { return b.is_connected_to_server() && a.is_connected_to_server(); },
                    std::chrono::seconds(30)));
    eve.emplace(home_e.host(), seed * 5 + 3, token);
    eve->call("nas");
    CHECK(run_until([&] { return eve->session() != nullptr; }, std::chrono::seconds(30)));
    CHECK(!a.forward("web", "nas", kService, kLocal));
  }

  template <class Done>
  bool run_until(Done&& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }
  /// What everything here is about: somebody else's connection works.
  void expect_forward_works() {
    Application client(*a.platform().connect(kLocal), file);
    ASSERT_TRUE(run_until([&] { return client.is_done(); }, std::chrono::seconds(30)));
    EXPECT_EQ(client.received, file) << a.node().forwards().front().reason;
  }
  std::uint64_t bytes_from_eve() {
    for (const agent::PeerStatus& peer : b.node().peers()) {
      if (peer.name == "eve") return peer.bytes_received;
    }
    return 0;
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home_a, home_b, home_e;
  server::SimulatedServer server;
  SimulatedNode a, b;
  std::list<std::unique_ptr<Application>> served;  // On pipes of theirs.
  const Bytes file;
  std::optional<HostilePeer> eve;
};

}  // namespace openp2p::test
