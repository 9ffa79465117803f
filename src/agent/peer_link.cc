#include "agent/peer_link.h"

#include <algorithm>
#include <utility>

#include "agent/close_text.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

// Without a path: both tell their candidates anew, by which they begin a search together (in a new
// network, where it came to nothing once, another one) ..
constexpr Duration kPathRecovery = 300ms;
constexpr Duration kRecoverEvery = 6s;   // .. again and again ..
constexpr Duration kPathPatience = 25s;  // .. and after this, the session is given up.

/// In a new network the path to the server, its answer and a signal take three round trips at most.
/// Whoever waits longer for them does without.
constexpr Duration kUnknownMax = 1s;
/// What the server was asked at the moment of a change it answers with the old address.
constexpr Duration kSameAddressAfter = 200ms;

}  // namespace

PeerLink::PeerLink(NodeContext& context, PeerLinkHandler& handler, const NodeRecord& record)
    : context_(context), handler_(handler), record_(record) {}

PeerLink::~PeerLink() = default;

void PeerLink::set_record(const NodeRecord& record) {
  const bool has_restarted =
      record.is_online && record_.incarnation != 0 && record.incarnation != record_.incarnation;
  const bool came_online = record.is_online && !record_.is_online;
  record_ = record;
  if (has_restarted && session_ != nullptr) end_session("the peer restarted");
  if ((came_online || has_restarted) && is_wanted() && !attempt_ && session_ == nullptr) {
    retry_at_ = context_.now;
  }
}

void PeerLink::on_removed() {
  wanted_until_.reset();
  end_session("the peer was removed from the network");
}

void PeerLink::want(TimePoint until) {
  wanted_until_ = std::max(until, wanted_until_.value_or(until));
  if (state_ != State::kNone || attempt_) return;
  const bool is_awaited = until > context_.now;
  if (!is_awaited && retry_at_) return;  // Who only likes to have it takes turns.
  // Somebody asks now, so a long backoff is cut short, down to one attempt a second.
  const TimePoint earliest = last_attempt_at_ ? *last_attempt_at_ + kRetryFirst : context_.now;
  if (earliest <= context_.now) return start_attempt();
  retry_at_ = std::min(earliest, retry_at_.value_or(earliest));
}

bool PeerLink::is_wanted() const {
  return (wanted_until_ && *wanted_until_ > context_.now) || handler_.is_needed(*this);
}

void PeerLink::on_network_changed() {
  if (is_relayed()) return start_anew();
  // The peer knows an attempt once it was offered, since the server keeps the order.
  const bool is_offered = attempt_ && attempt_->is_offerer && !attempt_->profile_patience;
  if (is_offered || session_ != nullptr) return tell_news();
  if (attempt_ || !retry_at_ || !last_attempt_at_) return;
  // What failed from there may work from here.
  retry_at_ = std::min(*retry_at_, std::max(*last_attempt_at_ + kRetryFirst, context_.now));
}

void PeerLink::on_address_changed() { is_relayed() ? on_relayed_news() : on_network_changed(); }

/// Without a server nobody tells the peer, so waiting would be to no avail.
void PeerLink::on_moved() {
  if (session_ == nullptr || session_->paths() == nullptr) return;
  if (handler_.server_rtt() == Duration::zero()) return;
  has_moved_ = true;
  unknown_until_ = context_.now + kUnknownMax;
  session_->paths()->be_quiet(*unknown_until_);
}

void PeerLink::on_address_seen(bool is_new) {
  const bool is_unknown = unknown_until_ && context_.now < *unknown_until_;
  if (!is_unknown || paths() == nullptr) return;
  if (is_new) {
    unknown_until_.reset();
    return session_->paths()->on_peer_told();
  }
  unknown_until_ = std::min(*unknown_until_, context_.now + kSameAddressAfter);
  session_->paths()->be_quiet(*unknown_until_);
}

void PeerLink::on_candidates_changed() {
  if (is_relayed()) return on_relayed_news();
  if (!has_path() || paths()->is_doubted()) on_network_changed();
}

void PeerLink::on_timeout() {
  const TimePoint now = context_.now;
  update_tcp();
  if (attempt_ && attempt_->profile_patience && now >= *attempt_->profile_patience) send_first();
  if (attempt_ && attempt_->resend_at && now >= *attempt_->resend_at)
    send(PeerSignal::Kind::kOffer);
  watch_attempt();
  on_upgrade_timeout();
  if (retry_at_ && now >= *retry_at_) {
    retry_at_.reset();
    if (is_wanted() && state_ == State::kNone) start_attempt();
  }
  if (recover_at_ && now >= *recover_at_) {
    recover_at_ = now + kRecoverEvery;
    if (attempt_) has_moved_ ? start_round() : tell_news();
    handler_.doubt_own_address();
  }
  if (path_lost_at_ && now >= *path_lost_at_ + kPathPatience) {
    end_session("every path to the peer went silent");
  }
}

std::optional<TimePoint> PeerLink::next_timeout() const {
  std::optional<TimePoint> next = earlier(earlier(retry_at_, tcp_at_), next_round_at_);
  if (holds_tcp_ && is_round_open()) next = earlier(next, round_ends_at_);
  if (holds_tcp_ && !is_looking_for_path()) next = earlier(next, context_.now);
  if (attempt_ && state_ == State::kConnecting) {
    next = earlier(next, earlier(look_at_, attempt_->deadline));
  }
  if (attempt_) next = earlier(next, earlier(attempt_->resend_at, attempt_->profile_patience));
  if (path_lost_at_) next = earlier(next, *path_lost_at_ + kPathPatience);
  next = earlier(next, recover_at_);
  return next;
}

void PeerLink::end_session(std::string_view reason) {
  if (!attempt_ && session_ == nullptr) return;
  keep_timeline();
  session::Session* session = std::exchange(session_, nullptr);
  if (attempt_) context_.endpoint->search_budget().settle(attempt_->local_tag);
  attempt_.reset();
  update_tcp();
  next_round_at_.reset();
  upgrades_ = 0;
  path_lost_at_.reset();
  recover_at_.reset();
  has_moved_ = false;
  state_ = State::kNone;
  reason_ = reason;
  users_.on_session_lost();
  if (session != nullptr) session->close(0, reason, context_.now);
  handler_.on_session_down(*this, reason_);
  if (is_wanted() && !retry_at_) retry_at_ = context_.now + kRetryFirst;
}

/// The finder goes with its session; who asks later wants to know what it did.
void PeerLink::keep_timeline() {
  const path::PathFinder* paths = this->paths();
  if (paths == nullptr) return;
  for (const path::TimelineEntry& entry : paths->timeline()) past_.add(entry);
  last_reason_ = paths->reason();
}

std::vector<path::TimelineEntry> PeerLink::timeline() const {
  path::Timeline all = past_;
  const path::PathFinder* paths = this->paths();
  if (paths != nullptr) {
    for (const path::TimelineEntry& entry : paths->timeline()) all.add(entry);
  }
  return all.entries();
}

const path::PathFinder* PeerLink::paths() const {
  return session_ != nullptr ? session_->paths() : nullptr;
}

bool PeerLink::has_path() const { return paths() != nullptr && paths()->selected() != nullptr; }

bool PeerLink::is_relayed() const {
  return has_path() && path::is_relayed(paths()->selected()->socket);
}

path::ReasonCode PeerLink::reason_code() const {
  const path::PathFinder* paths = this->paths();
  return paths != nullptr ? paths->reason() : last_reason_;
}

void PeerLink::close(std::string_view reason) {
  wanted_until_.reset();
  end_session(reason);
  retry_at_.reset();
}

void PeerLink::on_established(session::Session&) {
  state_ = State::kConnected;
  reason_.clear();
  failures_ = 0;
  rounds_ = 0;
  if (attempt_) attempt_->resend_at.reset();
  context_.log.info(context_.now, "peer.connected peer={} path={}", record_.id.brief(),
                    session_->path() ? session_->path()->remote.text() : "none");
  handler_.on_session_up(*this);
}

void PeerLink::on_stream_opened(session::Session& session, session::StreamId id) {
  if (&session == session_) handler_.on_peer_stream(*this, id);
}

void PeerLink::on_stream_data(session::Session& session, session::StreamId id, ByteView data,
                              bool is_end) {
  const bool is_used = &session == session_ && users_.on_data(id, data, is_end);
  if (!is_used) session.consume(id, data.size());
}

void PeerLink::on_stream_writable(session::Session&, session::StreamId id) {
  users_.on_writable(id);
}

void PeerLink::on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) {
  users_.on_reset(id);
}

void PeerLink::on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) {
  users_.on_stopped(id);
}

void PeerLink::on_stream_closed(session::Session&, session::StreamId id) { users_.on_closed(id); }

void PeerLink::on_path_changed(session::Session& session) {
  if (&session != session_ || session.paths() == nullptr) return;
  watch_upgrade();
  update_tcp();
  handler_.on_peer_path(*this);
  if (&session != session_) return;
  const Path* path = session.paths()->selected();
  if (path != nullptr) {
    path_lost_at_.reset();
    recover_at_.reset();
    has_moved_ = false;
    if (state_ == State::kConnected) reason_.clear();
    context_.log.info(context_.now, "peer.path peer={} path={} relayed={}", record_.id.brief(),
                      path->remote.text(), is_relayed());
    return;
  }
  if (!path_lost_at_) {
    path_lost_at_ = context_.now;
    recover_at_ = context_.now + kPathRecovery;
  }
  reason_ = path::reason_text(session.paths()->reason());
  context_.log.info(context_.now, "peer.path_lost peer={} reason=\"{}\"", record_.id.brief(),
                    reason_);
  handler_.doubt_own_address();
}

void PeerLink::on_batch_end(session::Session&) {
  users_.on_batch_end();
  handler_.on_peer_batch_end(*this);
}

void PeerLink::on_closed(session::Session& session, const session::CloseReason& reason) {
  if (&session != session_) return;
  keep_timeline();
  session_ = nullptr;  // It is over: nothing is to be closed.
  const std::string text = close_text(reason, OtherParty::kPeer);
  if (state_ == State::kConnecting) return fail(text);
  end_session(text);
}

}  // namespace openp2p::agent
