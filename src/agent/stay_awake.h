#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

#include "base/time.h"

namespace openp2p::agent {

/// Whether a driver's loop looks again or sleeps.
///
/// Near by, the answer to what was sent or handed on comes sooner than a processor wakes from its
/// sleep, above all in a virtual machine: so after data the loop looks on for a moment. Where
/// nothing ever comes within it (a long path, a slow service), or others want the processor, the
/// moment is only spent on every second, fourth .. time, until it is of use again.
///
/// Threading: one owner.
class StayAwake {
 public:
  /// A wait that ends without data happens on any path; so many in a row do not where it is near.
  static constexpr int kMissesMax = 4;
  /// The rarest try: for bursts at 1 Gbit/s one a 30 ms, or 0.3 % of a processor.
  static constexpr std::size_t kSkippedMax = 63;

  explicit StayAwake(Duration span) : span_(span) {}

  /// Data was sent or received. True: ask wants_to_look() from now on, turn by turn.
  bool on_moved() {
    if (is_awake_) {
      if (until_) {  // It came while we looked.
        misses_ = 0;
        gap_ = 0;
      }
      until_.reset();
      return true;
    }
    if (skipped_++ < gap_) return false;
    is_awake_ = true;
    return true;
  }

  /// At the end of a turn. The span counts from the first one after the data: turns may be long.
  /// `preemptions`: how often this thread lost its processor to others, ever. One more ends the
  /// look, and makes it rare at once.
  bool wants_to_look(TimePoint now, std::int64_t preemptions) {
    if (!is_awake_) return false;
    if (!until_) {
      until_ = now + span_;
      preemptions_ = preemptions;
    }
    const bool is_unwelcome = preemptions != preemptions_;
    if (now < *until_ && !is_unwelcome) return true;
    if (is_unwelcome) gap_ = kSkippedMax;
    if (misses_ == kMissesMax) gap_ = std::min(2 * gap_ + 1, kSkippedMax);
    misses_ = std::min(misses_ + 1, kMissesMax);
    skipped_ = 0;
    is_awake_ = false;
    until_.reset();
    return false;
  }

 private:
  const Duration span_;
  std::int64_t preemptions_ = 0;
  bool is_awake_ = false;
  std::optional<TimePoint> until_;  ///< nullopt: from the next look at the clock on.
  int misses_ = 0;
  std::size_t gap_ = 0;  ///< So much data passes before the next try.
  std::size_t skipped_ = 0;
};

}  // namespace openp2p::agent
