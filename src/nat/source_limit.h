#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/time.h"

namespace openp2p::nat {

/// How often one source may have an answer. The unit is a prefix, since one attacker holds many
/// addresses: an IPv4 address, an IPv6 /56 (what a home is given, RFC 6177).
struct SourceLimitConfig {
  unsigned answers_per_second = 20;  ///< Surveys of a home of 10 nodes come in bursts.
  unsigned burst = 600;              ///< Four netchecks at once, of some 130 answers: 75 KiB.
};

/// A bucket of tokens for each prefix, in a table that never grows and forgets nobody early.
///
/// Prefixes that fall into the same bucket share it. Which those are depends on a secret seed, so
/// that nobody can aim at another's bucket; a flood from all over the world empties all buckets,
/// and so the table is also a limit for the whole service: kBucketsMax * answers_per_second.
/// Threading: one owner. No allocation after construction.
class SourceLimit {
 public:
  static constexpr std::size_t kBucketsMax = 8192;  ///< 64 KiB of state.

  SourceLimit(const SourceLimitConfig& config, std::uint64_t seed);

  bool take(const IpAddress& source, TimePoint now);  ///< False: over the limit, stay silent.

 private:
  std::size_t bucket_of(const IpAddress& source) const;

  Duration interval_;
  Duration tolerance_;
  std::uint64_t seed_;
  std::vector<TimePoint> next_at_;  ///< When the bucket would be full again (GCRA).
};

}  // namespace openp2p::nat
