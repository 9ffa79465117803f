#include "nat/source_limit.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/random.h"

namespace openp2p::nat {

SourceLimit::SourceLimit(const SourceLimitConfig& config, std::uint64_t seed) : seed_(seed) {
  CHECK(config.answers_per_second > 0 && config.burst > 0);
  interval_ = Duration(std::chrono::seconds(1)) / config.answers_per_second;
  tolerance_ = interval_ * (config.burst - 1);
  next_at_.assign(kBucketsMax, TimePoint::min());
}

bool SourceLimit::take(const IpAddress& source, TimePoint now) {
  TimePoint& next_at = next_at_[bucket_of(source)];
  const TimePoint full_at = std::max(next_at, now);
  if (full_at - now > tolerance_) return false;
  next_at = full_at + interval_;
  return true;
}

std::size_t SourceLimit::bucket_of(const IpAddress& source) const {
  constexpr std::size_t kV6PrefixBytes = 7;
  std::array<std::uint8_t, 16> prefix = source.bytes();
  if (source.is_v6()) std::fill(prefix.begin() + kV6PrefixBytes, prefix.end(), std::uint8_t{0});
  std::uint64_t high;
  std::uint64_t low;
  std::memcpy(&high, prefix.data(), 8);
  std::memcpy(&low, prefix.data() + 8, 8);
  // Two rounds of the generator as a keyed mixer: without the seed the bucket cannot be told.
  const std::uint64_t mixed = Random(Random(seed_ ^ high).next() ^ low).next();
  return mixed % kBucketsMax;
}

}  // namespace openp2p::nat
