#include "net/clock.h"

#include <chrono>

namespace openp2p::net {

TimePoint monotonic_now() {
  const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
  return TimePoint(std::chrono::duration_cast<Duration>(since_boot));
}

WallTime wall_now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count()};
}

}  // namespace openp2p::net
