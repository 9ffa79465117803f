#pragma once

#include <memory>

#include "session/sealed_keys.h"

namespace openp2p::session {

/// Seals the datagrams of one use in one direction. Sans-I/O. Threading: one owner.
///
/// A new epoch begins after so many datagrams, or when the key is old; both long before a nonce
/// could come twice. Hot path, per datagram: one AEAD, from the payload into `out`; allocates once
/// an epoch.
class SealedSender {
 public:
  SealedSender(SealedId id, const SealedRatchet& ratchet, const SealedLimits& limits = {});

  /// Needs out.size() == payload.size() + kSealedOverhead. The two do not overlap.
  void seal(ByteView payload, MutableByteView out, TimePoint now);

  std::uint64_t epoch() const { return ratchet_.epoch(); }

 private:
  bool is_spent(TimePoint now) const;

  const SealedLimits limits_;
  const SealedId id_;
  SealedRatchet ratchet_;
  std::unique_ptr<SealedKey> key_;
  std::uint32_t counter_ = 0;  ///< Of the next datagram.
  TimePoint first_used_;       ///< When counter_ was 0.
};

}  // namespace openp2p::session
