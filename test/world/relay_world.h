#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "server/simulated_server.h"
#include "sim/internet.h"
#include "sim/log_recorder.h"
#include "test/world/applications.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {

/// A laptop and a nas behind NATs that no direct path leads through, and who may relay for them.
struct RelayWorld {
  struct Options {
    sim::NatKind kind_a = sim::NatKind::kSymmetricRandom;
    sim::NatKind kind_b = sim::NatKind::kSymmetricRandom;
    sim::LinkOptions link = {.delay = std::chrono::milliseconds(10)};
    unsigned server_mbit = 0;    ///< What the server relays; 0: nothing.
    bool has_own_relay = false;  ///< A third node of the network, "gate", with a public address.
    bool has_stranger = false;   ///< A node of another network that shares, likewise.
    unsigned share_mbit = 10;    ///< Of laptop and nas.
  };
  static constexpr std::uint16_t kService = 80;
  static constexpr std::uint16_t kLocal = 8'080;

  RelayWorld(std::uint64_t seed, const Options& options)
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        gate_host(sim::make_public_host(internet)),
        stranger_host(sim::make_public_host(internet)),
        home_a(internet, options.kind_a, {.link = options.link}),
        home_b(internet, options.kind_b, {.link = options.link}),
        server(*server_host, seed ^ 0xa5a5),
        a(home_a.host(), seed * 7 + 1, "laptop"),
        b(home_b.host(), seed * 7 + 2, "nas"),
        gate(*gate_host, seed * 7 + 3, "gate"),
        stranger(*stranger_host, seed * 7 + 4, "stranger"),
        options_(options) {
    if (options.server_mbit > 0) {
      server.set_relay(std::uint64_t{options.server_mbit} * 1'000'000);
      server.crash();
      server.start();
    }
    a.lending.share_mbit = b.lending.share_mbit = options.share_mbit;
    stranger.lending.share_mbit = 100;
    a.log = Log(&log);
  }

  bool join() {
    const JoinToken token = server.new_token("admin", {.is_reusable = true, .expires_at = {}});
    a.join(token);
    b.join(token);
    if (options_.has_own_relay) gate.join(token);
    if (options_.has_stranger) {
      CHECK(server.records().create_user({.email = "other",
                                          .password_hash = {},
                                          .network = {std::byte{7}},
                                          .network_name = "other",
                                          .created_at = server::SimulatedServer::kEpoch}));
      stranger.join(server.new_token("other", {.is_reusable = true, .expires_at = {}}));
    }
    const std::size_t others = options_.has_own_relay ? 2 : 1;
    const auto is_ready = [&] {
      const bool is_known = a.is_connected_to_server() && b.is_connected_to_server() &&
                            a.node().status().peers_online == others;
      return is_known && (!options_.has_stranger || stranger.is_connected_to_server());
    };
    if (!run_until(is_ready, std::chrono::seconds(60))) return false;
    world.run_for(std::chrono::seconds(10));  // Both know their NATs, and the server its relays.
    return true;
  }
  template <class Done>
  bool run_until(Done&& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }
  /// A service on the nas that answers each connection with `answer` and keeps what it got.
  void serve(const Bytes& answer) {
    b.platform().serve(kService, [this, answer](sim::PipeEnd& end) {
      served.push_back(std::make_unique<Application>(end, answer));
    });
  }
  agent::PeerStatus seen_by_a() { return seen_by(a, "nas"); }
  agent::PeerStatus seen_by_b() { return seen_by(b, "laptop"); }
  static agent::PeerStatus seen_by(SimulatedNode& node, const std::string& name) {
    for (const agent::PeerStatus& peer : node.node().peers()) {
      if (peer.name == name) return peer;
    }
    return {};
  }
  bool is_relayed() { return seen_by_a().path.starts_with("relayed"); }
  bool is_direct() {
    const std::string path = seen_by_a().path;
    return !path.empty() && !path.starts_with("relayed");
  }

  sim::LogRecorder log;  ///< Of the laptop.
  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host, gate_host, stranger_host;
  sim::Home home_a, home_b;
  server::SimulatedServer server;
  SimulatedNode a, b, gate, stranger;
  std::list<std::unique_ptr<Application>> served;  // On pipes of b's.

 private:
  const Options options_;
};

}  // namespace openp2p::test
