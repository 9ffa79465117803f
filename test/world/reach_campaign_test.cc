// Pairs of homes in which everything changes: any NATs, loss, clocks that disagree, nodes and
// server that restart, routers that reboot, laptops that move. In the end both are connected, or
// are told truly why not.

#include <gtest/gtest.h>

#include <cstdlib>
#include <list>

#include "sim/log_recorder.h"
#include "test/world/random_clock.h"
#include "test/world/reach.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kService = 80;
constexpr std::uint16_t kLocal = 8'080;
/// A search for ports that missed, because something moved meanwhile, is made again once routers
/// have forgotten it: after 2 min and a bit.
constexpr Duration kHealing = 300s;
/// Of all that is tried at once: the worst search, and what is done beside it.
constexpr std::size_t kEntriesMax = 1'100;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// A side of the pair: where its node is now, and where it was.
struct Side {
  Side(sim::Internet& internet, NatKind kind, std::uint64_t seed, const char* name,
       const sim::LinkOptions& line, bool has_mapping, Random& clocks)
      : node_home(&homes.emplace_back(internet, kind, has_mapping, line)),
        node(with_random_clock(node_home->host(), clocks), seed, name),
        host(&node_home->host()) {}

  NatKind kind() { return node_home->home().kind(); }
  void roam(sim::Internet& internet, NatKind to, const sim::LinkOptions& line) {
    node_home = &homes.emplace_back(internet, to, /*has_mapping=*/false, line);
    host->move_to(node_home->home().lan(), node_home->home().host_options());
  }
  void crash() {
    if (node.is_running()) node.crash();
  }
  void start() {
    if (!node.is_running()) node.start();
  }
  std::size_t entries(TimePoint now) {
    std::size_t most = 0;
    for (ReachHome& home : homes) most = std::max(most, home.entries_made(now));
    return most;
  }

  std::list<ReachHome> homes;
  ReachHome* node_home;
  SimulatedNode node;
  sim::Host* host;
};

bool has_told_ports(NatKind kind) {  // New mappings' ports can be known before.
  return kind == NatKind::kSymmetricSequential || kind == NatKind::kSymmetricPreserving;
}
bool is_symmetric(NatKind kind) {
  return std::ranges::find(sim::kEimNatKinds, kind) == sim::kEimNatKinds.end() &&
         kind != NatKind::kUdpBlocked;
}
bool is_udp_blocked(NatKind kind) { return kind == NatKind::kUdpBlocked; }

/// Whether UDP leads through both, whatever else does.
bool has_udp_way(NatKind a, NatKind b) {
  if (is_udp_blocked(a) || is_udp_blocked(b)) return false;
  if (a == NatKind::kIpv6Firewall && b == NatKind::kIpv6Firewall) return true;
  return !is_symmetric(a) || !is_symmetric(b) || (has_told_ports(a) && has_told_ports(b));
}

/// Whether TCP does: its mappings are as those of UDP, and where UDP is blocked they stay.
bool has_tcp_way(NatKind a, NatKind b) {
  const auto is_movable = [](NatKind kind) { return is_symmetric(kind) && !has_told_ports(kind); };
  return !is_movable(a) && !is_movable(b);
}

bool has_block(NatKind one, NatKind other) {
  return one == NatKind::kSymmetricBlocks && other == NatKind::kSymmetricSequential;
}

/// Codes that explain no failure.
bool is_told(const std::string& code) {
  return !code.empty() && code != "none" && code != "checking" && code != "waiting-for-retry";
}

/// Whether the code of a reason fits what the homes are.
bool is_true(const std::string& code, NatKind here, NatKind there) {
  if (code == "both-random") return is_symmetric(here) && is_symmetric(there);
  if (code == "block-missed") return has_block(here, there) || has_block(there, here);
  if (code == "udp-blocked-here") return is_udp_blocked(here);
  if (code == "udp-blocked-there") return is_udp_blocked(there);
  if (code == "udp-blocked-both") return is_udp_blocked(here) && is_udp_blocked(there);
  if (code == "spray-missed") return is_symmetric(here) || is_symmetric(there);
  return code == "no-answer" || code == "no-candidates" || code == "tcp-blocked" ||
         code == "budget-exhausted" || code == "lost-consent";
}

class CampaignWorld {
 public:
  CampaignWorld(std::uint64_t seed, bool has_logs)
      : random_(seed * 0x9e3779b97f4a7c15ULL),
        clocks_(seed),
        world_(seed),
        internet_(world_),
        server_host_(world_, internet_.core(), two_addresses()),
        server_(with_random_clock(server_host_, clocks_), seed ^ 0xa5a5),
        line_(random_line()),
        a_(internet_, random_kind(), seed * 3 + 1, "laptop", line_, random_.chance(0.2), clocks_),
        b_(internet_, random_kind(), seed * 3 + 2, "nas", line_, random_.chance(0.2), clocks_) {
    if (has_logs) a_.node.log = Log(&log_a_);
    if (has_logs) b_.node.log = Log(&log_b_);
    const JoinToken token = server_.new_token("admin", {.is_reusable = true, .expires_at = {}});
    a_.node.join(token);
    b_.node.join(token);
  }

  void run() {
    run_for(10s);
    const auto error = a_.node.forward("web", "nas", kService, kLocal);
    // Whose network lets no UDP out may not have met the server, nor heard of the peer.
    if (error && has_udp_way(a_.kind(), b_.kind())) ADD_FAILURE() << error->text;
    const unsigned faults = static_cast<unsigned>(random_.below(5));
    for (unsigned i = 0; i < faults; ++i) {
      cause_fault();
      run_for(std::chrono::milliseconds(random_.below(8'000)));
    }
    a_.start();
    b_.start();
    if (!server_.is_running()) server_.start();
    heal();
  }
  std::string text() {
    return std::string(nat_kind_text(a_.kind())) + " -> " + std::string(nat_kind_text(b_.kind())) +
           ", loss " + std::to_string(2 * line_.loss) + story_;
  }
  std::string logs() { return "\nlaptop:\n" + log_a_.text() + "\nnas:\n" + log_b_.text(); }

 private:
  static sim::AttachOptions two_addresses() {
    sim::AttachOptions options = sim::line({.delay = 5ms});
    options.v4_addresses = 2;
    return options;
  }
  NatKind random_kind() { return sim::kNatKinds[random_.below(sim::kNatKinds.size())]; }
  sim::LinkOptions random_line() {
    return {.delay = std::chrono::milliseconds(1 + random_.below(60)),
            .jitter = std::chrono::milliseconds(random_.below(5)),
            .loss = 0.05 * random_.fraction()};  // Two lines: up to 10 % together.
  }

  void cause_fault() {
    Side& side = random_.chance(0.5) ? a_ : b_;
    switch (random_.below(5)) {
      case 0:
        ++searches_;
        story_ += ", crash";
        return side.crash();
      case 1:
        story_ += ", start";
        a_.start();
        return b_.start();
      case 2: {
        const NatKind to = random_kind();
        ++searches_;
        story_ += ", roam to " + std::string(nat_kind_text(to));
        return side.roam(internet_, to, line_);
      }
      case 3:
        ++searches_;
        story_ += ", reboot";
        if (sim::Router* router = side.node_home->home().router())
          router->reboot(random_.chance(0.5));
        return;
      case 4:
        story_ += ", server";
        return server_.is_running() ? server_.crash() : server_.start();
    }
  }

  void run_for(Duration duration) {
    for (const TimePoint end = world_.now() + duration; world_.now() < end;) {
      world_.run_for(std::min<Duration>(500ms, end - world_.now()));
      note_entries();
    }
  }
  void note_entries() {
    entries_ = std::max({entries_, a_.entries(world_.now()), b_.entries(world_.now())});
  }
  bool are_connected() {
    return a_.node.node().status().sessions == 1 && b_.node.node().status().sessions == 1;
  }

  void heal() {
    std::string code;
    const TimePoint end = world_.now() + kHealing;
    while (world_.now() < end && !are_connected()) {
      run_for(500ms);
      const auto peers = a_.node.node().peers();
      if (!peers.empty() && is_told(peers.front().reason_code)) code = peers.front().reason_code;
    }
    EXPECT_LE(entries_, searches_ * kEntriesMax);
    if (are_connected()) return;
    EXPECT_FALSE(has_udp_way(a_.kind(), b_.kind())) << code;
    EXPECT_FALSE(has_tcp_way(a_.kind(), b_.kind())) << code;
    EXPECT_TRUE(is_true(code, a_.kind(), b_.kind())) << code;
  }

  Random random_;
  Random clocks_;
  sim::World world_;
  sim::Internet internet_;
  sim::Host server_host_;
  server::SimulatedServer server_;
  const sim::LinkOptions line_;
  sim::LogRecorder log_a_, log_b_;
  Side a_, b_;
  std::size_t entries_ = 0;
  std::size_t searches_ = 1;  // Each NAT is searched anew, and a node that restarts forgets.
  std::string story_;
};

TEST(ReachCampaign, EveryPairEndsConnectedOrWithATrueReason) {
  const std::uint64_t base = number_from("OPENP2P_SIM_SEED_BASE", 1);
  const std::uint64_t count = number_from("OPENP2P_SIM_REACH_COUNT", 200);
  for (std::uint64_t seed = base; seed < base + count; ++seed) {
    CampaignWorld net(seed, /*has_logs=*/count == 1);
    net.run();
    if (!testing::Test::HasFailure()) continue;
    FAIL() << net.text() << "\nreplay: OPENP2P_SIM_SEED_BASE=" << seed
           << " OPENP2P_SIM_REACH_COUNT=1" << net.logs();
  }
}

}  // namespace
}  // namespace openp2p::test
