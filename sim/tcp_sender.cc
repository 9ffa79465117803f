#include "sim/tcp_sender.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::sim {
namespace {

constexpr unsigned kInitialSegments = 10;       // RFC 6928.
constexpr unsigned kDuplicatesForLoss = 3;      // RFC 5681 section 3.2.
constexpr std::size_t kInitialWindow = 65'535;  // Until the first acknowledgment says it.

}  // namespace

TcpSender::TcpSender(std::size_t buffer_bytes, std::size_t mss)
    : buffer_bytes_(buffer_bytes),
      mss_(mss),
      window_(kInitialWindow),
      congestion_window_(kInitialSegments * mss) {
  CHECK(buffer_bytes > 0 && buffer_bytes <= kBufferBytesMax && mss > 0);
}

std::size_t TcpSender::write(ByteView bytes, TimePoint now) {
  const std::size_t taken = std::min(bytes.size(), writable_bytes());
  if (taken == 0) return 0;
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
  marks_.push_back({end(), now});
  return taken;
}

void TcpSender::finish() {
  if (!finished_at_) finished_at_ = end();
}

std::size_t TcpSender::writable_bytes() const {
  return finished_at_ ? 0 : buffer_bytes_ - bytes_.size();
}

std::size_t TcpSender::unsent_bytes() const {
  return highest_ >= end() ? 0 : static_cast<std::size_t>(end() - highest_);
}

std::optional<TimePoint> TcpSender::unsent_since() const {
  if (marks_.empty()) return std::nullopt;
  return marks_.front().written_at;
}

std::optional<TcpSender::Segment> TcpSender::next_segment(TimePoint now) {
  std::optional<Segment> segment;
  if (std::exchange(resends_first_, false)) {
    segment = segment_at(acknowledged_, mss_);
    if (segment) ++retransmissions_;
  } else {
    const std::size_t limit = std::min(window_, congestion_window_);
    const std::size_t room = limit > in_flight() ? limit - in_flight() : 0;
    // A part of a segment goes only where nothing is under way (RFC 9293 section 3.8.6.2.1).
    const bool is_cut = room < mss_ && next_ + room < end();
    if (room == 0 || (is_cut && in_flight() > 0)) return std::nullopt;
    segment = segment_at(next_, std::min(mss_, room));
    if (!segment) return std::nullopt;
    if (next_ < highest_) ++retransmissions_;
    next_ += segment->bytes.size() + (segment->is_fin ? 1 : 0);
    if (next_ > highest_ && !timed_ && segment->offset >= highest_) timed_ = {next_, now};
    highest_ = std::max(highest_, next_);
    while (!marks_.empty() && marks_.front().end <= highest_) marks_.pop_front();
  }
  if (segment && !retransmit_at_) retransmit_at_ = now + rto();
  return segment;
}

std::optional<TcpSender::Segment> TcpSender::segment_at(std::uint64_t offset,
                                                        std::size_t size_max) {
  Segment segment{.offset = offset, .bytes = {}};
  if (offset < end()) {
    const auto first = static_cast<std::size_t>(offset - acknowledged_bytes_);
    const std::size_t size = std::min(size_max, bytes_.size() - first);
    const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(first);
    segment.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
  }
  segment.is_fin = finished_at_ == offset + segment.bytes.size();
  if (segment.bytes.empty() && !segment.is_fin) return std::nullopt;
  return segment;
}

void TcpSender::on_ack(std::uint64_t offset, std::size_t window, bool is_duplicate, TimePoint now) {
  const bool is_same_window = window_ == window;
  window_ = window;
  if (offset > acknowledged_) return acknowledge(offset, now);
  if (offset == acknowledged_ && is_duplicate && is_same_window && highest_ > acknowledged_) {
    on_duplicate();
  }
}

void TcpSender::acknowledge(std::uint64_t offset, TimePoint now) {
  const std::uint64_t newly = offset - acknowledged_;
  acknowledged_ = offset;
  const auto bytes = static_cast<std::size_t>(std::min(offset, end()) - acknowledged_bytes_);
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(bytes));
  acknowledged_bytes_ += bytes;
  next_ = std::max(next_, acknowledged_);
  highest_ = std::max(highest_, next_);
  if (timed_ && offset >= timed_->end) {
    measure(now - timed_->sent_at);
    timed_.reset();
  }
  retries_ = 0;
  duplicates_ = 0;
  grow(newly);
  retransmit_at_.reset();
  if (highest_ > acknowledged_) retransmit_at_ = now + rto();
}

void TcpSender::grow(std::uint64_t newly) {
  const auto bytes = static_cast<std::size_t>(newly);
  if (recovery_end_ && acknowledged_ >= *recovery_end_) {
    recovery_end_.reset();
    congestion_window_ = slow_start_max_;
  } else if (recovery_end_) {
    // RFC 6582 section 3.2: a partial acknowledgment shows the next loss.
    resends_first_ = true;
    congestion_window_ = std::max(congestion_window_, bytes + mss_) - bytes + mss_;
  } else if (congestion_window_ < slow_start_max_) {
    congestion_window_ += std::min(bytes, 2 * mss_);  // RFC 3465.
  } else {
    congestion_window_ += std::max<std::size_t>(1, mss_ * mss_ / congestion_window_);
  }
  congestion_window_ = std::min(congestion_window_, kBufferBytesMax);
}

void TcpSender::on_duplicate() {
  if (recovery_end_) {
    congestion_window_ = std::min(congestion_window_ + mss_, kBufferBytesMax);
    return;
  }
  if (++duplicates_ != kDuplicatesForLoss) return;
  slow_start_max_ = std::max(in_flight() / 2, 2 * mss_);
  congestion_window_ = slow_start_max_ + kDuplicatesForLoss * mss_;
  recovery_end_ = highest_;
  resends_first_ = true;
  timed_.reset();
}

void TcpSender::on_timeout(TimePoint now) {
  if (!retransmit_at_ || now < *retransmit_at_) return;
  retransmit_at_.reset();
  ++retries_;
  slow_start_max_ = std::max(in_flight() / 2, 2 * mss_);
  congestion_window_ = mss_;
  duplicates_ = 0;
  recovery_end_.reset();
  resends_first_ = false;
  timed_.reset();
  next_ = acknowledged_;  // RFC 5681 section 3.1: all of it may be lost.
}

void TcpSender::lower_mss(std::size_t mss, TimePoint now) {
  if (mss >= mss_ || mss == 0) return;
  mss_ = mss;
  timed_.reset();
  next_ = acknowledged_;
  retransmit_at_.reset();
  if (highest_ > acknowledged_) retransmit_at_ = now + rto();
}

Duration TcpSender::rto() const {
  Duration base = kRtoInitial;
  if (smoothed_rtt_) base = std::max(kRtoMin, *smoothed_rtt_ + 4 * rtt_variation_);
  for (unsigned i = 0; i < retries_ && base < kRtoMax; ++i) base *= 2;
  return std::min(base, kRtoMax);
}

void TcpSender::measure(Duration rtt) {
  if (!smoothed_rtt_) {
    smoothed_rtt_ = rtt;
    rtt_variation_ = rtt / 2;
    return;
  }
  const Duration error = *smoothed_rtt_ > rtt ? *smoothed_rtt_ - rtt : rtt - *smoothed_rtt_;
  rtt_variation_ += (error - rtt_variation_) / 4;
  smoothed_rtt_ = *smoothed_rtt_ + (rtt - *smoothed_rtt_) / 8;
}

}  // namespace openp2p::sim
