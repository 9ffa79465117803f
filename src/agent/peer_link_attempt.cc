// How a session comes to be: offers, answers, what both sides know of their NATs, and trying again.

#include <algorithm>
#include <utility>

#include "agent/peer_link.h"
#include "path/probe_budget.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAnswerPatience = 1500ms;  // Then the offer is sent again: a server may restart.
constexpr Duration kAttemptPatience = 12s;  // Candidates, checks and handshake; RFC 8863 and 10 s.
constexpr Duration kRetryMax = 60s;
/// Until routers have forgotten a search, on both sides, whose clocks are not in step: sooner, one
/// side would spend what the other cannot match.
constexpr Duration kRetrySearch = path::ProbeBudget::kEntryLifetime + 15s;
/// Offers reach a peer at several addresses, and each may be asked once or twice.
constexpr unsigned kChallengesMax = 8;
constexpr std::size_t kSeenOffersMax = 64;  // The server may replay, but not end sessions with it.
/// Where UDP works it takes a few round trips, and nobody's router has to keep TCP mappings as
/// well.
constexpr Duration kTcpAfter = 600ms;
constexpr Duration kLookEvery = 500ms;        // Whether the PathFinder has given up.
constexpr Duration kProfilePatience = 500ms;  // What is known of the NAT is then good enough.

}  // namespace

void PeerLink::start_attempt() {
  retry_at_.reset();
  Attempt& attempt = attempt_.emplace();
  context_.secrets.fill(attempt.id);
  attempt.is_offerer = true;
  attempt.key = AgreementKey::generate(context_.secrets);
  attempt.local_tag = context_.endpoint->new_tag();
  last_attempt_at_ = context_.now;
  attempt.deadline = context_.now + kAttemptPatience;
  round_ends_at_ = attempt.deadline;
  state_ = State::kConnecting;
  update_tcp();
  attempt.round = rounds_;
  if (failures_ == 0) reason_ = "waiting for the peer's answer";
  handler_.doubt_own_address();
  wait_for_profile();
  handler_.on_attempt(*this);
}

/// The first signal of an attempt tells the newest port of a NAT that counts, so it waits for it.
void PeerLink::wait_for_profile() {
  attempt_->profile_patience = context_.now + kProfilePatience;
  if (!handler_.refresh_profile()) send_first();
}

void PeerLink::on_profile_fresh() {
  if (attempt_ && attempt_->profile_patience) send_first();
}

bool PeerLink::is_looking_for_path() const {
  if (!attempt_) return false;
  return !has_path() || paths()->is_doubted() || (is_relayed() && is_round_open());
}

/// A TCP mapping is kept only while a path is looked for and UDP gave none at once, or cannot.
void PeerLink::update_tcp() {
  const bool is_looking = is_looking_for_path();
  if (!is_looking) tcp_at_.reset();
  if (is_looking && !tcp_at_ && !holds_tcp_) {
    const bool is_udp_blocked =
        attempt_->peer_profile.udp.is_blocked || handler_.profile().udp.is_blocked;
    tcp_at_ = context_.now + (is_udp_blocked ? Duration::zero() : kTcpAfter);
  }
  const bool wants_tcp = is_looking && (holds_tcp_ || context_.now >= *tcp_at_);
  if (wants_tcp) tcp_at_.reset();
  if (wants_tcp == holds_tcp_) return;
  holds_tcp_ = wants_tcp;
  wants_tcp ? handler_.hold_tcp() : handler_.release_tcp();
}

void PeerLink::send_first() {
  attempt_->profile_patience.reset();
  if (attempt_->is_introduced && session_ != nullptr) return tell_news();  // A further round.
  if (attempt_->is_offerer) return send(PeerSignal::Kind::kOffer);
  send(PeerSignal::Kind::kAnswer);
  set_profiles(context_.now + signal_way() + kGoMargin);
}

/// A signal takes half of both sides' round trips to the server; then both can start.
Duration PeerLink::signal_way() const {
  return (handler_.server_rtt() + attempt_->peer_server_rtt) / 2;
}

/// What is new counts on both sides, or they would search by plans that do not meet.
void PeerLink::tell_news() {
  send(PeerSignal::Kind::kCandidates);
  if (!attempt_->profile_patience) set_profiles(context_.now + signal_way() + kGoMargin);
  update_tcp();
}

/// Ports are searched at an address that the server has seen, whatever the peer says of itself:
/// where it has seen none, nowhere.
void PeerLink::take_profile(const PeerSignal& signal) {
  attempt_->peer_profile = signal.profile;
  if (signal.server_rtt > Duration::zero()) attempt_->peer_server_rtt = signal.server_rtt;
  const bool is_seen = peer_seen_at_ && peer_seen_at_->ip.is_v4();
  const IpAddress external = is_seen ? peer_seen_at_->ip : IpAddress();
  attempt_->peer_profile.udp.external = external;
  attempt_->peer_profile.tcp.external = external;
}

void PeerLink::set_profiles(TimePoint go_at) {
  if (session_ == nullptr || session_->paths() == nullptr) return;
  context_.endpoint->search_budget().settle(attempt_->local_tag);
  path::SideProfile own = handler_.profile();
  own.entries_left = attempt_->told_entries;
  session_->paths()->set_profiles(own, attempt_->peer_profile, attempt_->round, go_at,
                                  context_.now);
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
  attempt_->told_places = own_places();
  signal.profile = handler_.profile();
  if (signal.profile.entries_left) {
    signal.profile.entries_left = entries_to_tell();
  }
  signal.server_rtt = handler_.server_rtt();
  signal.round = attempt_->round;
  signal.incarnation = context_.incarnation;
  if (kind == PeerSignal::Kind::kOffer) signal.echo = attempt_->echo;
  signal.sequence = ++attempt_->sequence;
  const Bytes body = encode_signal(signal, context_.identity);
  attempt_->is_introduced |= kind != PeerSignal::Kind::kCandidates;
  const bool is_sent = handler_.send_signal(record_.id, body, signal.sequence);
  for (const path::Candidate& told : signal.candidates) {
    const bool is_mapping = told.type == path::CandidateType::kServerReflexive;
    if (is_mapping && told.transport == path::Transport::kTcp && session_ != nullptr &&
        session_->paths() != nullptr) {
      session_->paths()->add_local(told, context_.now);
    }
  }
  if (kind != PeerSignal::Kind::kOffer) return;
  attempt_->offered_at = context_.now;
  attempt_->resend_at = context_.now + kAnswerPatience;
  if (!is_sent) {
    reason_ = "the server cannot be reached, so the peer cannot be called";
  } else if (failures_ == 0) {
    reason_ = "waiting for the peer's answer " + std::string(handler_.signal_way());
  }
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
    case PeerSignal::Kind::kChallenge:
      return on_challenge(signal);
    case PeerSignal::Kind::kNews:
      return;  // SignalWays keeps it.
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
  round_ends_at_ = attempt.deadline;
  attempt.round = signal.round;
  attempt.peer_profile = signal.profile;
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
  if (meet(signal, path::IceRole::kControlling)) on_met();
}

/// The offer came to the peer otherwise than through the server: it is shown to be new.
void PeerLink::on_challenge(const PeerSignal& signal) {
  if (!is_asking() || signal.attempt != attempt_->id || session_ != nullptr) return;
  if (attempt_->profile_patience || ++attempt_->challenges > kChallengesMax) return;
  attempt_->echo = signal.echo;
  send(PeerSignal::Kind::kOffer);
}

void PeerLink::on_candidates(const PeerSignal& signal) {
  if (!attempt_ || signal.attempt != attempt_->id) return refuse(signal.attempt);
  if (session_ == nullptr) return;
  if (signal.sequence <= attempt_->peer_sequence) return;  // Late, or replayed by the server.
  attempt_->peer_sequence = signal.sequence;
  take_profile(signal);
  add_remotes(signal.candidates);
  if (take_round(signal) || attempt_->profile_patience) return;
  is_turn() ? tell_news() : set_profiles(context_.now + kGoMargin);
  update_tcp();
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
  look_at_ = context_.now + kLookEvery;
  add_remotes(signal.candidates);
  handler_.on_meeting(*this);
  return session_ != nullptr;
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
  if (path_lost_at_ && attempt_) tell_news();
}

void PeerLink::watch_attempt() {
  const TimePoint now = context_.now;
  if (!attempt_ || state_ != State::kConnecting) return look_at_.reset();
  const bool is_over = now >= attempt_->deadline;
  if (!is_over && !(look_at_ && now >= *look_at_)) return;
  const path::PathFinder* paths = session_ != nullptr ? session_->paths() : nullptr;
  if (look_at_) look_at_ = now + kLookEvery;
  const bool is_waiting = session_ != nullptr && !has_path() && !attempt_->profile_patience;
  if (!is_over && is_waiting && is_turn()) return tell_news();
  if (!is_over && (paths == nullptr || !paths->is_failed())) return;
  if (paths == nullptr) return fail("no answer from the peer");
  if (paths->selected() != nullptr) return fail("the handshake with the peer did not finish");
  fail(std::string(path::reason_text(paths->reason())), paths->reason());
}

/// The attempt came to nothing: again later, while somebody wants it.
void PeerLink::fail(std::string reason, path::ReasonCode code) {
  const Duration whole =
      std::min<Duration>(kRetryMax, kRetryFirst * (1 << std::min(failures_, 10U)));
  ++failures_;
  // What a router could not bear now is tried another time, not left out.
  if (session_ != nullptr && code != path::ReasonCode::kBudgetExhausted) ++rounds_;
  retry_at_ =
      context_.now + Duration(static_cast<std::int64_t>(static_cast<double>(whole.count()) *
                                                        (0.75 + context_.random.fraction() / 2)));
  const bool must_be_forgotten =
      code == path::ReasonCode::kBudgetExhausted || code == path::ReasonCode::kBlockMissed;
  if (must_be_forgotten) *retry_at_ += kRetrySearch;
  context_.log.info(context_.now, "peer.failed peer={} reason=\"{}\"", record_.id.brief(), reason);
  end_session(reason);
}

}  // namespace openp2p::agent
