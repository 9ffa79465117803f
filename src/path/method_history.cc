#include "path/method_history.h"

#include <algorithm>

namespace openp2p::path {

void MethodHistory::note(NatClass own, NatClass peer, Method method) {
  Counts& counts = at(own, peer);
  std::uint8_t& count = counts[static_cast<std::size_t>(method)];
  if (count == kCountMax) {
    for (std::uint8_t& each : counts) each /= 2;
  }
  ++count;
}

bool MethodHistory::favours(NatClass own, NatClass peer, Method method) const {
  const Counts& counts = counts_[place(own, peer)];
  const std::uint8_t count = counts[static_cast<std::size_t>(method)];
  return count > 1 && count == *std::ranges::max_element(counts);
}

}  // namespace openp2p::path
