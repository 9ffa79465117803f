#include "sim/byte_pipe.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace openp2p::sim {
namespace {

// What arrives at once where a rate is set: small enough to look like a stream.
constexpr std::size_t kPieceBytes = 1024;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

BytePipe::BytePipe(World& world, const BytePipeOptions& options)
    : options_(options), a_(world, options_, b_), b_(world, options_, a_) {
  CHECK(options.buffer_bytes > 0);
  a_.incoming_.resize(options.buffer_bytes);
  b_.incoming_.resize(options.buffer_bytes);
}

std::size_t PipeEnd::write(ByteView bytes) {
  if (is_shut_ || is_reset_) return 0;
  const std::size_t taken = std::min(bytes.size(), writable_bytes());
  wants_room_ = taken < bytes.size();
  Bytes& ring = peer_.incoming_;
  const std::size_t at = (peer_.first_ + peer_.used_) % ring.size();
  const std::size_t until_wrap = std::min(taken, ring.size() - at);
  std::copy_n(bytes.begin(), until_wrap, ring.begin() + static_cast<std::ptrdiff_t>(at));
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(until_wrap), taken - until_wrap,
              ring.begin());
  peer_.used_ += taken;
  const std::size_t piece_max = options_.bytes_per_second == 0 ? taken : kPieceBytes;
  for (std::size_t done = 0; done < taken;) {
    const std::size_t piece = std::min(piece_max, taken - done);
    world_.at(arrival_of(piece), [&peer = peer_, piece] { peer.arrive(piece); });
    done += piece;
  }
  return taken;
}

TimePoint PipeEnd::arrival_of(std::size_t bytes) {
  busy_until_ = std::max(busy_until_, world_.now());
  if (options_.bytes_per_second != 0) {
    busy_until_ += Duration(
        static_cast<std::int64_t>(bytes * kNanosecondsPerSecond / options_.bytes_per_second));
  }
  return busy_until_ + options_.delay;
}

std::size_t PipeEnd::writable_bytes() const {
  return is_shut_ || is_reset_ ? 0 : peer_.incoming_.size() - peer_.used_;
}

ReadResult PipeEnd::read(MutableByteView out) {
  if (is_reset_) return {ReadStatus::kReset};
  const std::size_t size = std::min(out.size(), arrived_);
  if (size == 0) {
    const bool is_at_end = arrived_ == 0 && has_end_arrived_;
    return {is_at_end ? ReadStatus::kEnd : ReadStatus::kNothingYet};
  }
  const std::size_t until_wrap = std::min(size, incoming_.size() - first_);
  std::memcpy(out.data(), incoming_.data() + first_, until_wrap);
  std::memcpy(out.data() + until_wrap, incoming_.data(), size - until_wrap);
  first_ = (first_ + size) % incoming_.size();
  used_ -= size;
  arrived_ -= size;
  if (std::exchange(peer_.wants_room_, false)) {
    world_.after(options_.delay, [&peer = peer_] {
      if (peer.writable_) peer.writable_();
    });
  }
  return {ReadStatus::kBytes, size};
}

void PipeEnd::shutdown_write() {
  if (is_reset_ || std::exchange(is_shut_, true)) return;
  world_.at(arrival_of(0), [&peer = peer_] { peer.arrive_end(); });
}

void PipeEnd::reset() {
  if (is_reset_) return;
  is_reset_ = true;
  world_.after(options_.delay, [&peer = peer_] { peer.arrive_reset(); });
}

void PipeEnd::arrive(std::size_t bytes) {
  if (is_reset_) return;
  arrived_ += bytes;
  if (readable_) readable_();
}

void PipeEnd::arrive_end() {
  if (is_reset_) return;
  has_end_arrived_ = true;
  if (readable_) readable_();
}

void PipeEnd::arrive_reset() {
  if (std::exchange(is_reset_, true)) return;
  if (readable_) readable_();
  if (writable_) writable_();
}

}  // namespace openp2p::sim
