#pragma once

#include <cstdint>

#include "base/crypto.h"
#include "base/random.h"

namespace openp2p::sim {

/// Keys and nonces out of the world's seed, so that a run replays exactly. Never outside of tests.
class SeededSecrets final : public SecretSource {
 public:
  explicit SeededSecrets(Random random) : random_(random) {}
  explicit SeededSecrets(std::uint64_t seed) : random_(seed) {}
  void fill(MutableByteView out) override { random_.fill(out); }

 private:
  Random random_;
};

}  // namespace openp2p::sim
