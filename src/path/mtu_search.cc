#include "path/mtu_search.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::path {
namespace {

// UDP payloads of Ethernet, PPPoE (RFC 2516), common tunnels, IPv6's minimum MTU of 1,280, and what
// QUIC needs.
// Multiples of four, as STUN messages are.
constexpr std::array<std::uint16_t, MtuSearch::kSizesMax> kIpv4Sizes{1472, 1464, 1432,
                                                                     1392, 1252, 1200};
constexpr std::array<std::uint16_t, MtuSearch::kSizesMax> kIpv6Sizes{1452, 1444, 1412,
                                                                     1372, 1232, 1200};

}  // namespace

MtuSearch::MtuSearch(bool is_v4) : sizes_(is_v4 ? kIpv4Sizes : kIpv6Sizes) {}

void MtuSearch::set_fixed(std::size_t bytes) {
  known_bytes_ = bytes;
  is_fixed_ = true;
  is_base_known_ = true;
}

void MtuSearch::restart(TimePoint now) {
  if (is_fixed_) return;
  known_bytes_ = kBaseBytes;
  is_base_known_ = false;
  is_too_narrow_ = false;
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
  if (is_base_known_ && !confirm_at_) confirm_at_ = now;
}

void MtuSearch::doubt(TimePoint now) {
  if (is_fixed_ || !is_base_known_) return;
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

bool MtuSearch::is_wanted(std::size_t bytes) const {
  return bytes > known_bytes_ || (bytes == kBaseBytes && !is_base_known_);
}

std::size_t MtuSearch::poll_search(TimePoint now, Duration rtt) {
  if (rounds_left_ == 0) {  // The last answers had their time.
    search_at_.reset();
    is_too_narrow_ = !is_base_known_;
    return 0;
  }
  CHECK(next_size_ < kSizesMax);
  const std::size_t bytes = sizes_[next_size_++];
  const bool is_asked = is_wanted(bytes);
  // Nothing smaller than what is known is worth asking.
  if (!is_asked || next_size_ == kSizesMax) end_round(now, rtt);
  return is_asked ? bytes : 0;
}

void MtuSearch::end_round(TimePoint now, Duration rtt) {
  next_size_ = 0;
  --rounds_left_;
  search_at_.reset();
  const bool is_over = rounds_left_ == 0 ? is_base_known_ : known_bytes_ == sizes_.front();
  if (!is_over) search_at_ = now + std::max(kRoundMin, 2 * rtt);
}

void MtuSearch::on_answer(std::size_t bytes) {
  if (bytes >= kBaseBytes) {
    is_base_known_ = true;
    is_too_narrow_ = false;
  }
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
