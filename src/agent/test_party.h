#pragma once

#include "base/crypto.h"
#include "sim/seeded_secrets.h"

namespace openp2p::agent {

/// A node's key, made from a number: for tests, where the same parties must come back.
class Party {
 public:
  explicit Party(std::uint64_t seed) : secrets_(seed), key_(IdentityKey::generate(secrets_)) {}

  const NodeId& id() const { return key_.id(); }
  const IdentityKey& key() const { return key_; }

 private:
  sim::SeededSecrets secrets_;
  IdentityKey key_;
};

}  // namespace openp2p::agent
