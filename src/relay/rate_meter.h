#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace openp2p::relay {

/// Bits per second, over the last second or two: cheap enough to be told of each datagram.
class RateMeter {
 public:
  void add(std::uint64_t bytes, TimePoint now) {
    turn(now);
    bytes_ += bytes;
  }
  /// What the last whole second had, or the running one if it has more already.
  std::uint64_t bits_per_second(TimePoint now) const {
    RateMeter copy = *this;
    copy.turn(now);
    return std::max(copy.last_bytes_, copy.bytes_) * 8;
  }

 private:
  void turn(TimePoint now) {
    constexpr Duration kWindow = std::chrono::seconds(1);
    if (now < begin_ + kWindow) return;
    last_bytes_ = now < begin_ + 2 * kWindow ? bytes_ : 0;
    bytes_ = 0;
    begin_ = now;
  }

  TimePoint begin_{};
  std::uint64_t bytes_ = 0;
  std::uint64_t last_bytes_ = 0;
};

}  // namespace openp2p::relay
