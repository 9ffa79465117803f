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

Bytes MethodHistory::encode() const {
  Bytes bytes;
  bytes.reserve(kBytes);
  for (const Counts& counts : counts_) {
    for (const std::uint8_t count : counts) bytes.push_back(std::byte{count});
  }
  return bytes;
}

bool MethodHistory::decode(ByteView bytes) {
  if (bytes.size() != kBytes) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    counts_[i / kMethods][i % kMethods] = std::to_integer<std::uint8_t>(bytes[i]);
  }
  return true;
}

}  // namespace openp2p::path
