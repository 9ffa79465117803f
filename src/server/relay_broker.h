#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/crypto.h"
#include "base/random.h"
#include "path/token_bucket.h"
#include "server/credit_ledger.h"
#include "server/directory.h"
#include "server/moment.h"
#include "server/relay_permits.h"
#include "server/relay_roster.h"
#include "server/relay_secrets.h"

namespace openp2p::server {

/// Answers wishes for relays: who may relay for this pair, in which order (relay_schedule.h), with
/// tickets for both ends.
///
/// Grants only within what directory, roster and ledger say: the two are of one network and online;
/// a stranger's relay only for those who may borrow. Sans-I/O: calls in, poll_send() out.
/// Threading: one owner.
class RelayBroker {
 public:
  /// Of one network: all peers of a few nodes at once after a change of network, then 8 a second.
  static constexpr int kWishesBurstMax = 512;
  static constexpr Duration kWishInterval = std::chrono::milliseconds(125);
  /// Looked at for one wish: so many drawn from any number are as good as the best of them.
  static constexpr std::size_t kOwnConsideredMax = 64;
  static constexpr std::size_t kStrangersConsideredMax = 256;
  /// Both ends ask at about the same time: the second is told what both were told already.
  static constexpr Duration kSameGrant = std::chrono::seconds(5);
  static constexpr std::size_t kGrantsRememberedMax = 8'192;

  struct Options {
    NodeId server;
    std::uint64_t server_bits_per_second = 0;  ///< 0: the server does not relay.
    SecretSource* secrets = nullptr;           ///< Draws allocation ids.
    std::uint64_t seed = 0;
  };
  RelayBroker(const Options& options, const RelaySecrets& relay_secrets, const Directory& directory,
              const CreditLedger& ledger);

  RelayRoster& roster() { return roster_; }
  const RelayRoster& roster() const { return roster_; }

  /// The node was welcomed: it hears the secret of its own relay.
  void on_arrival(ConnectionId connection, const NodeId& node);
  void on_wish(ConnectionId from, const RelayWish& wish, Moment now, WallTime server_time);
  /// An allocation of theirs is in use.
  void on_use(const NodeId& relay, const NodeId& end, TimePoint now);
  /// Whether the two, of different networks, may signal to each other.
  bool may_signal(const NodeId& one, const NodeId& other, TimePoint now) const;
  void on_removed(const NodeId& node) { permits_.forget(node); }
  void forget_network(const NetworkId& network) { wishes_.erase(network); }

  /// Why a network's nodes may not borrow; both empty: they may.
  struct Refusal {
    std::string name;
    std::string text;
  };
  Refusal standing(const NetworkId& network, const NodeId& one, const NodeId& other,
                   WallTime now) const;
  Credit credit(const NodeId& node, const NetworkId& network, WallTime now) const;

  struct Send {
    ConnectionId to;
    Bytes message;
  };
  std::optional<Send> poll_send();

  struct Counters {
    std::uint64_t wishes = 0;
    std::uint64_t grants = 0;  ///< With a relay in it.
    std::uint64_t limited = 0;
    std::uint64_t permits_full = 0;
  };
  const Counters& counters() const { return counters_; }
  std::size_t permit_count() const { return permits_.size(); }

 private:
  struct Pair {
    NodeId one;
    NodeId other;
    NetworkId network{};
  };
  struct Remembered {
    NodeId asker;
    bool no_strangers = false;
    std::vector<GrantedRelay> relays;
    TimePoint until;
  };
  using PairKey = std::pair<NodeId, NodeId>;

  void refuse(ConnectionId to, const RelayWish& wish, const char* name, std::string text);
  bool repeat(ConnectionId to, const NodeId& asker, const RelayWish& wish, TimePoint now);
  void remember(const NodeId& asker, const RelayWish& wish, const RelayGrant& grant, TimePoint now);
  std::vector<RelayCandidate> find_candidates(const Pair& pair, const RelayWish& wish,
                                              Refusal& reason, Moment now);
  void add_own(const Pair& pair, const RelayWish& wish, std::vector<RelayCandidate>& out,
               TimePoint now);
  void add_strangers(const Pair& pair, const RelayWish& wish, std::vector<RelayCandidate>& out,
                     TimePoint now);
  void add_if_wished(const RelayWish& wish, const Pair& pair, const NodeId& relay, RelayKind kind,
                     std::vector<RelayCandidate>& out, TimePoint now) const;
  std::optional<GrantedRelay> grant(const Pair& pair, const RelayCandidate& candidate, Moment now,
                                    WallTime server_time);
  NodeId random_id();

  const Options options_;
  const RelaySecrets& relay_secrets_;
  const Directory& directory_;
  const CreditLedger& ledger_;
  RelayRoster roster_;
  RelayPermits permits_;
  Random random_;
  std::map<NetworkId, path::TokenBucket> wishes_;
  std::map<PairKey, Remembered> remembered_;
  std::deque<PairKey> remembered_order_;
  std::deque<Send> sends_;
  Counters counters_;
};

}  // namespace openp2p::server
