#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/time.h"
#include "sim/internet.h"
#include "test/world/simulated_node.h"

/// How well two homes reach each other directly: whole nodes, a server, and the routers between
/// them, in virtual time. What docs/reach.md publishes, and what reach_test holds.
namespace openp2p::test {

/// Two homes; `a` is the one that asks for the session.
struct ReachPair {
  sim::NatKind a = sim::NatKind::kNone;
  sim::NatKind b = sim::NatKind::kNone;
  bool has_mapping = false;  ///< Both routers grant port mappings (PCP).
};

/// The conditions of the published table.
struct ReachConditions {
  /// Of each home's access line, each way: home to home takes 50 ms, and back again as long.
  Duration line_delay = std::chrono::milliseconds(25);
  double line_loss = 0.005;                      ///< A packet crosses two lines: 1 % together.
  Duration settling = std::chrono::seconds(8);   ///< Before the wish: NATs are measured.
  Duration patience = std::chrono::seconds(20);  ///< No path by then: not direct.
  unsigned server_mbit = 0;                      ///< What the server relays; 0: nothing.
  Log log_a = {}, log_b = {};                    ///< Of the nodes.
};

/// One pair, one seed.
struct ReachRun {
  bool is_direct = false;
  std::string reason;                  ///< Code and text, where not direct.
  std::optional<Duration> told_after;  ///< From the wish until that reason was said.
  Duration from_wish{};                ///< Until both sides have a path.
  Duration from_candidates{};          ///< The same, since both have each other's candidates.
  std::uint64_t packets = 0;  ///< Sent by both hosts from the wish until then, of all kinds.
  std::size_t conntrack = 0;  ///< Entries more than before in the router that got most.
  std::string method;
};

/// A home, with a carrier of its own where it is behind one, and what its routers remember.
class ReachHome {
 public:
  ReachHome(sim::Internet& internet, sim::NatKind kind, bool has_mapping,
            const sim::LinkOptions& line);

  sim::Home& home() { return *home_; }
  sim::Host& host() { return home_->host(); }
  /// Packets of all protocols that the host sent so far.
  std::uint64_t packets() { return host().interface().up().datagrams(); }
  void mark(TimePoint now);  ///< What the routers know now counts no more.
  /// Entries of the connection tracker made since the mark, in the router that made most.
  std::size_t entries_made(TimePoint now);

 private:
  struct Watched {
    sim::NatTable* udp;
    sim::NatTable* tcp;
    std::size_t before;
    std::size_t entries(TimePoint now) const { return udp->flows(now) + tcp->flows(now); }
  };
  void watch(sim::Router& router);

  std::optional<sim::Carrier> carrier_;
  std::optional<sim::Home> home_;
  std::vector<Watched> watched_;
};

/// Two nodes and a server that both know.
class ReachWorld {
 public:
  ReachWorld(const ReachPair& pair, std::uint64_t seed, const ReachConditions& conditions);

  /// Both have the server and know their NATs. False: one of them has no server.
  bool settle();
  void wish();  ///< a asks for a session with b.
  bool are_both_connected();
  /// How each sees the other.
  agent::PeerStatus seen_by_a() { return a_.node().peers().at(0); }
  agent::PeerStatus seen_by_b() { return b_.node().peers().at(0); }
  std::uint64_t packets() { return home_a_.packets() + home_b_.packets(); }

  sim::World& world() { return world_; }
  sim::Internet& internet() { return internet_; }
  server::SimulatedServer& server() { return server_; }
  ReachHome& home_a() { return home_a_; }
  ReachHome& home_b() { return home_b_; }
  SimulatedNode& a() { return a_; }
  SimulatedNode& b() { return b_; }

 private:
  const ReachConditions conditions_;
  sim::World world_;
  sim::Internet internet_;
  sim::Host server_host_;
  ReachHome home_a_, home_b_;
  server::SimulatedServer server_;
  SimulatedNode a_, b_;
};

ReachRun run_reach(const ReachPair& pair, std::uint64_t seed,
                   const ReachConditions& conditions = {});

/// One cell of the table.
struct ReachCell {
  ReachPair pair;
  unsigned runs = 0;
  unsigned direct = 0;
  std::string reason;                  ///< The most frequent one of those that were not.
  double told_p95_s = 0;               ///< How soon that was said.
  double t_median_s = 0, t_p95_s = 0;  ///< ReachRun::from_candidates of the direct ones.
  double wish_median_s = 0, wish_p95_s = 0;
  std::uint64_t packets_median = 0, packets_p95 = 0;
  std::size_t conntrack_max = 0;
  std::string method;  ///< The most frequent one.

  double direct_rate() const { return runs == 0 ? 0 : static_cast<double>(direct) / runs; }
};
ReachCell summarize(const ReachPair& pair, std::span<const ReachRun> runs);
struct Seeds {
  unsigned count = 0;
  std::uint64_t first = 1;
};
/// Runs each pair with these seeds, on so many threads; worlds share nothing.
std::vector<ReachCell> measure_reach(const std::vector<ReachPair>& pairs, Seeds seeds,
                                     unsigned threads = 1, const ReachConditions& conditions = {});

/// A list with one object a cell: `a`, `b`, `mapping`, `where`, `runs`, `direct_rate`, `reason`, ..
std::string reach_json(const std::vector<ReachCell>& cells);
std::string reach_text(const std::vector<ReachCell>& cells);  ///< A line each.

}  // namespace openp2p::test
