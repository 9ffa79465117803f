#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace openp2p::sim {

struct PolicerOptions {
  std::uint64_t bits_per_second = 1'000'000;
  std::size_t burst_bytes = 15'000;  ///< May pass at once after silence.
};

/// A token bucket that drops what is too much, and delays nothing: how networks hold a protocol
/// back.
class Policer {
 public:
  explicit Policer(const PolicerOptions& options)
      : options_(options), tokens_(static_cast<double>(options.burst_bytes)) {}

  bool lets_pass(std::size_t bytes, TimePoint now) {
    const double seconds = std::chrono::duration<double>(now - at_).count();
    at_ = now;
    tokens_ = std::min(tokens_ + seconds * static_cast<double>(options_.bits_per_second) / 8,
                       static_cast<double>(options_.burst_bytes));
    if (tokens_ < static_cast<double>(bytes)) return false;
    tokens_ -= static_cast<double>(bytes);
    return true;
  }

 private:
  PolicerOptions options_;
  double tokens_;
  TimePoint at_{};
};

}  // namespace openp2p::sim
