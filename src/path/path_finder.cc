#include "path/path_finder.h"

#include <algorithm>

#include "base/check.h"
#include "path/path_finder_impl.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// Like QUIC's first window (RFC 9002 section 7.2): ten small datagrams at once hurt nobody, and
/// save a wait of Ta for each pair of a usual pair of nodes.
constexpr int kPaceBurst = 10;

// Pairs whose burst ended unanswered are checked together in sweeps, so that waiting costs few
// wake-ups. With a path in use there is less to gain.
constexpr Duration kSweepDelay = 4s;  // After the burst.
constexpr Duration kSweepFirst = 2s;
constexpr Duration kSweepMax = 2min;
constexpr Duration kSweepSelectedMax = 10min;
constexpr Duration kSweepStreamMax = 20s;  // TCP is in use: back to UDP soon after it works again.

/// New candidates get this long before a failure is told again: a burst, and the slowest answer.
constexpr Duration kRevivalPatience = 5s;
/// Our own network changing often must not become a flood at addresses that never answered.
constexpr Duration kRefillEvery = 30s;

}  // namespace

PathFinder::Impl::Impl(const PathFinderConfig& config, Random random, Log log, TimePoint now)
    : config_(config),
      random_(random),
      log_(log),
      list_(config.role, config.first_retransmit),
      pace_(kPaceBurst, config.pace),
      switched_at_(now),
      streams_(config.sockets, config.probes, config.role == IceRole::kControlling,
               config.rtt_hint),
      spray_(config.sockets, config.probes),
      give_up_at_(now + config.gather_patience),
      refilled_at_(now) {
  start_sweeps(now);
}

void PathFinder::Impl::add_local(const Candidate& candidate, TimePoint now) {
  if (candidate.transport == Transport::kTcp) return streams_.add_local(candidate);
  const std::size_t before = list_.pairs().size();
  list_.add_local(candidate, now);
  if (list_.pairs().size() > before) revive(now);
}

void PathFinder::Impl::add_remote(const Candidate& candidate, TimePoint now) {
  if (candidate.type == CandidateType::kRelayed) return;  // Only add_relayed() knows the way there.
  if (candidate.transport == Transport::kTcp) return streams_.add_remote(candidate, now);
  bool is_new = false;
  RemoteCandidate* remote = list_.add_remote(candidate, now, is_new);
  if (remote == nullptr) return;
  if (is_new) {
    note({.at = now, .event = TimelineEvent::kCandidate, .address = candidate.address});
  }
  const std::size_t before = list_.pairs().size();
  list_.pair_with_sockets(*remote, now);
  if (list_.pairs().size() > before) return revive(now);
  if (selected_ != nullptr) return;
  // Named again while there is no path: the peer is there now, so the moment is good.
  for (const auto& pair : list_.pairs()) {
    if (&pair->remote() == remote && !pair->is_bursting()) pair->restart(now);
  }
}

void PathFinder::Impl::add_relayed(const Path& path, TimePoint now, unsigned rank) {
  CHECK(is_relayed(path.socket));
  CheckPair* pair = list_.add_relayed(path, now);
  if (pair == nullptr || pair->is_valid()) return;
  pair->relay_rank = rank;
  // The relay has admitted the peer as well, so data need not wait for a check of a path that is
  // there. A relay that lies about it is found out like any silent path.
  pair->set_proven(now);
  pair->check_by(now);
  if (selected_ == nullptr) select(pair, now);
}

bool PathFinder::Impl::has_direct() const {
  return selected_ != nullptr && selected_->remote().candidate.type != CandidateType::kRelayed;
}

void PathFinder::Impl::add_proven(const Path& path, TimePoint now) {
  CheckPair* pair = list_.add_proven(path, now);
  if (pair == nullptr) return;
  note_answer(*pair);
  pair->set_proven(now);
  pair->check_by(now);  // Measures it, and opens it for the peer's checks.
  is_failed_ = false;
  if (selected_ == nullptr) select(pair, now);
}

void PathFinder::Impl::remove_socket(SocketId socket, TimePoint now) {
  const bool was_selected = selected_ != nullptr && selected_->path().socket == socket;
  if (was_selected) {
    select(nullptr, now);
    previous_.reset();  // Nothing can be sent there any more.
  }
  list_.remove_socket(socket, now);
  streams_.on_closed(socket);
  std::erase_if(answers_, [&](const Answer& answer) { return answer.to.socket == socket; });
  if (previous_ && previous_->socket == socket) previous_.reset();
  if (!was_selected) return;
  restart_all(now);
  if (CheckPair* next = best_other(TimePoint::min(), now)) select(next, now);
}

void PathFinder::Impl::on_network_changed(TimePoint now) {
  const bool may_refill = now - refilled_at_ >= kRefillEvery;
  if (may_refill) refilled_at_ = now;
  for (const auto& pair : list_.pairs()) {
    if (may_refill || pair->remote().has_answered) pair->remote().checks.fill();
  }
  hold_ = {};  // What was measured before counts no more.
  moved_at_ = now;
  streams_.restart(overdue_after(), now);
  start_sweeps(now);
  if (selected_ == nullptr) {
    revive(now);
    return restart_all(now);
  }
  waiting_since_ = now - patience();
  suspect(now);  // An answer lifts it, and has the size confirmed too.
}

/// There are new pairs. They bring their own bursts; sweeps stay as rare as they are, since a peer
/// may name new addresses for ever.
void PathFinder::Impl::revive(TimePoint now) {
  if (is_failed_ || !is_hopeless()) give_up_at_ = std::max(give_up_at_, now + kRevivalPatience);
  is_failed_ = false;
  // The peer may have moved there: then the selected path is dead. Both are asked at once.
  if (selected_ != nullptr) selected_->check_by(now);
}

void PathFinder::Impl::restart_all(TimePoint now) {
  for (const auto& pair : list_.pairs()) pair->restart(now);
}

Duration PathFinder::Impl::jittered(Duration interval) {  // RFC 7675 section 5.1: 0.8 to 1.2.
  const auto part = interval.count() / 5 * 2;
  return interval * 4 / 5 +
         Duration(part > 0 ? random_.below(static_cast<std::uint64_t>(part)) : 0);
}

void PathFinder::Impl::start_sweeps(TimePoint now) {
  sweep_gap_ = kSweepFirst;
  sweep_at_ = now + jittered(kSweepDelay);
}

void PathFinder::Impl::sweep(TimePoint now) {
  if (now < sweep_at_) return;
  for (const auto& pair : list_.pairs()) {
    if (pair->due_at() == CheckPair::kNever) pair->set_due(now);
  }
  sweep_at_ = now + jittered(sweep_gap_);
  Duration gap_max = selected_ == nullptr ? kSweepMax : kSweepSelectedMax;
  if (selected_ != nullptr && selected_->is_stream()) gap_max = kSweepStreamMax;
  sweep_gap_ = std::min(2 * sweep_gap_, gap_max);
}

void PathFinder::Impl::share_consent_wakeup(TimePoint now) {
  if (selected_ == nullptr || selected_->due_at() > now) return;
  for (const auto& pair : list_.pairs()) {
    if (pair->is_settled() && pair->due_at() < now + config_.consent_interval) pair->check_by(now);
  }
}

void PathFinder::Impl::on_timeout(TimePoint now) {
  watch_challenger(now);
  watch_selected(now);
  watch_others(now);
  consider_better(now);
  sweep(now);
  share_consent_wakeup(now);
  tend_streams(now);
  tidy_fan(now);
  if (has_direct() || is_failed_ || now < give_up_at_) return;
  is_failed_ = true;
  note({.at = now, .event = TimelineEvent::kFailed, .reason = reason()});
}

/// Who asks why gets the same from the timeline and from the log.
void PathFinder::Impl::note(const TimelineEntry& entry) {
  timeline_.add(entry);
  log_.debug(entry.at, "path.{} peer={} method={} address={} reason={} count={}",
             timeline_event_text(entry.event), config_.peer.brief(),
             entry.method ? method_text(*entry.method) : "-",
             entry.address ? entry.address->text() : "-", reason_name(entry.reason), entry.count);
}

std::optional<TimePoint> PathFinder::Impl::next_timeout() const {
  if (!answers_.empty()) return TimePoint::min();
  TimePoint due = CheckPair::kNever;
  for (const auto& pair : list_.pairs()) due = std::min(due, pair->due_at());
  std::optional<TimePoint> next = earlier(choice_deadline(), reach_deadline());
  next = earlier(next, streams_deadline());
  if (selected_ != nullptr) {
    const TimePoint probe_at = selected_->mtu.next_probe_at().value_or(CheckPair::kNever);
    due = std::min(due, std::max(probe_at, closed_until(*selected_)));
  }
  if (due != CheckPair::kNever) next = earlier(next, std::max(due, pace_.next_token_at()));
  if (!list_.pairs().empty()) next = earlier(next, sweep_at_);
  if (!has_direct() && !is_failed_) next = earlier(next, give_up_at_);
  return next;
}

const Path* PathFinder::Impl::duplicate_to(TimePoint now) const {
  const bool is_wanted = previous_ && selected_ != nullptr && now < duplicate_until_;
  return is_wanted && !closed_until(*previous_, now) ? &*previous_ : nullptr;
}

std::optional<Duration> PathFinder::Impl::selected_rtt() const {
  return selected_ == nullptr ? std::nullopt : selected_->rtt();
}

std::size_t PathFinder::Impl::datagram_bytes() const {
  return selected_ == nullptr ? MtuSearch::kBaseBytes : selected_->mtu.datagram_bytes();
}

ReasonCode PathFinder::Impl::reason() const {
  const auto pairs = list_.pairs();
  if (selected_ != nullptr && !has_direct()) {  // Why nothing better than a relay.
    return is_failed_ ? failure_reason() : ReasonCode::kChecking;
  }
  if (selected_ != nullptr) {
    if (selected_->mtu.is_too_narrow()) return ReasonCode::kBlackHole;
    if (is_over_favoured_stream()) return ReasonCode::kUdpThrottled;
    const bool may_improve = std::ranges::any_of(pairs, [&](const auto& pair) {
      return !pair->is_valid() && !pair->is_barred && pair->is_bursting() &&
             pair->priority > selected_->priority;
    });
    return may_improve ? ReasonCode::kChecking : ReasonCode::kNone;
  }
  if (was_connected_) return ReasonCode::kLostConsent;
  if (!is_failed_) return ReasonCode::kChecking;
  return failure_reason();
}

std::vector<PairReport> PathFinder::Impl::report() const {
  std::vector<PairReport> lines;
  for (const auto& pair : list_.pairs()) {
    std::string_view state = pair->is_bursting() ? "in progress" : "failed";
    if (pair->checks_sent() == 0) state = "waiting";
    if (pair->is_valid()) state = "valid";
    if (pair.get() == selected_) state = "selected";
    lines.push_back(
        {pair->local, pair->remote().candidate, state, pair->checks_sent(), pair->rtt()});
  }
  return lines;
}

PathFinder::PathFinder(const PathFinderConfig& config, Random random, Log log, TimePoint now)
    : impl_(std::make_unique<Impl>(config, random, log, now)) {}
PathFinder::~PathFinder() = default;

void PathFinder::add_local(const Candidate& candidate, TimePoint now) {
  impl_->add_local(candidate, now);
}
void PathFinder::set_profiles(const SideProfile& local, const SideProfile& peer, unsigned round,
                              TimePoint go_at, TimePoint now) {
  impl_->set_profiles(local, peer, round, go_at, now);
}
void PathFinder::be_quiet(TimePoint until) { impl_->be_quiet(until); }
void PathFinder::on_peer_told() { impl_->on_peer_told(); }
std::optional<TimePoint> PathFinder::closed_until(const Path& path, TimePoint now) const {
  return impl_->closed_until(path, now);
}
void PathFinder::remove_socket(SocketId socket, TimePoint now) {
  impl_->remove_socket(socket, now);
}
void PathFinder::add_remote(const Candidate& candidate, TimePoint now) {
  impl_->add_remote(candidate, now);
}
void PathFinder::add_proven(const Path& path, TimePoint now) { impl_->add_proven(path, now); }
void PathFinder::add_connection(const Path& path, const Address& local, TimePoint now) {
  impl_->add_connection(path, local, now);
}
void PathFinder::add_relayed(const Path& path, TimePoint now, unsigned rank) {
  impl_->add_relayed(path, now, rank);
}
bool PathFinder::is_proof(const nat::StunMessage& message, ByteView raw) const {
  return impl_->is_proof(message, raw);
}
void PathFinder::on_stun(const Path& from, const nat::StunMessage& message, ByteView raw,
                         TimePoint now) {
  impl_->on_stun(from, message, raw, now);
}
void PathFinder::on_authentic(const Path& from, TimePoint now) { impl_->on_authentic(from, now); }
void PathFinder::on_sent(TimePoint now) { impl_->on_sent(now); }
void PathFinder::on_sent_one_way(TimePoint now) { impl_->ask_if_silent(now); }
void PathFinder::set_mapping_lifetime(std::optional<Duration> lifetime) {
  impl_->set_mapping_lifetime(lifetime);
}
void PathFinder::prefer_streams(bool is_preferred, TimePoint now) {
  impl_->prefer_streams(is_preferred, now);
}
std::optional<Transport> PathFinder::direct_transport() const { return impl_->direct_transport(); }
void PathFinder::on_network_changed(TimePoint now) { impl_->on_network_changed(now); }
void PathFinder::on_timeout(TimePoint now) { impl_->on_timeout(now); }
std::optional<TimePoint> PathFinder::next_timeout() const { return impl_->next_timeout(); }
std::size_t PathFinder::poll_datagram(CheckTarget& to, MutableByteView out, TimePoint now) {
  return impl_->poll_datagram(to, out, now);
}
const Path* PathFinder::selected() const { return impl_->selected(); }
const Path* PathFinder::duplicate_to(TimePoint now) const { return impl_->duplicate_to(now); }
std::optional<Duration> PathFinder::selected_rtt() const { return impl_->selected_rtt(); }
std::size_t PathFinder::datagram_bytes() const { return impl_->datagram_bytes(); }
bool PathFinder::is_doubted() const { return impl_->is_doubted(); }
bool PathFinder::is_failed() const { return impl_->is_failed(); }
ReasonCode PathFinder::reason() const { return impl_->reason(); }
std::vector<PairReport> PathFinder::report() const { return impl_->report(); }
std::optional<Address> PathFinder::reflexive_v4() const { return impl_->reflexive_v4(); }
std::optional<Address> PathFinder::answered_v4() const { return impl_->answered_v4(); }
std::optional<Method> PathFinder::method() const { return impl_->method(); }
unsigned PathFinder::search_entries_held(TimePoint now) const {
  return impl_->search_entries_held(now);
}
std::vector<TimelineEntry> PathFinder::timeline() const { return impl_->timeline(); }
const PathFinder::Counters& PathFinder::counters() const { return impl_->counters(); }

}  // namespace openp2p::path
