#include <algorithm>
#include <utility>

#include "path/nat_class.h"
#include "path/path_finder_impl.h"

/// What goes beyond checks between candidates: plans for pairs of NATs, openers, searches for
/// ports, the sockets they need, and the account of it all.
namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// Signalling takes less; a peer that names a later moment only hurts itself.
constexpr Duration kGoWithin = 3s;
/// No path between NATs like these: a burst of checks on LAN and IPv6 still gets its chance.
constexpr Duration kHopelessPatience = 4s;
/// The last answers to a search.
constexpr Duration kSearchPatience = 1500ms;
/// A signal that was lost comes so much later, as a rule (RFC 9002 section 6.2).
constexpr Duration kAnswererGrace = 600ms;
/// IPv6 on both sides needs no search, as a rule: a round trip within a continent.
constexpr Duration kIpv6Patience = 150ms;
/// What the agent takes to know a new NAT, as a rule.
constexpr Duration kMeasuringTime = 1s;
/// Both ways, and what the two systems take to answer.
constexpr Duration kSilenceFair = 100ms;
/// After a path was chosen the peer may choose another for a while; then one socket is enough.
constexpr Duration kFanGrace = 3s;
/// A fan that met nobody yet stays while the peer may ask: 980 ports, one each 4 ms, and a round
/// trip.
constexpr Duration kFanPatience = 5s;

/// The same NAT, though it has gone on to other ports.
bool is_alike(const nat::NatProfile& a, const nat::NatProfile& b) {
  return nat_class(a) == nat_class(b) && a.external == b.external;
}

bool is_internet(const IpAddress& ip) { return !ip.is_private() && !ip.is_link_local(); }

/// It leads through NATs, as a rule.
bool is_translated(const Path& path) {
  return path.remote.ip.is_v4() && is_internet(path.remote.ip);
}

}  // namespace

void PathFinder::Impl::set_profiles(const SideProfile& local, const SideProfile& peer,
                                    unsigned round, TimePoint go_at, TimePoint now) {
  Plan plan = make_plan(local, peer, config_.role, round, config_.history);
  if (was_connected_) plan.skip_watch();  // Somebody waits for data to flow again.
  const bool is_moved = is_peer_told_ || local_profile_.udp.external != local.udp.external ||
                        peer_profile_.udp.external != peer.udp.external;
  const bool is_repeated = plan_ && round_ == round && *plan_ == plan && !is_moved;
  const bool is_tcp_known =
      is_alike(local_profile_.tcp, local.tcp) && is_alike(peer_profile_.tcp, peer.tcp);
  local_profile_ = local;
  peer_profile_ = peer;
  // The peer may have lost the path, or have moved, while we are silent.
  const bool has_search = !plan.steps.empty();
  if (has_search && is_doubtful(now)) suspect(now);
  if (is_cut_off(now)) suspect(now);
  // What led to a path that was lost is done again: a router may have forgotten its mappings.
  // In a new network the plan is another one, as soon as its NAT was measured.
  const bool is_settled = now >= moved_at_ + kMeasuringTime;
  const bool is_lost = was_connected_ && (selected_ == nullptr || suspect_since_);
  const bool is_search_due = has_search && is_lost && is_settled && !spray_.is_running();
  const TimePoint begin_at = std::clamp(go_at, now, now + kGoWithin);
  if (is_repeated && !is_search_due && !is_turn(plan, now)) {
    const bool is_due = streams_.is_due() || !is_tcp_known;
    const auto next_go = is_due ? std::optional<TimePoint>(begin_at) : std::nullopt;
    return streams_.set_profiles(local, peer, round, next_go, now);
  }
  const bool is_new_round = plan_ && round_ != round;
  plan_ = std::move(plan);
  round_ = round;
  go_at_ = begin_at;
  note({.at = now,
        .event = TimelineEvent::kPlanned,
        .reason = plan_->reason,
        .address = Address{peer.udp.external},
        .count = round});
  begun_ = MethodSet::none();
  for (const auto& pair : list_.pairs()) pair->is_prepared = false;
  begin_anew(now);
  if (is_new_round && !has_direct()) restart_all(now);
  is_search_postponed_ = false;
  start_search(now);
  streams_.set_profiles(local, peer, round, go_at_, now);
  set_patience(now);
}

/// Makes a plan fit what the two routers may yet be asked. False: there is not enough for it.
bool PathFinder::Impl::fit(Plan& plan, TimePoint now) const {
  SideProfile own = local_profile_;
  if (config_.probes != nullptr) {  // What the peer was told, if that is less: it plans by it.
    const unsigned left = config_.probes->left(peer_profile_.udp.external, now);
    own.entries_left = std::min(left, own.entries_left.value_or(left));
  }
  return plan.fit(own, peer_profile_);
}

/// The search had to wait, since others had what routers may be asked, and need not any more.
bool PathFinder::Impl::is_turn(Plan plan, TimePoint now) const {
  return is_search_over_budget_ && !spray_.is_running() && is_search_wanted() && fit(plan, now);
}

void PathFinder::Impl::start_search(TimePoint now) {
  spray_.stop(now);  // What it had reserved serves the next one.
  note_search(now);
  Plan plan = *plan_;
  is_search_over_budget_ = !fit(plan, now);
  if (is_search_over_budget_) {
    note({.at = now,
          .event = TimelineEvent::kMethodEnded,
          .method = plan_->steps.front().method,
          .reason = ReasonCode::kBudgetExhausted,
          .address = Address{peer_profile_.udp.external}});
  }
  spray_.start(plan, peer_profile_.udp.external, go_at_, random_.fork(), now);
}

void PathFinder::Impl::set_patience(TimePoint now) {
  is_failed_ = false;
  if (plan_->is_hopeless()) {
    give_up_at_ = std::min(give_up_at_, now + kHopelessPatience);
  } else {
    give_up_at_ = std::max(give_up_at_, go_at_ + plan_->duration() + kSearchPatience);
  }
}

bool PathFinder::Impl::is_hopeless() const { return plan_ && plan_->is_hopeless(); }

/// Once for each pair and plan, before its first check.
void PathFinder::Impl::prepare(CheckPair& pair, TimePoint now) {
  pair.is_prepared = true;
  if (!pair.method) pair.method = method_of(pair);
  const bool is_relayed = *pair.method == Method::kRelayed;
  pair.is_barred = plan_ && !is_relayed && !plan_->methods.has(*pair.method) && !pair.is_valid();
  const bool is_checked = *pair.method == Method::kDirect || *pair.method == Method::kMapped ||
                          *pair.method == Method::kPunch;
  if (plan_ && is_checked && !pair.is_barred && !pair.is_valid()) {
    note_begun(*pair.method, pair.path().remote, now);
  }
  hold(pair, now);
}

/// Who has told the other something does not know that it has come, if the signal was late, so it
/// waits a little for a check of the peer's, which ends the wait. Who was told knows that the other
/// has sent its opener. At first the controlled side tells last; later, who comes from elsewhere.
void PathFinder::Impl::hold(CheckPair& pair, TimePoint now) {
  const std::uint8_t hops = opener_hops(pair, now);
  const bool may_be_held = hops != 0 && !pair.is_opened;
  if (may_be_held && now < pair.hold_until) return;  // It waits already.
  const bool has_told = !was_direct_ && !is_controlling();
  const TimePoint met_at = go_at_ + (has_told ? kAnswererGrace : Duration::zero());
  const TimePoint hold_until = std::max(met_at, come_by_);
  const bool is_held = may_be_held && now < hold_until;
  pair.opener_hops = is_held ? hops : std::uint8_t{0};
  pair.hold_until = is_held ? hold_until : TimePoint::min();
  if (is_held) all_open_at_ = std::max(all_open_at_, hold_until);
}

/// Of a first check there; 0: it need not be an opener.
std::uint8_t PathFinder::Impl::opener_hops(const CheckPair& pair, TimePoint now) const {
  if (!plan_ || pair.is_stream() || !is_translated(pair.path())) return 0;
  if (plan_->opener_hops != 0) return plan_->opener_hops;
  return now < come_by_ && may_spoil(pair) ? Plan::kOpenerHops : std::uint8_t{0};
}

void PathFinder::Impl::be_quiet(TimePoint until) {
  quiet_until_ = until;
  all_open_at_ = std::max(all_open_at_, until);
  for (const auto& pair : list_.pairs()) {
    if (!may_spoil(*pair)) continue;
    pair->is_opened = false;
    pair->hold_until = TimePoint::min();
  }
}

/// The peer hears of us, and answers from a NAT that knows us by then.
void PathFinder::Impl::begin_anew(TimePoint now) {
  if (!std::exchange(is_peer_told_, false)) return;
  come_by_ = go_at_ + kAnswererGrace;
  quiet_until_ = now;
  for (const auto& pair : list_.pairs()) {
    if (pair->is_opened || !may_spoil(*pair)) continue;
    prepare(*pair, now);
    pair->check_by(now);
  }
}

/// Whether what is sent there may spoil the peer's NAT, if it does not expect it. A mapped port is
/// open by request.
bool PathFinder::Impl::may_spoil(const CheckPair& pair) const {
  return !pair.is_stream() && !is_relayed(pair.path().socket) && is_translated(pair.path()) &&
         pair.remote().candidate.type != CandidateType::kMapped && may_be_touchy(peer_profile_.udp);
}

TimePoint PathFinder::Impl::quiet_until(const CheckPair& pair) const {
  return !pair.is_opened && may_spoil(pair) ? quiet_until_ : TimePoint::min();
}

/// Of whatever is no opener.
TimePoint PathFinder::Impl::closed_until(const CheckPair& pair) const {
  return pair.is_opened ? TimePoint::min() : std::max(quiet_until(pair), pair.hold_until);
}

std::optional<TimePoint> PathFinder::Impl::closed_until(const Path& path, TimePoint now) const {
  if (now >= all_open_at_) return std::nullopt;
  const CheckPair* pair = list_.find(path);
  const TimePoint until = pair == nullptr ? TimePoint::min() : closed_until(*pair);
  return now < until ? std::optional(until) : std::nullopt;
}

/// Searches tell more, by themselves: see note_search.
void PathFinder::Impl::note_begun(Method method, std::optional<Address> to, TimePoint now) {
  if (begun_.has(method)) return;
  begun_ = begun_.with(method);
  note({.at = now, .event = TimelineEvent::kMethodBegun, .method = method, .address = to});
}

Method PathFinder::Impl::method_of(const CheckPair& pair) const {
  if (pair.is_stream()) return Method::kTcpDirect;
  if (const auto method = spray_.method_of(pair.path())) return *method;
  const Candidate& remote = pair.remote().candidate;
  if (remote.type == CandidateType::kMapped) return Method::kMapped;
  const bool is_direct = remote.type == CandidateType::kHost || remote.address.ip.is_v6() ||
                         !is_internet(remote.address.ip) ||
                         (plan_ && nat_class(local_profile_.udp) == NatClass::kOpen &&
                          !local_profile_.udp.is_translated);
  return is_direct ? Method::kDirect : Method::kPunch;
}

/// Whether nothing has come over the path in use for longer than an answer takes.
bool PathFinder::Impl::is_doubtful(TimePoint now) const {
  if (selected_ == nullptr || suspect_since_) return false;
  const Duration rtt = selected_->rtt().value_or(kSilenceFair);
  return now - selected_->heard_at() > std::max(kSilenceFair, 2 * rtt);
}

/// The peer is elsewhere, or looks for a path by TCP; or one side has come to where UDP does not
/// pass, and nothing comes over what is in use, which in a LAN it may.
bool PathFinder::Impl::is_cut_off(TimePoint now) const {
  if (!has_direct() || suspect_since_) return false;
  const bool is_udp_out = local_profile_.udp.is_blocked || peer_profile_.udp.is_blocked;
  return streams_.has_news() || (is_udp_out && !selected_->is_stream() && is_doubtful(now));
}

/// A path worth searching for: there is none, or a doubted one, or one that somebody else pays for.
bool PathFinder::Impl::is_search_wanted() const {
  return !has_direct() || suspect_since_ || selected_->is_stream();
}

std::size_t PathFinder::Impl::poll_spray(CheckTarget& to, MutableByteView out, TimePoint now) {
  if (!spray_.is_running() || now < go_at_) return 0;
  if (!is_search_wanted()) {
    spray_.stop(now);
    return 0;
  }
  postpone_search();
  if (const auto target = list_.find_remote_at(peer_profile_.udp.external)) {
    spray_.set_target(*target);
  }
  if (const auto socket = list_.main_socket_v4()) spray_.set_main_socket(*socket);
  const auto probe = spray_.poll(now);
  note_search(now);
  if (!probe) return 0;
  nat::StunMessage message = make_check(probe->path, /*is_nomination=*/false);
  const std::size_t size = nat::encode_stun(message, config_.check_key, out);
  spray_.on_sent(probe->path, probe->method, message.transaction, now);
  ++counters_.probes_sent;
  to = {probe->path, probe->hop_limit};
  return size;
}

void PathFinder::Impl::postpone_search() {
  if (std::exchange(is_search_postponed_, true)) return;
  const bool has_ipv6 = std::ranges::any_of(list_.pairs(), [](const auto& pair) {
    const IpAddress& ip = pair->path().remote.ip;
    return ip.is_v6() && is_internet(ip) && !is_relayed(pair->path().socket);
  });
  if (!has_ipv6) return;
  spray_.postpone(kIpv6Patience);
  give_up_at_ += kIpv6Patience;
}

void PathFinder::Impl::note_search(TimePoint now) {
  while (const auto event = spray_.poll_event()) {
    is_search_over_budget_ |= event->reason == ReasonCode::kBudgetExhausted;
    note({.at = now,
          .event = event->is_end ? TimelineEvent::kMethodEnded : TimelineEvent::kMethodBegun,
          .method = event->method,
          .reason = event->reason,
          .address = Address{peer_profile_.udp.external},
          .count = event->count});
    if (event->is_end) tidy_at_ = now + (has_direct() ? kFanGrace : kFanPatience);
  }
}

/// The pair of a path that a search asked: no candidate of anybody's, so it costs none of their
/// budget. There are no more of them than there were checks.
CheckPair* PathFinder::Impl::learn_searched(const Path& from, TimePoint now) {
  CheckPair* pair = list_.add_proven(from, now);
  if (pair == nullptr) return nullptr;
  log_.debug(now, "path.found address={}", from.remote.text());
  revive(now);
  return pair;
}

/// An answer to a check of a search: the first sign of life on its path.
void PathFinder::Impl::on_search_answer(const Path& from, const nat::StunMessage& message,
                                        ByteView raw, TimePoint now) {
  const auto sent_at = spray_.on_answer(from, message.transaction);
  if (!sent_at) {
    ++counters_.ignored;
    return;
  }
  if (!nat::verify_integrity(raw, config_.check_key)) {
    ++counters_.forged;
    return;
  }
  CheckPair* pair = list_.find(from);
  if (pair == nullptr) pair = learn_searched(from, now);
  if (pair == nullptr) return;
  pair->on_answer_to(*sent_at, now);
  note_answer(*pair);
  on_pair_answered(*pair, now);
}

void PathFinder::Impl::note_choice(const CheckPair* old, TimePoint now) {
  if (!spray_.fan().empty()) tidy_at_ = now + kFanGrace;
  if (selected_ == nullptr) {
    note({.at = now,
          .event = TimelineEvent::kPathLost,
          .method = old->method,
          .reason = ReasonCode::kLostConsent,
          .address = old->path().remote});
    return;
  }
  if (!selected_->is_prepared) prepare(*selected_, now);
  // The peer's search may have met an ordinary pair of ours.
  const bool has_steps = plan_ && !plan_->steps.empty();  // Of the latest plan, not the search's.
  const bool is_searched = has_steps && spray_.probes_sent() > 0 && !selected_->is_stream() &&
                           selected_->path().remote.ip == peer_profile_.udp.external;
  if (is_searched && selected_->method == Method::kPunch) {
    selected_->method = plan_->steps.front().method;
  }
  note({.at = now,
        .event = old == nullptr ? TimelineEvent::kPathSelected : TimelineEvent::kPathSwitched,
        .method = selected_->method,
        .reason = is_over_favoured_stream() ? ReasonCode::kUdpThrottled : ReasonCode::kNone,
        .address = selected_->path().remote});
  if (config_.history == nullptr || !plan_ || !has_direct()) return;
  config_.history->note(nat_class(local_profile_.udp), nat_class(peer_profile_.udp),
                        *selected_->method);
}

bool PathFinder::Impl::is_in_use(SocketId socket) const {
  if (has_direct()) {
    return selected_->path().socket == socket || (previous_ && previous_->socket == socket);
  }
  return std::ranges::any_of(list_.pairs(), [&](const auto& pair) {
    return pair->path().socket == socket && (pair->is_valid() || pair->is_bursting());
  });
}

/// Sockets of a fan that met nobody are closed; the one in use stays as long as its path.
void PathFinder::Impl::tidy_fan(TimePoint now) {
  if (now < tidy_at_) return;
  tidy_at_ = CheckPair::kNever;
  if (is_search_wanted() && spray_.is_running()) return;  // Its end comes here again.
  const std::vector<SocketId> sockets(spray_.fan().begin(), spray_.fan().end());
  for (const SocketId socket : sockets) {
    if (is_in_use(socket)) continue;
    const bool has_pair = std::ranges::any_of(
        list_.pairs(), [&](const auto& pair) { return pair->path().socket == socket; });
    if (has_pair) remove_socket(socket, now);
    spray_.close(socket);
  }
  if (!has_direct() && !spray_.fan().empty()) tidy_at_ = now + kFanGrace;
}

std::optional<TimePoint> PathFinder::Impl::reach_deadline() const {
  std::optional<TimePoint> next;
  if (tidy_at_ != CheckPair::kNever) next = tidy_at_;
  if (!spray_.is_running()) return next;
  const auto probe_at = spray_.next_timeout();
  if (probe_at) next = earlier(next, std::max(*probe_at, go_at_));
  return next;
}

ReasonCode PathFinder::Impl::failure_reason() const {
  if (is_hopeless()) return plan_->reason;
  const bool has_pairs = std::ranges::any_of(
      list_.pairs(), [](const auto& pair) { return !is_relayed(pair->path().socket); });
  if (!has_pairs) return ReasonCode::kNoCandidates;
  const ReasonCode missed = plan_ ? plan_->missed : ReasonCode::kSprayMissed;
  if (missed == ReasonCode::kBlockMissed) return missed;  // The budget makes it rare, by design.
  if (is_search_over_budget_) return ReasonCode::kBudgetExhausted;
  return spray_.probes_sent() > 0 ? missed : ReasonCode::kNoAnswer;
}

std::optional<Method> PathFinder::Impl::method() const {
  return selected_ == nullptr ? std::nullopt : selected_->method;
}

}  // namespace openp2p::path
