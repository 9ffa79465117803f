#include "relay/receipt_watch.h"

namespace openp2p::relay {

bool ReceiptWatch::may_ask(TimePoint now) const {
  return !asked_at_ || now - *asked_at_ >= kAskGap;
}

bool ReceiptWatch::on_delivered(std::uint64_t bytes, TimePoint now) {
  delivered_ += bytes;
  if (!used_since_) used_since_ = now;
  return delivered_ - asked_ >= kAskBytes && may_ask(now);
}

bool ReceiptWatch::is_wanted(TimePoint now) const {
  if (!used_since_ || !may_ask(now) || delivered_ - asked_ < kWorthBytes) return false;
  return delivered_ - asked_ >= kAskBytes || now - *used_since_ >= kAskTime;
}

void ReceiptWatch::asked(TimePoint now) {
  asked_ = delivered_;
  asked_at_ = now;
  used_since_.reset();
  if (!unanswered_since_) unanswered_since_ = now;
}

bool ReceiptWatch::is_overdue(TimePoint now) const {
  if (!unanswered_since_) return false;
  const Duration waited = now - *unanswered_since_;
  if (waited >= kUnprovenTimeMax) return true;
  return waited >= kAnswerTime && delivered_ - covered_ > kUnprovenBytesMax;
}

ReceiptWatch::Verdict ReceiptWatch::on_receipt(std::uint64_t bytes) {
  if (bytes > delivered_) return Verdict::kTooHigh;
  if (bytes < proven_) return Verdict::kFallen;
  const bool is_more = bytes > proven_;
  proven_ = bytes;
  if (unanswered_since_) {
    if (bytes + asked_ / kLossDivisor + kSlackBytes < asked_) return Verdict::kTooLow;
    unanswered_since_.reset();
    covered_ = asked_;
  }
  return is_more ? Verdict::kTaken : Verdict::kRepeated;
}

}  // namespace openp2p::relay
