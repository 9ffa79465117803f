#include <algorithm>

#include "path/path_finder_impl.h"
#include "path/preference.h"

/// Which path is used, and whether it lives: nomination (RFC 8445 section 8), consent (RFC 7675).
namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

// Silence. The first figure is a guess that any path shorter than that can be wrong about; the
// second leaves a dozen checks to be answered, so that 10 % loss does not end a path.
constexpr Duration kPatienceMin = 1s;
/// The same where the peer sends over another path: for an answer to what was asked, and one lost.
constexpr Duration kPatienceElsewhere = 200ms;
constexpr Duration kLostAfterMin = 2500ms;
constexpr Duration kLostAfterPatience = 1500ms;
/// RFC 7675 section 5.1: whatever else arrives, checks must be answered within this.
constexpr Duration kConsentExpiry = 30s;
constexpr int kUnansweredMax = 5;

// A doubted path is left before it is lost if another answers and it misses this much.
constexpr int kOvertakenSteps = 4;
constexpr int kOvertakenStepsElsewhere = 2;
constexpr Duration kOvertakenAfter = 300ms;
/// In a network that has just changed less is expected of it.
constexpr int kOvertakenStepsMoved = 2;
constexpr Duration kOvertakenAfterMoved = 100ms;

/// NAT bindings live 30 s and more (RFC 4787 asks for 2 min; many keep less).
constexpr Duration kStandbyInterval = 25s;
constexpr Duration kStandbyIntervalMax = 30s;  ///< Longer, and kMeasuredWithin would forget them.
constexpr int kStandbyMax = 3;                 ///< More would cost wake-ups and gain little.
constexpr Duration kSampleGap = 200ms;
/// What was measured longer ago says nothing about a path now: two standby intervals.
constexpr Duration kMeasuredWithin = 60s;

// Each change of mind doubles the time before the next, so that paths that take turns in being best
// do not shake the session; a quiet while forgives.
constexpr Duration kHoldFirst = 200ms;
constexpr Duration kHoldMax = 1min;
constexpr Duration kHoldForgiven = 10min;

constexpr Duration kDuplicateMin = 20ms;
constexpr Duration kDuplicateMax = 1s;

/// How long after a new address appeared its answer may speak against the selected path.
constexpr Duration kChallengeWithin = 5s;
constexpr Duration kChallengeGrace = 30ms;

}  // namespace

void PathFinder::Impl::on_pair_answered(CheckPair& pair, TimePoint now) {
  if (pair.remote().candidate.type != CandidateType::kRelayed) is_failed_ = false;
  if (selected_ == nullptr) {
    select(&pair, now);
  } else if (&pair == selected_) {
    if (suspect_since_) pair.mtu.doubt(now);  // Small checks pass: then it may be the size.
    trust();
  } else if (nominated_ == pair.path() && !pair.is_narrow(now)) {
    select(&pair, now);
  } else if (is_doubted() && is_overtaken(now)) {
    lose_selected(now);
  } else {
    note_challenger(pair, now);
    consider_better(now);
  }
  schedule_settled(now);
}

void PathFinder::Impl::on_nomination(CheckPair& pair, std::uint64_t number, TimePoint now) {
  if (number <= nomination_number_) return;  // Overtaken by a newer one.
  nomination_number_ = number;
  nominated_ = pair.path();
  if (&pair == selected_ || !pair.is_valid() || pair.is_narrow(now))
    return;  // The triggered check's answer selects it.
  if (pair.is_settled()) return select(&pair, now);
  pair.check_by(now);
}

void PathFinder::Impl::select(CheckPair* pair, TimePoint now) {
  if (pair == selected_) return;
  const CheckPair* old = selected_;
  if (old != nullptr) {
    previous_ = old->path();
    const Duration old_rtt = old->rtt().value_or(kDuplicateMin);
    const Duration new_rtt = pair == nullptr ? old_rtt : pair->rtt().value_or(old_rtt);
    duplicate_until_ = now + std::clamp(std::max(old_rtt, new_rtt), kDuplicateMin, kDuplicateMax);
  }
  if (old != nullptr && pair != nullptr) {
    ++counters_.switches;
    hold_ = now - switched_at_ > kHoldForgiven ? kHoldFirst : std::min(2 * hold_, kHoldMax);
  }
  hold_ = std::max(hold_, kHoldFirst);
  switched_at_ = now;
  selected_ = pair;
  list_.protect(pair);
  trust();
  challenger_.reset();
  is_better_waiting_ = false;
  note_choice(old, now);
  if (pair == nullptr) {
    give_up_at_ = now + config_.gather_patience;
    return start_sweeps(now);
  }
  was_connected_ = true;
  if (has_direct()) {
    was_direct_ = true;
    is_failed_ = false;
  }
  const bool has_lost_direct =
      old != nullptr && !has_direct() && old->remote().candidate.type != CandidateType::kRelayed;
  if (has_lost_direct) {  // The relay carries; a direct path is looked for as if there were none.
    is_failed_ = false;
    give_up_at_ = now + config_.gather_patience;
    start_sweeps(now);
  }
  pair->renew_nomination();
  pair->mtu.restart(now);
  pair->set_due(now);  // Tells the peer, and asks whether it still lives.
  schedule_settled(now);
}

/// Only the controlling side changes a path that works; the other follows its nominations.
void PathFinder::Impl::consider_better(TimePoint now) {
  is_better_waiting_ = false;
  if (!is_controlling() || selected_ == nullptr || suspect_since_) return;
  CheckPair* best = nullptr;
  for (const auto& pair : list_.pairs()) {
    if (pair.get() == selected_ || !pair->is_settled()) continue;
    if (now - pair->answered_at() > kMeasuredWithin || pair->is_narrow(now)) continue;
    if (!is_clearly_better(*pair, *selected_, favour())) continue;
    if (best == nullptr || goes_before(*pair, *best, favour())) best = pair.get();
  }
  if (best == nullptr) return;
  if (now >= switched_at_ + hold_) return select(best, now);
  is_better_waiting_ = true;
}

/// One that is known to lose full-size datagrams only where there is no other.
CheckPair* PathFinder::Impl::best_other(TimePoint answered_since, TimePoint now) {
  CheckPair* best = nullptr;
  for (const auto& pair : list_.pairs()) {
    if (pair.get() == selected_ || !pair->is_valid()) continue;
    if (pair->answered_at() < answered_since) continue;
    if (best != nullptr && pair->is_narrow(now) != best->is_narrow(now)) {
      if (best->is_narrow(now)) best = pair.get();
      continue;
    }
    if (best != nullptr && nominated_ == best->path()) continue;
    if (best == nullptr || nominated_ == pair->path() || goes_before(*pair, *best, favour()))
      best = pair.get();
  }
  return best;
}

/// Gives each pair that waits for nothing its next check: consent on the selected one, a few
/// samples for comparison on new ones, and a warm NAT binding for the best few of the others.
void PathFinder::Impl::schedule_settled(TimePoint now) {
  int standbys = 0;
  for (const auto& pair : list_.pairs()) {
    if (!pair->is_settled()) continue;
    const bool is_selected = pair.get() == selected_;
    const bool is_standby = !is_selected && standbys++ < kStandbyMax;
    if (pair->due_at() != CheckPair::kNever) continue;
    const bool has_news = is_controlling() || has_wished_;
    if (is_selected && has_news && !pair->is_nomination_known()) {
      pair->set_due(now);
    } else if (pair->rtt_samples() < kRttSamplesMin) {
      pair->set_due(pair->answered_at() + kSampleGap);
    } else if (is_selected) {
      pair->set_due(pair->answered_at() + jittered(config_.consent_interval));
    } else if (is_standby) {
      pair->set_due(pair->answered_at() + jittered(standby_interval()));
    }
  }
}

/// Jitter makes an interval longer by a fifth, and a check may be lost: two thirds of the lifetime.
Duration PathFinder::Impl::standby_interval() const {
  if (!mapping_lifetime_) return kStandbyInterval;
  return std::clamp(*mapping_lifetime_ * 2 / 3, config_.consent_interval, kStandbyIntervalMax);
}

Duration PathFinder::Impl::patience() const {
  const Duration rtt = selected_rtt().value_or(Duration::zero());
  if (is_peer_elsewhere_) return std::max(kPatienceElsewhere, 2 * rtt);
  return std::max(kPatienceMin, 3 * rtt);
}

Duration PathFinder::Impl::lost_after() const {
  return std::max(kLostAfterMin, patience() + kLostAfterPatience);
}

/// Then an answer over the selected path is late, or lost.
Duration PathFinder::Impl::overdue_after() const {
  return selected_rtt().value_or(config_.rtt_hint) * 5 / 4;
}

void PathFinder::Impl::on_sent(TimePoint now) {
  if (selected_ != nullptr && !waiting_since_) waiting_since_ = now;
}

/// A peer that leaves a path has found it dead: who only listens would notice much later.
void PathFinder::Impl::note_elsewhere(TimePoint now) {
  const bool is_long = now - selected_->heard_at() >= patience();
  is_peer_elsewhere_ = true;
  if (!is_long || suspect_since_) return;
  on_sent(now);
  suspect(now);
}

void PathFinder::Impl::suspect(TimePoint now) {
  log_.debug(now, "path.suspect remote={}", selected_->path().remote.text());
  suspect_since_ = now;
  restart_all(now);
  selected_->is_triggered = true;
}

void PathFinder::Impl::trust() {
  waiting_since_.reset();
  suspect_since_.reset();
  is_peer_elsewhere_ = false;
}

void PathFinder::Impl::watch_selected(TimePoint now) {
  if (selected_ == nullptr) return;
  const bool is_expired =
      selected_->unanswered() >= kUnansweredMax && now - selected_->answered_at() > kConsentExpiry;
  if (is_expired) return lose_selected(now);
  if (!waiting_since_) return;
  if (!suspect_since_ && now >= *waiting_since_ + patience()) suspect(now);
  if (!suspect_since_) return;
  if (now >= *waiting_since_ + lost_after() || is_overtaken(now)) lose_selected(now);
}

bool PathFinder::Impl::is_overtaken(TimePoint now) {
  // While it may not even be asked, any other does.
  if (closed_until(selected_->path(), now)) return best_other(*suspect_since_, now) != nullptr;
  const bool has_moved = moved_at_ == *suspect_since_;
  const Duration least = has_moved ? kOvertakenAfterMoved : kOvertakenAfter;
  const Duration fair = std::max(least, 2 * selected_rtt().value_or(Duration::zero()));
  int steps = has_moved ? kOvertakenStepsMoved : kOvertakenSteps;
  if (is_peer_elsewhere_) steps = std::min(steps, kOvertakenStepsElsewhere);
  return selected_->steps() >= steps && now >= *suspect_since_ + fair &&
         best_other(*suspect_since_, now) != nullptr;
}

void PathFinder::Impl::lose_selected(TimePoint now) {
  CheckPair* next = best_other(suspect_since_.value_or(now), now);
  selected_->set_invalid();
  select(next, now);
}

/// Small checks are answered and full-size ones are not: another path is better, whatever it is.
/// True if one was selected.
bool PathFinder::Impl::watch_width(TimePoint now) {
  if (selected_ == nullptr || !selected_->mtu.is_too_narrow()) return false;
  if (selected_->is_narrow(now)) return false;
  selected_->narrow_until = now + MtuSearch::kRaiseAfter;
  note({.at = now,
        .event = TimelineEvent::kBlackHole,
        .method = selected_->method,
        .reason = ReasonCode::kBlackHole,
        .address = selected_->path().remote});
  CheckPair* next = best_other(now - kMeasuredWithin, now);
  if (next == nullptr || next->is_narrow(now)) return false;
  select(next, now);
  tend_streams(now);
  return true;
}

void PathFinder::Impl::watch_others(TimePoint now) {
  for (const auto& pair : list_.pairs()) {
    if (pair.get() == selected_ || !pair->is_valid()) continue;
    if (pair->unanswered() < kUnansweredMax) continue;
    if (now - pair->unanswered_since() >= kLostAfterMin) pair->set_invalid();
  }
}

/// The peer answers at an address that has just appeared, while the selected path was not heard
/// since: it was asked at the same moment, so after its round trip it has a little longer to speak.
void PathFinder::Impl::note_challenger(const CheckPair& pair, TimePoint now) {
  if (challenger_ || now - pair.appeared_at() > kChallengeWithin) return;
  if (pair.is_stream()) return;  // New because it was opened, not because the peer moved.
  if (selected_->heard_at() >= pair.appeared_at()) return;
  challenger_ = pair.path();
  const Duration fair = selected_rtt().value_or(Duration::zero()) * 5 / 4;
  challenge_ends_at_ = std::max(now, pair.appeared_at() + fair) + kChallengeGrace;
}

void PathFinder::Impl::watch_challenger(TimePoint now) {
  if (!challenger_ || now < challenge_ends_at_) return;
  CheckPair* pair = list_.find(*challenger_);
  challenger_.reset();
  if (pair == nullptr || selected_ == nullptr || !pair->is_valid()) return;
  if (selected_->heard_at() < pair->appeared_at()) select(pair, now);
}

std::optional<TimePoint> PathFinder::Impl::choice_deadline() const {
  if (selected_ == nullptr) return std::nullopt;
  std::optional<TimePoint> next;
  if (waiting_since_) next = *waiting_since_ + (suspect_since_ ? lost_after() : patience());
  if (challenger_) next = earlier(next, challenge_ends_at_);
  if (is_better_waiting_) next = earlier(next, switched_at_ + hold_);
  return next;
}

}  // namespace openp2p::path
