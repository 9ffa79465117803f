#include "path/stranger_limit.h"

namespace openp2p::path {

TokenBucket& StrangerLimit::bucket_of(const IpAddress& ip, TimePoint now) {
  if (const auto known = buckets_.find(ip); known != buckets_.end()) return known->second;
  if (buckets_.size() == kAddressesMax) {
    std::erase_if(buckets_, [&](const auto& entry) { return entry.second.is_full(now); });
  }
  if (buckets_.size() == kAddressesMax) return shared_;
  return buckets_.emplace(ip, TokenBucket(burst_, refill_)).first->second;
}

TimePoint StrangerLimit::next_at(const IpAddress& ip, TimePoint now) {
  return bucket_of(ip, now).next_token_at();
}

bool StrangerLimit::take(const IpAddress& ip, TimePoint now) {
  return bucket_of(ip, now).take(now);
}

}  // namespace openp2p::path
