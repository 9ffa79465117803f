// What a node costs when there is nothing to do: each wake-up keeps a processor from sleeping, and
// on a phone or a small NAS it is these that count.

#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <string>

#include "sim/internet.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kService = 80;
constexpr std::uint16_t kLocalFirst = 8'080;
constexpr Duration kSettling = 60s;  // Young sessions still look for better paths.
constexpr Duration kWatched = 10min;

/// A node with a server and so many peers, each with a forward to it that keeps a session.
class Idle {
 public:
  Idle(std::uint64_t seed, std::size_t peers)
      : world_(seed),
        internet_(world_),
        server_host_(sim::make_public_host(internet_)),
        server_(*server_host_, seed ^ 0xa5a5),
        token_(server_.new_token("admin", {.is_reusable = true, .expires_at = {}})) {
    for (std::size_t i = 0; i <= peers; ++i) {
      homes_.emplace_back(internet_, sim::NatKind::kPortRestricted);
      nodes_.emplace_back(homes_.back().host(), seed * 100 + i, "node" + std::to_string(i));
      nodes_.back().join(token_);
    }
    CHECK(run_until([&] { return laptop().node().status().peers_online == peers; }));
    for (std::size_t i = 1; i <= peers; ++i) {
      const auto port = static_cast<std::uint16_t>(kLocalFirst + i);
      const std::string name = "node" + std::to_string(i);
      CHECK(!laptop().forward(name, name, kService, port));
    }
    CHECK(run_until([&] { return laptop().node().status().sessions == peers; }));
  }

  SimulatedNode& laptop() { return nodes_.front(); }
  double wakeups_per_second() {
    world_.run_for(kSettling);
    const std::uint64_t before = laptop().wakeups();
    world_.run_for(kWatched);
    return static_cast<double>(laptop().wakeups() - before) /
           std::chrono::duration<double>(kWatched).count();
  }

 private:
  template <class Done>
  bool run_until(Done&& done) {
    return world_.run_until(done, world_.now() + 60s);
  }

  sim::World world_;
  sim::Internet internet_;
  std::unique_ptr<sim::Host> server_host_;
  server::SimulatedServer server_;
  const JoinToken token_;
  std::list<sim::Home> homes_;
  std::list<SimulatedNode> nodes_;  // The first one is watched.
};

double worst_of_seeds(std::size_t peers) {
  double worst = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    worst = std::max(worst, Idle(seed, peers).wakeups_per_second());
  }
  return worst;
}

TEST(Idle, TwoSessionsWakeTheNodeAboutOnceASecond) {
  const double worst = worst_of_seeds(1);

  RecordProperty("wakeups_per_1000_s", static_cast<int>(1'000 * worst));
  EXPECT_LE(worst, 1.2);
}

/// The exchange of checks (each 4 to 6 s) takes two, and one each 25 s is QUIC's keep-alive.
TEST(Idle, EachFurtherSessionCostsHalfAWakeUpASecond) {
  const double worst = worst_of_seeds(4);

  RecordProperty("wakeups_per_1000_s", static_cast<int>(1'000 * worst));
  EXPECT_LE(worst, 2.7);
}

}  // namespace
}  // namespace openp2p::test
