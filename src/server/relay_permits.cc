#include "server/relay_permits.h"

#include <algorithm>

namespace openp2p::server {

RelayPermits::Pair RelayPermits::pair(const NodeId& one, const NodeId& other) {
  return {std::min(one, other), std::max(one, other)};
}

bool RelayPermits::add(const NodeId& relay, const NodeId& end, TimePoint now) {
  expire(now);
  const Pair key = pair(relay, end);
  const auto found = ends_at_.find(key);
  if (found != ends_at_.end()) {
    found->second = now + kLifetime;  // Its place in the queue is looked at again then.
    return true;
  }
  if (ends_at_.size() >= kPermitsMax) return false;
  ends_at_.emplace(key, now + kLifetime);
  queue_.emplace_back(now + kLifetime, key);
  return true;
}

bool RelayPermits::has(const NodeId& one, const NodeId& other, TimePoint now) const {
  const auto found = ends_at_.find(pair(one, other));
  return found != ends_at_.end() && now < found->second;
}

void RelayPermits::expire(TimePoint now) {
  while (!queue_.empty() && queue_.front().first <= now) {
    const Pair key = queue_.front().second;
    queue_.pop_front();
    const auto found = ends_at_.find(key);
    if (found->second <= now) {
      ends_at_.erase(found);
    } else {
      queue_.emplace_back(now + kLifetime, key);  // Renewed: no later than a lifetime from now.
    }
  }
}

void RelayPermits::forget(const NodeId& node) {
  const auto names = [&](const Pair& key) { return key.first == node || key.second == node; };
  std::erase_if(ends_at_, [&](const auto& entry) { return names(entry.first); });
  std::erase_if(queue_, [&](const auto& entry) { return names(entry.second); });
}

}  // namespace openp2p::server
