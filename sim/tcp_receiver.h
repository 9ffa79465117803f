#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "base/bytes.h"

namespace openp2p::sim {

/// The receiving half of a TCP connection: puts the bytes in order. Offsets as TcpSender's.
///
/// The application takes the bytes at once, so the window stays as wide as it is.
class TcpReceiver {
 public:
  /// Linux's largest automatic receive buffer is 6 MiB; no test needs more than this in flight.
  static constexpr std::uint32_t kWindowBytes = 4 << 20;

  std::uint64_t next_offset() const { return next_; }
  bool is_finished() const { return finished_at_ && next_ > *finished_at_; }
  bool is_acceptable(std::uint64_t offset, std::uint64_t length) const {
    if (length == 0) return offset >= next_ && offset <= next_ + kWindowBytes;
    return offset + length > next_ && offset < next_ + kWindowBytes;
  }
  /// Requires is_acceptable().
  void put(std::uint64_t offset, ByteView bytes, bool is_fin) {
    if (is_fin && !finished_at_) finished_at_ = offset + bytes.size();
    if (bytes.empty()) return;
    Bytes& known = waiting_[offset];
    if (known.size() < bytes.size()) known = to_bytes(bytes);
  }
  /// The next bytes in order; nullopt: none are there, or is_finished() now.
  std::optional<Bytes> take() {
    while (!waiting_.empty() && waiting_.begin()->first <= next_) {
      const auto first = waiting_.begin();
      const auto known = static_cast<std::size_t>(next_ - first->first);
      Bytes bytes = std::move(first->second);
      waiting_.erase(first);
      if (known >= bytes.size()) continue;  // It came before, in another segment.
      bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(known));
      next_ += bytes.size();
      return bytes;
    }
    if (finished_at_ == next_) ++next_;
    return std::nullopt;
  }

 private:
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Bytes> waiting_;  // Within the window, so bounded by it.
  std::optional<std::uint64_t> finished_at_;
};

}  // namespace openp2p::sim
