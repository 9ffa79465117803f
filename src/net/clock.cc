#include "net/clock.h"

#include <chrono>
#include <ctime>

namespace openp2p::net {

TimePoint monotonic_now() {
  const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
  return TimePoint(std::chrono::duration_cast<Duration>(since_boot));
}

WallTime wall_now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count()};
}

#ifdef CLOCK_BOOTTIME
Duration suspended_so_far() {
  timespec since_boot{};
  const TimePoint awake = monotonic_now();
  if (::clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0) return Duration::zero();
  const Duration all =
      std::chrono::seconds(since_boot.tv_sec) + std::chrono::nanoseconds(since_boot.tv_nsec);
  return all - awake.time_since_epoch();
}
#else
Duration suspended_so_far() { return Duration::zero(); }
#endif

}  // namespace openp2p::net
