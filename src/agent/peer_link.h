#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/peer_signal.h"
#include "agent/server_link.h"
#include "agent/stream_users.h"
#include "path/planner.h"
#include "session/session.h"

/// This node's relation to one peer: signalling, the session, and who uses its streams.
///
/// An attempt: offer -> (server) -> answer, each with a fresh X25519 key, signed; both sides then
/// know the check key and each other's candidates, start checks, and the offerer dials QUIC over
/// the first path found. If both offer at once, the smaller NodeId's offer is kept. A failed
/// attempt is repeated with backoff while somebody wants the session.
///
/// While a relay carries the session, a direct path is looked for in further rounds of the same
/// attempt (peer_link_upgrade.cc): ever more rarely, and at once when a network changes.
namespace openp2p::agent {

class PeerLink;

class PeerLinkHandler {
 public:
  virtual ~PeerLinkHandler() = default;
  virtual bool send_signal(const NodeId& to, ByteView body, std::uint64_t number) = 0;
  /// How the signal that was sent last travels, for people.
  virtual std::string_view signal_way() const { return "through the server"; }
  virtual std::vector<path::Candidate> local_candidates() const = 0;
  /// What this node knows of the NATs in front of it.
  virtual path::SideProfile profile() const = 0;
  /// Where a NAT counts its ports up, what is known of the newest one is soon wrong. True: it is
  /// being asked for, and on_profile_fresh() will come. False: there is nothing to wait for.
  virtual bool refresh_profile() = 0;
  virtual Duration server_rtt() const = 0;  ///< Zero: not known.
  /// From then on until release_tcp(), local_candidates() has TCP addresses too, once known.
  virtual void hold_tcp() = 0;
  virtual void release_tcp() = 0;
  /// Paths fail when a router gets another address, which only the server sees: asks it. What it
  /// answers comes as on_network_changed().
  virtual void doubt_own_address() = 0;
  /// What is known of the NATs has led to no direct path: they may have changed unseen, so they are
  /// measured again, unless they were a moment ago. News come as on_candidates_changed().
  virtual void doubt_profile() = 0;
  /// Something that lasts (an enabled forward) needs a session with the peer.
  virtual bool is_needed(const PeerLink& peer) const = 0;
  /// The peer opened a stream: who uses it? (PeerLink::use())
  virtual void on_peer_stream(PeerLink& peer, session::StreamId id) = 0;
  virtual void on_session_up(PeerLink& peer) = 0;
  /// All datagrams that came together from the peer were handled.
  virtual void on_peer_batch_end(PeerLink& peer) = 0;
  /// The session, or the attempt to have one, ended. `reason` is for people.
  virtual void on_session_down(PeerLink& peer, const std::string& reason) = 0;

  // For who finds relays; others need not care.
  /// An attempt began, and this side is the one that asks.
  virtual void on_attempt(PeerLink&) {}
  /// The session exists and takes paths: PeerLink::any_session().
  virtual void on_meeting(PeerLink&) {}
  /// The path selected came, changed or went.
  virtual void on_peer_path(PeerLink&) {}
};

class PeerLink final : public session::SessionHandler {
 public:
  enum class State { kNone, kConnecting, kConnected };
  /// Until an attempt is repeated, at first; it doubles, up to a minute.
  static constexpr Duration kRetryFirst = std::chrono::seconds(1);

  PeerLink(NodeContext& context, PeerLinkHandler& handler, const NodeRecord& record);
  ~PeerLink() override;

  const NodeRecord& record() const { return record_; }
  void set_record(const NodeRecord& record);
  void on_removed();  ///< It is no node of this network any more.

  /// Somebody wants a session, and waits for it until `until`: starts an attempt if there is none.
  void want(TimePoint until);
  State state() const { return state_; }
  session::Session* session() { return state_ == State::kConnected ? session_ : nullptr; }
  const session::Session* session() const { return session_; }
  /// Also while it is looking for its first path.
  session::Session* any_session() { return session_; }
  /// This side made the offer: it selects paths, and asks for relays.
  bool is_asking() const { return attempt_ && attempt_->is_offerer; }
  bool is_connecting() const { return state_ == State::kConnecting; }
  bool is_attempt(const AttemptId& id) const { return attempt_ && attempt_->id == id; }
  bool has_path() const;    ///< Of any kind.
  bool is_relayed() const;  ///< The path in use goes over a relay.
  bool has_direct() const { return has_path() && !is_relayed(); }
  /// Why there is no session, or what is being done about it.
  const std::string& reason() const { return reason_; }
  path::ReasonCode reason_code() const;  ///< Of the path, or of the last attempt to have one.
  /// The next attempt, or while a relay carries the next round of looking for a direct path.
  std::optional<TimePoint> retry_at() const { return retry_at_ ? retry_at_ : next_round_at_; }
  /// What was done to reach the peer, in this attempt and those before: oldest first.
  std::vector<path::TimelineEntry> timeline() const;

  /// `seen_at`: where the server sees the peer.
  void on_signal(const PeerSignal& signal, std::optional<Address> seen_at);
  void on_profile_fresh();  ///< After PeerLinkHandler::refresh_profile().
  void on_signal_failed(SignalFailure why);
  void on_server_connected();    ///< Signals can go out now.
  void on_network_changed();     ///< Interfaces or routes: this node may be elsewhere.
  void on_address_changed();     ///< The server sees it at another address or port.
  void on_candidates_changed();  ///< There are more: of use to who looks for a path.
  /// Before on_network_changed(): this node's addresses are others.
  void on_moved();
  /// The server sees this node at another address, of which the peer is told next; or at the same.
  void on_address_seen(bool is_new);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void close(std::string_view reason);

  /// Routes the calls for one stream of the session; nullptr takes the user off.
  void use(session::StreamId id, forward::StreamUser* user) { users_.use(id, user); }

  // session::SessionHandler
  void on_established(session::Session& session) override;
  void on_stream_opened(session::Session& session, session::StreamId id) override;
  void on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                      bool is_end) override;
  void on_stream_writable(session::Session& session, session::StreamId id) override;
  void on_stream_reset(session::Session& session, session::StreamId id,
                       std::uint64_t code) override;
  void on_stream_stopped(session::Session& session, session::StreamId id,
                         std::uint64_t code) override;
  void on_stream_closed(session::Session& session, session::StreamId id) override;
  void on_path_changed(session::Session& session) override;
  void on_batch_end(session::Session& session) override;
  void on_closed(session::Session& session, const session::CloseReason& reason) override;

 private:
  struct Attempt {
    Attempt() {
    }  // Written out for clang 14: std::optional asks before the outer class is complete.
    AttemptId id{};
    bool is_offerer = false;
    bool is_introduced = false;       ///< Our offer or answer was sent.
    std::optional<AgreementKey> key;  ///< Until the check key is derived.
    path::FinderTag local_tag;
    std::uint64_t sequence = 0;       ///< Of our signals.
    std::uint64_t peer_sequence = 0;  ///< Of the last that was taken from the peer.
    TimePoint offered_at;             ///< Of the last (re)sent offer: measures the round trip.
    TimePoint deadline;               ///< No session by then: the attempt failed.
    std::optional<TimePoint> resend_at;
    unsigned round = 0;      ///< Of both sides: what was tried before is varied.
    std::uint64_t echo = 0;  ///< Of the peer's last challenge.
    unsigned challenges = 0;
    path::SideProfile peer_profile;
    /// SideProfile::entries_left and own_places(), as the peer heard them last.
    std::optional<unsigned> told_entries;
    std::vector<path::Candidate> told_places;
    Duration peer_server_rtt = Duration::zero();
    /// The first signal waits until then for a fresh profile.
    std::optional<TimePoint> profile_patience;
  };

  /// Both sides' signals meet the same servers, so their ways differ by less than this; and a check
  /// that comes later than it could is better than one that comes too early.
  static constexpr Duration kGoMargin = std::chrono::milliseconds(2);

  void start_attempt();
  void send_first();
  void wait_for_profile();
  void keep_timeline();
  bool is_looking_for_path() const;
  void update_tcp();
  const path::PathFinder* paths() const;
  void start_round();
  void start_anew();
  std::vector<path::Candidate> own_places() const;
  void on_relayed_news();
  bool take_round(const PeerSignal& signal);
  bool is_round_open() const;
  void watch_upgrade();
  void on_upgrade_timeout();
  void watch_attempt();
  void take_profile(const PeerSignal& signal);
  void set_profiles(TimePoint go_at);
  unsigned entries_left() const;
  unsigned entries_to_tell();
  path::Plan plan_with(unsigned entries_left) const;
  bool is_turn() const;
  void on_met();
  void send(PeerSignal::Kind kind);
  void tell_news();
  Duration signal_way() const;
  void on_offer(const PeerSignal& signal);
  void on_answer(const PeerSignal& signal);
  void on_challenge(const PeerSignal& signal);
  void on_candidates(const PeerSignal& signal);
  void refuse(const AttemptId& attempt);
  bool meet(const PeerSignal& signal, path::IceRole role);
  void add_remotes(const std::vector<path::Candidate>& candidates);
  void fail(std::string reason, path::ReasonCode code = path::ReasonCode::kNone);
  void end_session(std::string_view reason);
  bool is_wanted() const;

  NodeContext& context_;
  PeerLinkHandler& handler_;
  NodeRecord record_;
  State state_ = State::kNone;
  std::string reason_ = "no session was needed yet";
  std::optional<Attempt> attempt_;
  session::Session* session_ = nullptr;
  std::optional<TimePoint> wanted_until_;
  std::optional<TimePoint> retry_at_;
  /// The peer does not know where this node is now. It is told, as soon as the server has seen it.
  std::optional<TimePoint> unknown_until_;
  bool has_moved_ = false;  ///< And has no path from there.
  std::optional<TimePoint> path_lost_at_;
  std::optional<TimePoint> recover_at_;  ///< Then candidates are sent again, for want of a path.
  std::optional<TimePoint> tcp_at_;      ///< Without a path by then, TCP is wanted as well.
  bool holds_tcp_ = false;
  TimePoint round_ends_at_;                 ///< By then a round has found what it can find.
  std::optional<TimePoint> next_round_at_;  ///< A relay carries: look for a direct path again.
  unsigned upgrades_ = 0;                   ///< Rounds since there was a direct path.
  std::optional<TimePoint> look_at_;        ///< Whether the PathFinder has given up.
  unsigned failures_ = 0;
  unsigned rounds_ = 0;  ///< Of those, the ones in which something was tried.
  std::optional<TimePoint> last_attempt_at_;
  path::ReasonCode last_reason_ = path::ReasonCode::kNone;
  path::Timeline past_;  ///< Of finders that are gone.
  std::deque<AttemptId> seen_offers_;
  std::optional<Address> peer_seen_at_;  ///< By the server, when it carried the last signal.
  StreamUsers users_;
};

}  // namespace openp2p::agent
