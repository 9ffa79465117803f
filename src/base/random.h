#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace openp2p {

/// A seeded generator (SplitMix64): timers' jitter, transaction ids in tests, the simulator. Equal
/// seeds give equal numbers on every platform. Not for keys: those come from a SecretSource.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  std::uint64_t below(std::uint64_t limit);  ///< 0 <= result < limit; limit > 0.
  double fraction();                         ///< 0 <= result < 1.
  bool chance(double probability) { return fraction() < probability; }
  void fill(MutableByteView out);
  Random fork() { return Random(next()); }  ///< An independent generator, e.g. one a machine.

 private:
  std::uint64_t state_;
};

}  // namespace openp2p
