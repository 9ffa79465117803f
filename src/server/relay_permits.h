#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <utility>

#include "base/ids.h"
#include "base/time.h"

namespace openp2p::server {

/// Which strangers may signal to each other: a relay and an end to which it was granted, for a
/// while. The only way out of a network.
/// Threading: one owner.
class RelayPermits {
 public:
  /// Long enough to make a session with the relay, and to make it again after a bad moment. An
  /// allocation in use renews it by its receipts, a wish by being granted.
  static constexpr Duration kLifetime = std::chrono::minutes(10);
  /// 20,000 nodes with three strangers each, and some that were given up; 15 MB. When it is full,
  /// no stranger is named until older permits end: what others were granted stays.
  static constexpr std::size_t kPermitsMax = 65'536;

  /// False: there is no room.
  bool add(const NodeId& relay, const NodeId& end, TimePoint now);
  bool has(const NodeId& one, const NodeId& other, TimePoint now) const;
  /// The node was removed from its network.
  void forget(const NodeId& node);
  std::size_t size() const { return ends_at_.size(); }

 private:
  using Pair = std::pair<NodeId, NodeId>;  ///< The smaller id first.
  static Pair pair(const NodeId& one, const NodeId& other);
  void expire(TimePoint now);

  std::map<Pair, TimePoint> ends_at_;
  std::deque<std::pair<TimePoint, Pair>> queue_;  ///< To be looked at then; one each.
};

}  // namespace openp2p::server
