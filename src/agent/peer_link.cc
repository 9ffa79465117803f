#include "agent/peer_link.h"

#include <algorithm>
#include <utility>

#include "agent/close_text.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAnswerPatience = 1500ms;  // Then the offer is sent again: a server may restart.
constexpr Duration kAttemptPatience = 12s;  // Candidates, checks and handshake; RFC 8863 and 10 s.
constexpr Duration kRetryFirst = 1s;
constexpr Duration kRetryMax = 60s;
constexpr std::size_t kSeenOffersMax = 64;  // The server may replay, but not end sessions with it.
constexpr Duration kPathRecovery = 1s;      // Without a path: tell the peer our candidates anew ...
constexpr Duration kPathPatience = 25s;     // ... and after this, give the session up.
constexpr Duration kProfilePatience = 500ms;  // What is known of the NAT is then good enough.
/// Both sides' signals meet the same servers, so their ways differ by less than this; and a check
/// that comes later than it could is better than one that comes too early.
constexpr Duration kGoMargin = 10ms;

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
  // Somebody asks now, so a long backoff is cut short, down to one attempt a second.
  const TimePoint earliest = last_attempt_at_ ? *last_attempt_at_ + kRetryFirst : context_.now;
  if (earliest <= context_.now) return start_attempt();
  retry_at_ = std::min(earliest, retry_at_.value_or(earliest));
}

bool PeerLink::is_wanted() const {
  return (wanted_until_ && *wanted_until_ > context_.now) || handler_.is_needed(*this);
}

void PeerLink::start_attempt() {
  retry_at_.reset();
  Attempt& attempt = attempt_.emplace();
  context_.secrets.fill(attempt.id);
  attempt.is_offerer = true;
  attempt.key = AgreementKey::generate(context_.secrets);
  attempt.local_tag = context_.endpoint->new_tag();
  last_attempt_at_ = context_.now;
  attempt.deadline = context_.now + kAttemptPatience;
  state_ = State::kConnecting;
  attempt.round = failures_;
  if (failures_ == 0) reason_ = "waiting for the peer's answer through the server";
  handler_.doubt_own_address();
  wait_for_profile();
}

/// The first signal of an attempt tells the newest port of a NAT that counts, so it waits for it.
void PeerLink::wait_for_profile() {
  if (!handler_.refresh_profile()) return send_first();
  attempt_->profile_patience = context_.now + kProfilePatience;
}

void PeerLink::on_profile_fresh() {
  if (attempt_ && attempt_->profile_patience) send_first();
}

void PeerLink::send_first() {
  attempt_->profile_patience.reset();
  if (attempt_->is_offerer) return send(PeerSignal::Kind::kOffer);
  send(PeerSignal::Kind::kAnswer);
  // The answer takes half of both sides' round trips to the server; then both can start.
  const Duration way = (handler_.server_rtt() + attempt_->peer_server_rtt) / 2;
  set_profiles(context_.now + way + kGoMargin);
}

/// Ports are searched at an address that the server has seen, whatever the peer says of itself.
void PeerLink::take_profile(const PeerSignal& signal) {
  attempt_->peer_profile = signal.profile;
  if (signal.server_rtt > Duration::zero()) attempt_->peer_server_rtt = signal.server_rtt;
  if (!peer_seen_at_ || !peer_seen_at_->ip.is_v4()) return;
  attempt_->peer_profile.udp.external = peer_seen_at_->ip;
  attempt_->peer_profile.tcp.external = peer_seen_at_->ip;
}

void PeerLink::set_profiles(TimePoint go_at) {
  if (session_ == nullptr || session_->paths() == nullptr) return;
  session_->paths()->set_profiles(handler_.profile(), attempt_->peer_profile, attempt_->round,
                                  go_at, context_.now);
  context_.endpoint->touch(*session_);
}

void PeerLink::send(PeerSignal::Kind kind) {
  PeerSignal signal;
  signal.from = context_.identity.id();
  signal.to = record_.id;
  signal.attempt = attempt_->id;
  signal.kind = kind;
  if (attempt_->key) signal.agreement_key = attempt_->key->public_key();
  signal.tag = attempt_->local_tag;
  signal.candidates = handler_.local_candidates();
  signal.profile = handler_.profile();
  signal.server_rtt = handler_.server_rtt();
  signal.round = attempt_->round;
  signal.incarnation = context_.incarnation;
  signal.sequence = ++attempt_->sequence;
  const Bytes body = encode_signal(signal, context_.identity);
  const bool is_sent = handler_.send_signal(record_.id, body, signal.sequence);
  if (kind != PeerSignal::Kind::kOffer) return;
  attempt_->offered_at = context_.now;
  attempt_->resend_at = context_.now + kAnswerPatience;
  if (!is_sent) reason_ = "the server cannot be reached, so the peer cannot be called";
}

void PeerLink::on_signal(const PeerSignal& signal, std::optional<Address> seen_at) {
  peer_seen_at_ = seen_at;
  switch (signal.kind) {
    case PeerSignal::Kind::kOffer:
      return on_offer(signal);
    case PeerSignal::Kind::kAnswer:
      return on_answer(signal);
    case PeerSignal::Kind::kCandidates:
      return on_candidates(signal);
    case PeerSignal::Kind::kRefusal:
      if (attempt_ && signal.attempt == attempt_->id) fail("the peer refused: " + signal.reason);
      return;
  }
}

void PeerLink::on_offer(const PeerSignal& signal) {
  if (attempt_ && signal.attempt == attempt_->id) {  // Sent again: the answer was lost.
    const bool was_answered = attempt_->key && !attempt_->profile_patience;
    if (!attempt_->is_offerer && was_answered) send(PeerSignal::Kind::kAnswer);
    return;
  }
  if (std::ranges::find(seen_offers_, signal.attempt) != seen_offers_.end()) return;
  const bool is_own_offer_open = attempt_ && attempt_->is_offerer && session_ == nullptr;
  if (is_own_offer_open && context_.identity.id() < record_.id) return;  // Ours is kept.
  // Who asks why there is no session wants the last failure, not that it is tried again.
  std::string reason = failures_ == 0 ? "looking for a path to the peer" : reason_;
  last_attempt_at_ = context_.now;  // This is one: nobody begins another while the old ends.
  end_session("the peer opened a new session");
  if (seen_offers_.size() == kSeenOffersMax) seen_offers_.pop_front();
  seen_offers_.push_back(signal.attempt);
  Attempt& attempt = attempt_.emplace();
  attempt.id = signal.attempt;
  attempt.key = AgreementKey::generate(context_.secrets);
  attempt.local_tag = context_.endpoint->new_tag();
  attempt.peer_sequence = signal.sequence;
  attempt.deadline = context_.now + kAttemptPatience;
  attempt.round = signal.round;
  retry_at_.reset();
  state_ = State::kConnecting;
  reason_ = std::move(reason);
  if (!meet(signal, path::IceRole::kControlled)) return;
  wait_for_profile();
}

/// The peer goes on with an attempt that this node knows nothing of, since it restarted: told so,
/// the peer need not wait until its session times out.
void PeerLink::refuse(const AttemptId& attempt) {
  PeerSignal signal;
  signal.from = context_.identity.id();
  signal.to = record_.id;
  signal.attempt = attempt;
  signal.kind = PeerSignal::Kind::kRefusal;
  signal.reason = "this session is not known here any more";
  signal.incarnation = context_.incarnation;
  handler_.send_signal(record_.id, encode_signal(signal, context_.identity), signal.sequence);
}

void PeerLink::on_answer(const PeerSignal& signal) {
  if (!attempt_ || signal.attempt != attempt_->id || !attempt_->is_offerer || session_ != nullptr) {
    return;
  }
  attempt_->peer_sequence = signal.sequence;
  attempt_->resend_at.reset();
  if (failures_ == 0) reason_ = "looking for a path to the peer";
  if (meet(signal, path::IceRole::kControlling)) set_profiles(context_.now + kGoMargin);
}

void PeerLink::on_candidates(const PeerSignal& signal) {
  if (!attempt_ || signal.attempt != attempt_->id) return refuse(signal.attempt);
  if (session_ == nullptr) return;
  if (signal.sequence <= attempt_->peer_sequence) return;  // Late, or replayed by the server.
  attempt_->peer_sequence = signal.sequence;
  take_profile(signal);
  add_remotes(signal.candidates);
  if (!attempt_->profile_patience) set_profiles(context_.now + kGoMargin);
}

/// Both keys are known: the session starts to look for a path.
bool PeerLink::meet(const PeerSignal& signal, path::IceRole role) {
  const auto shared = attempt_->key->agree(signal.agreement_key);
  if (!shared) {
    fail("the peer sent an unusable key");
    return false;
  }
  const NodeId& self = context_.identity.id();
  const bool is_offerer = attempt_->is_offerer;
  session::Meeting meeting;
  meeting.peer = record_.id;
  meeting.role = role;
  meeting.local_tag = attempt_->local_tag;
  meeting.remote_tag = signal.tag;
  meeting.check_key = derive_check_key(*shared, attempt_->id, is_offerer ? self : record_.id,
                                       is_offerer ? record_.id : self);
  if (is_offerer)
    meeting.rtt_hint = std::clamp<Duration>(context_.now - attempt_->offered_at, 10ms, 500ms);
  take_profile(signal);
  session_ = &context_.endpoint->meet(meeting, *this, context_.now);
  add_remotes(signal.candidates);
  return true;
}

void PeerLink::add_remotes(const std::vector<path::Candidate>& candidates) {
  if (session_->paths() == nullptr) return;
  for (const path::Candidate& candidate : candidates) {
    session_->paths()->add_remote(candidate, context_.now);
  }
  context_.endpoint->touch(*session_);
}

void PeerLink::on_signal_failed(SignalFailure why) {
  if (!attempt_ || session_ != nullptr) return;
  switch (why) {
    case SignalFailure::kOffline:
      return fail("the peer is offline");
    case SignalFailure::kNoSuchNode:
      return fail("the peer is not in this network any more");
    case SignalFailure::kTooMany:
      return fail("the server is busy");
  }
}

void PeerLink::on_server_connected() {
  if (attempt_ && attempt_->is_offerer && session_ == nullptr) send_first();
  if (path_lost_at_ && attempt_) send(PeerSignal::Kind::kCandidates);
}

void PeerLink::on_network_changed() {
  // The peer knows an attempt once it was offered, since the server keeps the order.
  const bool is_offered = attempt_ && attempt_->is_offerer && !attempt_->profile_patience;
  if (is_offered || session_ != nullptr) send(PeerSignal::Kind::kCandidates);
}

void PeerLink::on_timeout() {
  const TimePoint now = context_.now;
  if (attempt_ && attempt_->profile_patience && now >= *attempt_->profile_patience) send_first();
  if (attempt_ && attempt_->resend_at && now >= *attempt_->resend_at)
    send(PeerSignal::Kind::kOffer);
  if (attempt_ && state_ == State::kConnecting && now >= attempt_->deadline) {
    std::string reason = "no answer from the peer";
    if (session_ != nullptr && session_->paths() != nullptr) {
      const bool has_path = session_->paths()->selected() != nullptr;
      reason = has_path ? "the handshake with the peer did not finish"
                        : std::string(path::reason_text(session_->paths()->reason()));
    }
    fail(std::move(reason));
  }
  if (retry_at_ && now >= *retry_at_) {
    retry_at_.reset();
    if (is_wanted() && state_ == State::kNone) start_attempt();
  }
  if (path_lost_at_ && now >= *path_lost_at_ + kPathRecovery && !has_recovery_signal_) {
    has_recovery_signal_ = true;
    if (attempt_) send(PeerSignal::Kind::kCandidates);
    handler_.doubt_own_address();
  }
  if (path_lost_at_ && now >= *path_lost_at_ + kPathPatience) {
    end_session("every path to the peer went silent");
  }
}

std::optional<TimePoint> PeerLink::next_timeout() const {
  std::optional<TimePoint> next = retry_at_;
  if (attempt_ && state_ == State::kConnecting) next = earlier(next, attempt_->deadline);
  if (attempt_) next = earlier(next, earlier(attempt_->resend_at, attempt_->profile_patience));
  if (path_lost_at_) {
    next = earlier(next, *path_lost_at_ + (has_recovery_signal_ ? kPathPatience : kPathRecovery));
  }
  return next;
}

/// The attempt came to nothing: again later, while somebody wants it.
void PeerLink::fail(std::string reason) {
  const Duration whole =
      std::min<Duration>(kRetryMax, kRetryFirst * (1 << std::min(failures_, 10U)));
  ++failures_;
  retry_at_ =
      context_.now + Duration(static_cast<std::int64_t>(static_cast<double>(whole.count()) *
                                                        (0.75 + context_.random.fraction() / 2)));
  context_.log.info(context_.now, "peer.failed peer={} reason=\"{}\"", record_.id.brief(), reason);
  end_session(reason);
}

void PeerLink::end_session(std::string_view reason) {
  if (!attempt_ && session_ == nullptr) return;
  session::Session* session = std::exchange(session_, nullptr);
  attempt_.reset();
  path_lost_at_.reset();
  state_ = State::kNone;
  reason_ = reason;
  lose_users();
  if (session != nullptr) session->close(0, reason, context_.now);
  handler_.on_session_down(*this, reason_);
  if (is_wanted() && !retry_at_) retry_at_ = context_.now + kRetryFirst;
}

void PeerLink::close(std::string_view reason) {
  wanted_until_.reset();
  end_session(reason);
  retry_at_.reset();
}

void PeerLink::lose_users() {
  auto users = std::exchange(users_, {});
  batch_.clear();
  for (auto& [id, use] : users) use.user->on_session_lost();
}

void PeerLink::use(session::StreamId id, forward::StreamUser* user) {
  if (user == nullptr) {
    users_.erase(id);
  } else {
    users_[id].user = user;
  }
}

forward::StreamUser* PeerLink::user_of(session::StreamId id) {
  const auto found = users_.find(id);
  return found == users_.end() ? nullptr : found->second.user;
}

void PeerLink::on_established(session::Session&) {
  state_ = State::kConnected;
  reason_.clear();
  failures_ = 0;
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
  const auto found = users_.find(id);
  if (&session != session_ || found == users_.end()) return session.consume(id, data.size());
  if (!std::exchange(found->second.is_in_batch, true)) batch_.push_back(id);
  found->second.user->on_stream_data(data, is_end);
}

void PeerLink::on_stream_writable(session::Session&, session::StreamId id) {
  if (auto* user = user_of(id)) user->on_stream_writable();
}

void PeerLink::on_stream_reset(session::Session&, session::StreamId id, std::uint64_t) {
  if (auto* user = user_of(id)) user->on_stream_reset();
}

void PeerLink::on_stream_stopped(session::Session&, session::StreamId id, std::uint64_t) {
  if (auto* user = user_of(id)) user->on_stream_stopped();
}

void PeerLink::on_stream_closed(session::Session&, session::StreamId id) {
  auto* user = user_of(id);
  if (user != nullptr) user->on_stream_closed();
}

void PeerLink::on_path_changed(session::Session& session) {
  if (&session != session_ || session.paths() == nullptr) return;
  const Path* path = session.paths()->selected();
  if (path != nullptr) {
    path_lost_at_.reset();
    has_recovery_signal_ = false;
    if (state_ == State::kConnected) reason_.clear();
    context_.log.info(context_.now, "peer.path peer={} path={}", record_.id.brief(),
                      path->remote.text());
    return;
  }
  if (!path_lost_at_) path_lost_at_ = context_.now;
  reason_ = path::reason_text(session.paths()->reason());
  context_.log.info(context_.now, "peer.path_lost peer={} reason=\"{}\"", record_.id.brief(),
                    reason_);
  handler_.doubt_own_address();
}

void PeerLink::on_batch_end(session::Session&) {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    const auto found = users_.find(batch_[i]);
    if (found == users_.end()) continue;
    found->second.is_in_batch = false;
    found->second.user->on_batch_end();
  }
  batch_.clear();
  handler_.on_peer_batch_end(*this);
}

void PeerLink::on_closed(session::Session& session, const session::CloseReason& reason) {
  if (&session != session_) return;
  session_ = nullptr;  // It is over: nothing is to be closed.
  const std::string text = close_text(reason, OtherParty::kPeer);
  if (state_ == State::kConnecting) return fail(text);
  end_session(text);
}

}  // namespace openp2p::agent
