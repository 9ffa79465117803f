#include "path/replay_window.h"

#include <algorithm>

namespace openp2p::path {

bool ReplayWindow::bit(std::uint64_t number) const {
  return (seen_[number / kWordBits % kWords] >> (number % kWordBits) & 1) != 0;
}

bool ReplayWindow::is_fresh(std::uint64_t number) const {
  if (number > highest_) return true;
  if (highest_ - number >= kWindow) return false;
  return !bit(number);
}

void ReplayWindow::mark(std::uint64_t number) {
  if (number > highest_) {
    const std::uint64_t steps =
        std::min(number / kWordBits - highest_ / kWordBits, std::uint64_t{kWords});
    for (std::uint64_t i = 0; i < steps; ++i) seen_[(number / kWordBits - i) % kWords] = 0;
    highest_ = number;
  } else if (highest_ - number >= kWindow) {
    return;
  }
  seen_[number / kWordBits % kWords] |= std::uint64_t{1} << (number % kWordBits);
}

}  // namespace openp2p::path
