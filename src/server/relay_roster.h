#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "server/relay_messages.h"
#include "server/relay_schedule.h"
#include "server/store.h"

namespace openp2p::server {

/// What the server knows of those who may relay: what they lend, how long they stay, and what ends
/// report of them. In memory only: after a restart of the server all begin anew, alike.
///
/// Lies are bounded, not trusted: a claim counts for one pair's worth at most (kPairBitsMax),
/// shrinks with each network that got less than it gets elsewhere, and the worst of three reports
/// or more is left out, so that no single network can talk a relay down. Threading: one owner.
class RelayRoster {
 public:
  /// Histories kept, those of nodes offline included: three times the sessions that a server has.
  /// Beyond, the node longest offline is forgotten. Some 200 bytes each.
  static constexpr std::size_t kHistoriesMax = 60'000;
  /// Reports kept of one relay, and of one network about it: many voices instead of a loud one.
  static constexpr std::size_t kReportsMax = 16;
  static constexpr std::size_t kReportsPerNetworkMax = 2;
  /// What was reported longer ago says nothing of a relay now.
  static constexpr Duration kReportAgeMax = std::chrono::hours(6);
  /// After so long, hours served and departures count half: a relay may become better.
  static constexpr Duration kHalfLife = std::chrono::hours(24);

  /// A node is back with another `incarnation` while it was not seen to go: it crashed.
  void on_online(const NodeId& node, const NetworkId& network, std::uint64_t incarnation,
                 TimePoint now);
  /// `is_planned`: it said so, or the server ended the session.
  void on_offline(const NodeId& node, bool is_planned, TimePoint now);
  void on_rtt(const NodeId& node, Duration to_server);
  void on_offer(const NodeId& node, const ShareOffer& offer);
  /// It was named to a pair: counts as an allocation until its next offer, which shows the truth.
  void on_granted(const NodeId& relay);
  void on_report(const NodeId& reporter, const RelayReport& report, TimePoint now);
  /// The server itself, as a relay that never leaves.
  void set_server(const NodeId& key, std::uint64_t bits_per_second);

  bool is_sharing(const NodeId& node) const;        ///< Online, and lends to strangers.
  bool refuses_to_share(const NodeId& node) const;  ///< Said 0: neither lends nor borrows.
  bool has_sharing_node(const NetworkId& network) const;
  /// At most `count` of those that lend, from the first at or after `from`, then around.
  std::vector<NodeId> sharing_nodes(const NodeId& from, std::size_t count) const;
  std::size_t sharing_count() const { return sharing_.size(); }
  std::size_t history_count() const { return histories_.size(); }
  std::uint64_t unplanned_departures() const { return departures_; }

  /// As the schedule weighs it for the pair. Requires that the relay was online once.
  RelayCandidate candidate(const NodeId& relay, RelayKind kind, const NodeId& one,
                           const NodeId& other, TimePoint now) const;

 private:
  struct Report {
    NodeId reporter;
    NetworkId network{};
    TimePoint at;
    Duration rtt{};  ///< 0: not measured.
    double kept = 1;
    double loss = 0;
  };
  struct History {
    NetworkId network{};
    bool is_online = false;
    std::uint64_t incarnation = 0;
    TimePoint counted_at;  ///< `served_hours` and `departures` are as of then.
    double served_hours = 0;
    double departures = 0;
    Duration to_server{};
    std::optional<ShareOffer> offer;
    std::uint32_t granted = 0;  ///< Since the last offer.
    std::vector<Report> reports;
  };
  struct NetworkState {
    std::size_t online = 0;
    std::size_t sharing = 0;
  };

  struct Service {
    double hours = 0;
    double departures = 0;
  };
  struct Quality {
    double kept = 1;
    double loss = 0;
  };
  static Quality quality_of(const History& history, TimePoint now);
  static Service service_of(const History& history, TimePoint now);
  static void count(History& history, TimePoint now);
  void set_sharing(const NodeId& node, const History& history, bool is_sharing);
  void leave_network(const NodeId& node, const History& history);
  bool is_stale(const std::pair<NodeId, TimePoint>& offline) const;
  void forget_oldest();
  Report& report_slot(History& relay, const NodeId& reporter, const NetworkId& network,
                      TimePoint now);
  double kept_now(const RelayReport& report, TimePoint now) const;
  Duration rtt_between(const NodeId& relay, const History& history, const NodeId& end) const;

  std::map<NodeId, History> histories_;
  std::map<NetworkId, NetworkState> networks_;  ///< Those with a node online.
  std::map<NodeId, NetworkId> sharing_;
  std::deque<std::pair<NodeId, TimePoint>> offline_;  ///< Oldest first; some are back since.
  std::optional<NodeId> server_;
  std::uint64_t departures_ = 0;
};

}  // namespace openp2p::server
