#pragma once

#include <chrono>
#include <cstddef>
#include <map>

#include "base/address.h"
#include "base/time.h"
#include "path/token_bucket.h"

namespace openp2p::path {

/// What all sessions of a host together may send to an IP address that has never answered.
///
/// Each session bounds what its own peer can make it send, but a peer may open one session after
/// the other, and name the same bystander each time. An authentic answer from an address gives its
/// bucket back, so that many sessions with nodes behind one NAT do not hinder each other.
/// Threading: one owner. Holds one time per address, of at most kAddressesMax.
class StrangerLimit {
 public:
  /// Addresses whose buckets are not full. Those beyond share one bucket: who names hundreds of
  /// bystanders slows new sessions down, and floods nobody.
  static constexpr std::size_t kAddressesMax = 256;
  static constexpr int kSharedBurst = 64;
  static constexpr Duration kSharedRefill = std::chrono::milliseconds(200);

  StrangerLimit(int burst, Duration refill) : burst_(burst), refill_(refill) {}

  /// When the address may be sent the next one; `now` or earlier: at once.
  TimePoint next_at(const IpAddress& ip, TimePoint now);
  bool take(const IpAddress& ip, TimePoint now);  ///< False: not yet.
  void on_answer(const IpAddress& ip) { buckets_.erase(ip); }

 private:
  TokenBucket& bucket_of(const IpAddress& ip, TimePoint now);

  const int burst_;
  const Duration refill_;
  std::map<IpAddress, TokenBucket> buckets_;
  TokenBucket shared_{kSharedBurst, kSharedRefill};
};

}  // namespace openp2p::path
