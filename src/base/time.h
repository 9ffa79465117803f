#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

/// Time for protocol machines. There is no now(): time is always an argument, read once per wake-up
/// by a driver, or made up by the simulator.
namespace openp2p {

struct MonoClock {  // A type for arithmetic only.
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonoClock>;
  static constexpr bool is_steady = true;
};
using Duration = MonoClock::duration;
using TimePoint = MonoClock::time_point;

/// Wall-clock time, in microseconds since 1970 UTC: only for what is stored, logged or compared
/// with an expiry.
struct WallTime {
  std::int64_t us = 0;
  friend constexpr auto operator<=>(WallTime, WallTime) = default;
};

/// The earlier of two deadlines, where nullopt means "no timer wanted".
constexpr std::optional<TimePoint> earlier(std::optional<TimePoint> a, std::optional<TimePoint> b) {
  if (!a) return b;
  if (!b) return a;
  return *a < *b ? a : b;
}

}  // namespace openp2p
