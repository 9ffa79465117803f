#pragma once

#include <cstdint>

#include "base/time.h"

namespace openp2p::sim {

struct ClockOptions {
  Duration offset{};             ///< What it shows when the world begins. Not negative.
  std::int64_t fast_by_ppm = 0;  ///< So many microseconds a second; negative: slow.
};

/// A host's monotonic clock, which machines on it get their time from. Real ones begin at any value
/// and run fast or slow: crystals by up to 100 ppm, virtual machines and clocks that are being
/// corrected by more. No two of them agree on how long a second is.
class Clock {
 public:
  static constexpr std::int64_t kFastByPpmMax = 500'000;  ///< Either way: no clock stands still.

  explicit Clock(const ClockOptions& options = {});

  /// What it shows at that time of the world.
  TimePoint at(TimePoint world) const;
  /// The first time of the world at which it shows `local` or later: when a timer fires.
  TimePoint when(TimePoint local) const;

 private:
  ClockOptions options_;
};

}  // namespace openp2p::sim
