#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace openp2p {

/// Tells fresh sequence numbers from those already seen (the shape of RFC 6479): anything older
/// than the window counts as seen. Numbers start at 0 or above.
template <std::uint64_t kWindowNumbers>
class ReplayWindow {
 public:
  static constexpr std::uint64_t kWindow = kWindowNumbers;

  bool is_fresh(std::uint64_t number) const {
    if (number > highest_) return true;
    if (highest_ - number >= kWindow) return false;
    return (word(number) & mask(number)) == 0;
  }

  void mark(std::uint64_t number) {
    if (number > highest_) {
      const std::uint64_t steps =
          std::min(number / kWordBits - highest_ / kWordBits, std::uint64_t{kWords});
      for (std::uint64_t i = 0; i < steps; ++i) seen_[(number / kWordBits - i) % kWords] = 0;
      highest_ = number;
    } else if (highest_ - number >= kWindow) {
      return;
    }
    seen_[number / kWordBits % kWords] |= mask(number);
  }

 private:
  static constexpr std::uint64_t kWordBits = 64;
  static_assert(kWindow % kWordBits == 0);
  // One word more than the window, so that clearing whole words ahead never touches what is inside.
  static constexpr std::uint64_t kWords = kWindow / kWordBits + 1;

  static std::uint64_t mask(std::uint64_t number) {
    return std::uint64_t{1} << (number % kWordBits);
  }
  std::uint64_t word(std::uint64_t number) const { return seen_[number / kWordBits % kWords]; }

  std::uint64_t highest_ = 0;
  std::array<std::uint64_t, kWords> seen_{};
};

}  // namespace openp2p
