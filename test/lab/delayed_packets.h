#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "sim/buffer_pool.h"

namespace openp2p::lab {

/// Packets on a real-time link, until their time of arrival; equal times arrive in the order in
/// which they were sent. Memory is recycled by the pool, which outlives this.
class DelayedPackets {
 public:
  /// 100 ms of 2.5 Gbit/s, more than a TUN device and one thread carry. Then packets are refused.
  static constexpr std::size_t kBytesMax = 32 * 1024 * 1024;

  bool push(TimePoint at, sim::Buffer packet) {
    if (bytes_ + packet.size() > kBytesMax) return false;
    bytes_ += packet.size();
    heap_.push_back({at, sequence_++, std::move(packet)});
    std::ranges::push_heap(heap_, later);
    return true;
  }
  std::optional<TimePoint> next_at() const {
    return heap_.empty() ? std::nullopt : std::optional(heap_.front().at);
  }
  std::optional<sim::Buffer> pop_due(TimePoint now) {
    if (heap_.empty() || heap_.front().at > now) return std::nullopt;
    std::ranges::pop_heap(heap_, later);
    sim::Buffer packet = std::move(heap_.back().packet);
    heap_.pop_back();
    bytes_ -= packet.size();
    return packet;
  }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    TimePoint at;
    std::uint64_t sequence = 0;
    sim::Buffer packet;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }

  std::vector<Entry> heap_;
  std::uint64_t sequence_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace openp2p::lab
