#include "path/mtu_search.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::path {
namespace {

// UDP payloads of Ethernet, PPPoE (RFC 2516), common tunnels, and IPv6's minimum MTU of 1,280.
// Multiples of four, as STUN messages are.
constexpr std::array<std::uint16_t, MtuSearch::kSizesMax> kIpv4Sizes{1472, 1464, 1432, 1392, 1252};
constexpr std::array<std::uint16_t, MtuSearch::kSizesMax> kIpv6Sizes{1452, 1444, 1412, 1372, 1232};

}  // namespace

MtuSearch::MtuSearch(bool is_v4) : sizes_(is_v4 ? kIpv4Sizes : kIpv6Sizes) {}

void MtuSearch::set_fixed(std::size_t bytes) {
  known_bytes_ = bytes;
  is_fixed_ = true;
}

void MtuSearch::restart(TimePoint now) {
  if (is_fixed_) return;
  known_bytes_ = kBaseBytes;
  misses_ = 0;
  is_doubted_ = false;
  confirm_at_.reset();
  start_round(now);
}

void MtuSearch::start_round(TimePoint now) {
  rounds_left_ = kRoundsMax;
  next_size_ = 0;
  search_at_ = now;
  raise_at_ = now + kRaiseAfter;
}

void MtuSearch::on_consent(TimePoint now) {
  if (is_fixed_) return;
  if (raise_at_ && now >= *raise_at_ && known_bytes_ < sizes_.front()) start_round(now);
  if (known_bytes_ > kBaseBytes && !confirm_at_) confirm_at_ = now;
}

void MtuSearch::doubt(TimePoint now) {
  if (is_fixed_ || known_bytes_ == kBaseBytes) return;
  is_doubted_ = true;
  confirm_at_ = now;
}

std::optional<TimePoint> MtuSearch::next_probe_at() const {
  return earlier(confirm_at_, search_at_);
}

std::size_t MtuSearch::poll_probe(TimePoint now, Duration rtt) {
  if (confirm_at_ && now >= *confirm_at_) {
    if (const std::size_t bytes = poll_confirmation(now, rtt)) return bytes;
  }
  return search_at_ && now >= *search_at_ ? poll_search(now, rtt) : 0;
}

std::size_t MtuSearch::poll_confirmation(TimePoint now, Duration rtt) {
  if (misses_ == kMissesMax) {
    restart(now);
    return 0;
  }
  ++misses_;  // Until it is answered.
  confirm_at_.reset();
  // After a first miss there is reason to hurry.
  if (is_doubted_ || misses_ > 1) confirm_at_ = now + std::max(kRoundMin, 2 * rtt);
  return known_bytes_;
}

std::size_t MtuSearch::poll_search(TimePoint now, Duration rtt) {
  CHECK(next_size_ < kSizesMax);
  const std::size_t bytes = sizes_[next_size_];
  if (bytes > known_bytes_) {
    ++next_size_;
    if (next_size_ < kSizesMax) return bytes;
  }
  // The round is over: nothing smaller is worth asking.
  next_size_ = 0;
  --rounds_left_;
  search_at_.reset();
  const bool is_over = rounds_left_ == 0 || known_bytes_ == sizes_.front();
  if (!is_over) search_at_ = now + std::max(kRoundMin, 2 * rtt);
  return bytes > known_bytes_ ? bytes : 0;
}

void MtuSearch::on_answer(std::size_t bytes) {
  if (bytes == known_bytes_) {
    misses_ = 0;
    is_doubted_ = false;
    confirm_at_.reset();
  }
  if (bytes <= known_bytes_) return;
  known_bytes_ = bytes;
  misses_ = 0;
  if (known_bytes_ == sizes_.front()) search_at_.reset();
}

}  // namespace openp2p::path
