#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/node_context.h"
#include "agent/peer_link.h"
#include "agent/relay_hops.h"
#include "agent/relay_inbox.h"
#include "agent/relay_loss.h"
#include "agent/server_link.h"
#include "relay/relay_client.h"

/// An end's side of relaying: for each peer that an attempt or a session is for, which relays are
/// asked for, which of those granted are used, and the relayed paths that come of it.
///
/// The life of a relayed path: wish -> (server) -> grant, to both ends -> a session with the relay,
/// where there is none -> allocation -> both ends are there -> PathFinder::add_relayed(). Up to
/// kPathsMax a peer, side by side; what fails gives its place to the next one granted. A path stays
/// while the peer is connected, also beside a direct one: then it costs a check each 25 s.
/// Sans-I/O. Threading: one owner.
namespace openp2p::agent {

/// What a person said about relays between this node and a peer. Forwards to one peer share one
/// session, so the strictest word of theirs counts.
struct RelayRule {
  bool is_forbidden = false;
  bool no_strangers = false;
  bool is_pinned = false;  ///< `only` are allowed, and no others.
  std::vector<NodeId> only;
  std::string reason;  ///< Why forbidden, for people.
};

/// What Relays needs to know of the node, and asks of it.
class RelaysHost {
 public:
  virtual ~RelaysHost() = default;
  virtual RelayRule relay_rule(const PeerLink& peer) const = 0;
  /// Somebody needs the peer for itself, not only as a relay.
  virtual bool is_wanted_for_itself(const PeerLink& peer) const = 0;
  /// Direct paths through this node's NATs are rare: relays are reached without waiting for one.
  virtual bool is_hard_to_reach() const = 0;
  /// A node of this network; nullptr: not known.
  virtual PeerLink* own_node(const NodeId& id) const = 0;
  /// A node of another network with which there is, or is to be, a session; nullptr: none.
  virtual PeerLink* known_stranger(const NodeId& id) const = 0;
  /// Wants the session with a relay, of whatever kind, until that time; nullptr: cannot.
  virtual PeerLink* reach_relay(const GrantedRelay& relay, TimePoint until) = 0;
  /// Nodes of this network with a session over a direct path: relays that need no ticket.
  virtual std::vector<PeerLink*> connected_nodes() const = 0;
  /// A signal that a node of this network carried.
  virtual void on_letter(const NodeId& relay, const NodeId& from, ByteView body) = 0;
};

class Relays final : public relay::RelayClientHandler {
 public:
  static constexpr std::size_t kPathsMax = 2;      ///< A peer: one may go, and the session stays.
  static constexpr std::size_t kTriedMax = 3;      ///< While none carries: what a server names.
  static constexpr std::size_t kPeersMax = 1'024;  ///< As RelayClient::kAllocationsMax.
  /// Long enough for another to be tried; the only one there is gets its next chance soon.
  static constexpr Duration kShunFor = std::chrono::seconds(10);
  /// Between relays that are left for their losses: where a line of one's own loses, all do.
  static constexpr Duration kStayFirst = std::chrono::minutes(1);
  static constexpr Duration kStayMax = std::chrono::minutes(30);

  Relays(NodeContext& context, ServerLink& server, RelayHops& hops, RelaysHost& host);
  ~Relays() override;

  void on_attempt(PeerLink& peer);  ///< This node asks; PeerLinkHandler::on_attempt().
  void on_meeting(PeerLink& peer);
  void on_peer_path(PeerLink& peer);
  void on_session_down(PeerLink& peer);
  void on_peer_gone(PeerLink& peer);
  void on_grant(const RelayGrant& grant);
  /// A session that may lead to a relay is there, or got a path.
  void on_hop_ready() { is_due_ = true; }
  void on_server_connected();
  void on_rule_changed();

  bool needs(const NodeId& relay) const;
  /// This node's end at a node of its network as a relay; nullptr: not now.
  relay::RelayClient* client_of(PeerLink& relay);
  /// True: the datagrams were for a relayed path, and are on their way.
  bool carry(const session::Transmit& transmit, ByteView bytes);
  /// Hands in what relays brought. To be called after each input of datagrams.
  void deliver();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();  ///< Between inputs: what hops that came make possible.
  void stop();

  /// How a relayed path in use is named to people.
  struct Via {
    RelayKind kind = RelayKind::kOwn;
    NodeId id;
  };
  std::optional<Via> via(SocketId socket) const;
  /// Why there is no relay for the peer; empty where there is one, or none was asked for.
  std::string reason(const PeerLink& peer) const;
  struct PathReport {
    NodeId peer;
    Via via;
    bool is_joined = false;
    bool is_in_use = false;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    Duration age{};
  };
  std::vector<PathReport> report() const;
  std::uint64_t bytes_borrowed() const { return bytes_borrowed_; }

  // relay::RelayClientHandler
  TimePoint now() const override { return context_.now; }
  void on_allocated(relay::RelayClient& client, std::uint64_t number,
                    const relay::AllocatedMessage& allocated) override;
  void on_refused(relay::RelayClient& client, const relay::RefusedMessage& refused) override;
  void on_joined(relay::RelayClient& client, relay::Channel channel) override;
  void on_left(relay::RelayClient& client, relay::Channel channel, std::string_view why) override;
  void on_relayed(relay::RelayClient& client, relay::Channel channel, MutableByteView datagram,
                  TimePoint now) override;
  void on_letter(relay::RelayClient& client, const NodeId& from, ByteView body) override {
    host_.on_letter(client.relay(), from, body);
  }
  void on_letter_failed(relay::RelayClient&, const NodeId&) override {}
  void on_relay_lost(relay::RelayClient& client) override;

 private:
  struct Peer;
  /// One relay of a grant, from the decision for it to its end.
  struct RelayedPath {
    enum class State {
      kWaiting,     ///< For a direct path to make it needless.
      kReaching,    ///< For a session with the relay.
      kAllocating,  ///< For its answer.
      kAlone,       ///< For the other end.
      kJoined,
    };
    Peer* peer = nullptr;
    GrantedRelay relay;
    State state = State::kWaiting;
    TimePoint since;
    TimePoint deadline;  ///< Of the state; never of kJoined.
    relay::RelayClient* client = nullptr;
    std::uint64_t number = 0;
    relay::Channel channel = 0;
    Path path;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    // Goodput, for RelayReport: the best second since the last one.
    TimePoint second_began_at;
    std::uint64_t second_bytes = 0;
    std::uint64_t best_bits_per_second = 0;
    TimePoint report_at;
    std::optional<Duration> best_rtt;  ///< End to end, as the peer's session measured it.
    bool is_doubted = false;           ///< It became slow or silent: another is tried beside it.
    RelayLoss loss;
    std::optional<TimePoint> leave_by;  ///< It loses too much: another has until then to come.
  };
  struct Shunned {
    NodeId relay;
    TimePoint until;
  };
  struct Peer {
    PeerLink* link = nullptr;
    std::list<RelayedPath> paths;
    std::vector<GrantedRelay> spare;  ///< Granted and not used yet, best first.
    TimePoint granted_at;
    std::vector<Shunned> shunned;
    std::optional<TimePoint> wish_at;
    unsigned wishes = 0;                      ///< Since there was a path.
    std::optional<TimePoint> release_at;      ///< Nobody needs relays to this peer any more.
    std::optional<TimePoint> trim_at;         ///< A direct path has lasted: one relay is enough.
    TimePoint stay_until = TimePoint::min();  ///< Before it, no relay is left for its losses.
    Duration stay_rest = kStayFirst;
    std::string reason;
  };
  using State = RelayedPath::State;

  // relays.cc
  void trim(Peer& peer);
  void trust(Peer& peer);
  Peer* find(const PeerLink& link);
  Peer* take_on(PeerLink& link);
  void drop(Peer& peer);
  void wish(Peer& peer);
  void grant_own(Peer& peer);
  void wish_soon(Peer& peer, Duration wait);
  void tend(Peer& peer);
  std::optional<TimePoint> deadline_of(const Peer& peer) const;

  // relayed_path.cc
  void use_spare(Peer& peer);
  bool has_good(Peer& peer, const GrantedRelay& relay);
  bool may_use(const Peer& peer, const GrantedRelay& relay, const RelayRule& rule) const;
  void advance(RelayedPath& path);
  void allocate(RelayedPath& path, session::Session& session);
  session::Session* session_with(const GrantedRelay& relay) const;
  RelayHops::Use router_of(const GrantedRelay& relay) const;
  void join(RelayedPath& path);
  void put_in(RelayedPath& path);
  void end(RelayedPath& path, bool is_failure);
  void clear_ended(Peer& peer);
  RelayedPath* find(const relay::RelayClient& client, relay::Channel channel);
  RelayedPath* find_asked(const relay::RelayClient& client, std::uint64_t number);
  bool is_in_use(const RelayedPath& path) const;
  std::size_t places(const Peer& peer) const;
  static void shun(Peer& peer, const NodeId& relay, TimePoint until);

  // relayed_path_watch.cc
  void count(RelayedPath& path, std::size_t bytes);
  void judge(RelayedPath& path);
  void judge_time(RelayedPath& path, const path::PairReport& pair);
  void watch_loss(RelayedPath& path);
  void judge_loss(RelayedPath& path);
  bool has_other(const RelayedPath& path) const;
  void stay_a_while(Peer& peer);
  void tell_report(RelayedPath& path, bool is_unusable);

  NodeContext& context_;
  ServerLink& server_;
  RelayHops& hops_;
  RelaysHost& host_;
  std::map<NodeId, Peer> peers_;
  std::unordered_map<SocketId, RelayedPath*> by_socket_;  ///< Joined ones.
  std::map<std::pair<const relay::RelayClient*, relay::Channel>, RelayedPath*> by_channel_;
  RelayInbox inbox_;
  std::uint32_t next_socket_ = path::kRelayedSocketFirst;
  std::uint64_t next_wish_ = 1;
  bool is_due_ = false;  ///< All peers are to be tended: not from inside a call about one of them.
  std::uint64_t bytes_borrowed_ = 0;  ///< Through strangers' nodes and the server.
};

}  // namespace openp2p::agent
