#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/time.h"

namespace openp2p::sim {

/// Keys that live until a time which can be extended. Each key has one place in a heap, where an
/// extension is noticed only when the earlier time comes: extending is one hash look-up.
template <class Key, class Hash = std::hash<Key>>
class ExpiringSet {
 public:
  /// Adds the key or extends its life, never shortens it.
  void touch(const Key& key, TimePoint expires_at) {
    const auto [entry, is_new] = expires_at_.try_emplace(key, expires_at);
    if (is_new) return push({expires_at, ++sequence_, key});
    entry->second = std::max(entry->second, expires_at);
  }
  /// Adds the key or changes its life, which may become shorter.
  void set(const Key& key, TimePoint expires_at) {
    const auto [entry, is_new] = expires_at_.try_emplace(key, expires_at);
    if (is_new || expires_at < entry->second) push({expires_at, ++sequence_, key});
    entry->second = expires_at;
  }
  bool contains(const Key& key) const { return expires_at_.contains(key); }
  std::size_t size() const { return expires_at_.size(); }

  /// Removes what does not outlive `now`, the earliest first, and tells `ended(key)`.
  template <class Ended>
  void expire(TimePoint now, Ended&& ended) {
    while (!heap_.empty() && heap_.front().at <= now) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      Deadline deadline = heap_.back();
      heap_.pop_back();
      const auto entry = expires_at_.find(deadline.key);
      if (entry == expires_at_.end()) continue;  // set() made it end before.
      if (entry->second > now) {
        deadline.at = entry->second;
        push(deadline);
        continue;
      }
      expires_at_.erase(entry);
      ended(deadline.key);
    }
  }
  void expire(TimePoint now) {
    expire(now, [](const Key&) {});
  }
  void clear() {
    heap_.clear();
    expires_at_.clear();
  }

 private:
  struct Deadline {
    TimePoint at;
    std::uint64_t sequence;  // Orders ties.
    Key key;
  };
  static bool later(const Deadline& a, const Deadline& b) {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }
  void push(const Deadline& deadline) {
    heap_.push_back(deadline);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  std::unordered_map<Key, TimePoint, Hash> expires_at_;  // Never iterated: its order is no order.
  std::vector<Deadline> heap_;
  std::uint64_t sequence_ = 0;
};

}  // namespace openp2p::sim
