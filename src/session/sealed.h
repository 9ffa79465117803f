#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/time.h"

/// Sealed datagrams: a session's second service, beside streams. Unreliable, unordered, each whole
/// or not at all, authenticated and encrypted with keys from the session's TLS exporter (RFC 8446
/// section 7.5), never seen twice (RFC 6479), over the path that the session uses. They carry no
/// congestion control of their own: what runs inside has it.
namespace openp2p::session {

class Session;

/// What a sealed datagram is for. Each use has keys, counters and a replay window of its own.
enum class SealedUse : std::uint8_t {
  kRelay = 0,    ///< Datagrams of a relayed path.
  kForward = 1,  ///< UDP forwards.
  kNetwork = 2,  ///< IP packets of the virtual network.
};
inline constexpr std::size_t kSealedUses = 3;

/// First byte, id, counter, tag: what sealing adds to a payload.
inline constexpr std::size_t kSealedOverhead = 1 + 8 + 4 + 16;
/// Sealed datagrams of this size go over every path unasked: what the smallest IPv6 link carries
/// (RFC 8200 section 5: 1,280 bytes) without IP and UDP headers. A relayed QUIC packet of 1,200
/// bytes and its channel number just fit.
inline constexpr std::size_t kSealedBytesMin = 1'232;
/// Of this size over every relayed path: the above without the relay's seal and channel number.
inline constexpr std::size_t kSealedRelayedBytesMin = 1'200;
/// The largest of all: Ethernet's 1,500 bytes without the headers of IPv4 and UDP.
inline constexpr std::size_t kSealedBytesMax = 1'472;

/// Of an Endpoint, in datagrams.
struct SealedCounters {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;  ///< Authentic and new: handed to a handler.
  std::uint64_t replayed = 0;
  std::uint64_t forged = 0;   ///< Or of no known form.
  std::uint64_t stale = 0;    ///< Of keys that are gone, or not there yet.
  std::uint64_t unheard = 0;  ///< Nobody listens.
  std::uint64_t dropped = 0;  ///< On the way out: no path, a full queue, or too large.
};

/// What the peer has sealed for this side, by the numbers that its datagrams bear, and what of it
/// came. The difference is lost, or on its way by a detour.
struct SealedArrivals {
  std::uint64_t sent = 0;  ///< Up to the last one that came.
  std::uint64_t came = 0;
  std::uint64_t payload_bytes = 0;  ///< Of those that came.
  SealedArrivals& operator+=(const SealedArrivals& other) {
    sent += other.sent;
    came += other.came;
    payload_bytes += other.payload_bytes;
    return *this;
  }
};

/// Who takes the sealed datagrams of one use of one session.
class SealedHandler {
 public:
  virtual ~SealedHandler() = default;
  /// `payload` is authentic, and lies in a buffer of the endpoint's until the call returns; it may
  /// be changed in place. The session must not be destroyed from inside the call. The batch ends
  /// with SessionHandler::on_batch_end().
  virtual void on_sealed(Session& session, SealedUse use, MutableByteView payload,
                         TimePoint now) = 0;
};

}  // namespace openp2p::session
