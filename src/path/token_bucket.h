#pragma once

#include <algorithm>

#include "base/time.h"

namespace openp2p::path {

/// At most `capacity` at once, then one every `refill`. Kept as one time (the generic cell rate
/// algorithm), so that a full bucket needs no upkeep.
class TokenBucket {
 public:
  TokenBucket(int capacity, Duration refill) : refill_(refill), slack_(refill * (capacity - 1)) {}

  bool has_token(TimePoint now) const { return spent_until_ <= now + slack_; }
  bool take(TimePoint now) {
    if (!has_token(now)) return false;
    spent_until_ = std::max(spent_until_, now) + refill_;
    return true;
  }
  /// When the next token is there; `now` or earlier if one is there already.
  TimePoint next_token_at() const {
    return spent_until_ == TimePoint::min() ? spent_until_ : spent_until_ - slack_;
  }
  bool is_full(TimePoint now) const { return spent_until_ <= now; }
  void fill() { spent_until_ = TimePoint::min(); }
  /// One token more, up to the capacity.
  void give() {
    if (spent_until_ != TimePoint::min()) spent_until_ -= refill_;
  }

 private:
  Duration refill_;
  Duration slack_;
  TimePoint spent_until_ = TimePoint::min();
};

}  // namespace openp2p::path
