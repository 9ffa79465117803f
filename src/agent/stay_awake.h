#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

#include "base/time.h"

namespace openp2p::agent {

/// Whether a driver's loop looks again or sleeps.
///
/// On a LAN the answer to a burst comes sooner than a processor wakes from its sleep, above all in
/// a virtual machine: so after bulk data the loop looks on for a moment. Where nothing ever comes
/// within it (a long path, a processor that others need too), the moment is only spent on every
/// second, fourth .. burst, until it is of use again.
///
/// Threading: one owner.
class StayAwake {
 public:
  /// After the last burst. Measured: without it a quarter of the speed is lost; 400 us cost a tenth
  /// more processor time.
  static constexpr Duration kSpan = std::chrono::microseconds(100);
  /// What counts as bulk: half a burst. Small messages wake the loop as they come.
  static constexpr std::size_t kBulkBytesMin = 32 << 10;
  /// A wait that ends without data happens on any path; so many in a row do not on a LAN.
  static constexpr int kMissesMax = 4;
  /// The rarest try: at 1 Gbit/s one a 30 ms, or 0.3 % of a processor.
  static constexpr std::size_t kSkippedMax = 63;

  /// `bytes` were sent or received. True: ask wants_to_look() from now on, turn by turn.
  bool on_moved(std::size_t bytes) {
    if (bytes < kBulkBytesMin) return false;
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
  bool wants_to_look(TimePoint now) {
    if (!is_awake_) return false;
    if (!until_) until_ = now + kSpan;
    if (now < *until_) return true;
    if (misses_ == kMissesMax) gap_ = std::min(2 * gap_ + 1, kSkippedMax);
    misses_ = std::min(misses_ + 1, kMissesMax);
    skipped_ = 0;
    is_awake_ = false;
    until_.reset();
    return false;
  }

 private:
  bool is_awake_ = false;
  std::optional<TimePoint> until_;  ///< nullopt: from the next look at the clock on.
  int misses_ = 0;
  std::size_t gap_ = 0;  ///< So many bursts pass before the next try.
  std::size_t skipped_ = 0;
};

}  // namespace openp2p::agent
