#pragma once

#include <cstdint>

#include "agent/node_context.h"
#include "agent/peer_signal.h"

/// Keeps old offers out that anybody may send again, where no server stands between.
///
/// An offer makes this node give up what it has with a peer, and send to the addresses in it. So
/// one that did not come through the server counts only if its sender has just answered a
/// challenge: a number that went to where the offer came from, and holds for the peer, the attempt
/// and that place alone. Nothing is remembered for it, as with QUIC's Retry (RFC 9000 section 8.1).
/// Threading: one owner.
namespace openp2p::agent {

class OfferGuard {
 public:
  explicit OfferGuard(NodeContext& context);

  /// `place`: where it came from, in bytes of the caller's choice.
  bool is_fresh(const PeerSignal& offer, ByteView place) const;
  /// The signal to send back instead of taking the offer. Shorter than any offer.
  Bytes challenge(const PeerSignal& offer, ByteView place) const;

 private:
  std::uint64_t echo_of(const PeerSignal& offer, ByteView place, std::int64_t period) const;
  std::int64_t period() const;

  NodeContext& context_;
  const Digest secret_;
};

}  // namespace openp2p::agent
