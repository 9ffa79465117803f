#include "path/check_pair.h"

#include <algorithm>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

constexpr int kQuickSteps = 2;          // Both sides' first packets cross; these mend one loss.
constexpr Duration kCalmRetry = 500ms;  // Between checks of a path that nobody doubts yet.

}  // namespace

CheckPair::CheckPair(const Path& path, RemoteCandidate& remote, Duration first_gap, TimePoint now)
    : mtu(path.remote.ip.is_v4()),
      path_(path),
      remote_(&remote),
      first_gap_(first_gap),
      appeared_at_(now),
      due_at_(now),
      unanswered_since_(now) {}

void CheckPair::restart(TimePoint now) {
  steps_ = 0;
  is_rapid_ = true;
  due_at_ = now;
}

void CheckPair::renew_nomination() {
  is_nomination_known_ = false;
  for (Transaction& transaction : transactions_) transaction.is_nomination = false;
}

void CheckPair::check_by(TimePoint at) { due_at_ = std::min(due_at_, at); }

Duration CheckPair::gap_after_check() const {
  if (!is_rapid_ && is_valid_) return std::max(kCalmRetry, 2 * rtt_.value_or(kCalmRetry));
  return steps_ <= kQuickSteps ? first_gap_ : 2 * first_gap_;
}

CheckPair::Transaction& CheckPair::open_transaction(const nat::TransactionId& id, TimePoint now) {
  Transaction& transaction = transactions_[checks_sent_++ % kTransactionsMax];
  transaction = {.id = id, .sent_at = now, .is_open = true};
  return transaction;
}

void CheckPair::on_sent(const nat::TransactionId& id, bool is_nomination, TimePoint now) {
  if (unanswered_++ == 0) unanswered_since_ = now;
  ++steps_;
  is_triggered = false;
  open_transaction(id, now).is_nomination = is_nomination;
  due_at_ = is_bursting() ? now + gap_after_check() : kNever;
}

void CheckPair::on_probe_sent(const nat::TransactionId& id, std::size_t bytes, TimePoint now) {
  open_transaction(id, now).probe_bytes = bytes;
}

bool CheckPair::knows(const nat::TransactionId& id) const {
  return std::ranges::any_of(transactions_,
                             [&](const Transaction& t) { return t.is_open && t.id == id; });
}

bool CheckPair::on_answer(const nat::TransactionId& id, TimePoint now) {
  const auto it = std::ranges::find_if(
      transactions_, [&](const Transaction& t) { return t.is_open && t.id == id; });
  if (it == transactions_.end()) return false;
  it->is_open = false;
  if (it->is_nomination) is_nomination_known_ = true;
  if (it->probe_bytes != 0) mtu.on_answer(it->probe_bytes);
  if (it->probe_bytes >= MtuSearch::kBaseBytes) narrow_until = TimePoint::min();
  add_rtt(now - it->sent_at);
  set_proven(now);
  return true;
}

void CheckPair::on_answer_to(TimePoint sent_at, TimePoint now) {
  add_rtt(now - sent_at);
  set_proven(now);
}

void CheckPair::set_proven(TimePoint now) {
  is_valid_ = true;
  is_opened = true;
  answered_at_ = now;
  unanswered_ = 0;
  steps_ = 0;
  is_rapid_ = false;
  due_at_ = kNever;  // Whoever knows the pair's part sets the next check.
}

void CheckPair::set_invalid() {
  is_valid_ = false;
  is_rapid_ = true;
  is_nomination_known_ = false;
  rtt_.reset();  // What comes back may go another way.
  rtt_samples_ = 0;
}

void CheckPair::add_rtt(Duration sample) {
  sample = std::max(sample, Duration::zero());
  // Samples are rare, so each counts more than in RFC 6298.
  rtt_ = rtt_ ? *rtt_ + (sample - *rtt_) / 4 : sample;
  ++rtt_samples_;
}

}  // namespace openp2p::path
