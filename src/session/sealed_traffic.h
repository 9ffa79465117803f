#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "quic/connection.h"
#include "session/sealed.h"
#include "session/sealed_outbox.h"
#include "session/sealed_receiver.h"
#include "session/sealed_sender.h"

namespace openp2p::session {

/// What the sealed datagrams of all sessions of an Endpoint share.
struct SealedShared {
  /// A datagram over a relayed path arrives inside another session's; no relay is behind a relay.
  static constexpr std::size_t kNestingMax = 2;

  SealedMemory memory;
  SealedCounters counters;
  /// What was opened last, for each depth.
  std::array<std::array<std::byte, kSealedBytesMax>, kNestingMax> opened;
  std::size_t depth = 0;
};

/// All sealed datagrams of one session: keys, queue, handlers. Sans-I/O.
///
/// Keys are made when a use first sends or is first listened to: most sessions use one or none.
/// Hot path: a payload is written once into the outbox, sealed from there into the driver's buffer,
/// and opened from the driver's buffer into one of SealedShared. Threading: the Endpoint's owner.
class SealedTraffic {
 public:
  using Ids = std::array<SealedId, kSealedUses>;

  explicit SealedTraffic(SealedShared& shared) : shared_(shared), outbox_(shared.memory) {}
  ~SealedTraffic();
  SealedTraffic(const SealedTraffic&) = delete;
  SealedTraffic& operator=(const SealedTraffic&) = delete;

  /// What both sides of an authenticated session have in common.
  struct Agreement {
    const quic::PacketProtection* protection = nullptr;  ///< Outlives this.
    quic::AeadAlgorithm algorithm = quic::AeadAlgorithm::kAes128Gcm;
    std::array<std::byte, kSealedSecretSize> secret{};  ///< From the TLS exporter.
    bool is_dialer = false;                             ///< The client in TLS.
  };
  /// Gives the ids by which the peer's datagrams come.
  Ids start(const Agreement& agreement);
  /// The session is over: nothing is sent or taken any more.
  void stop();

  void set_handler(SealedUse use, SealedHandler* handler) { at(use).handler = handler; }
  /// Takes datagrams of one use, all of segment_bytes but the last. Gives how many were authentic
  /// and new.
  std::size_t on_datagrams(Session& session, SealedUse use, ByteView datagrams,
                           std::size_t segment_bytes, TimePoint now);

  SealedArrivals arrivals() const;

  MutableByteView room(SealedUse use, std::size_t bytes);
  void commit() { outbox_.commit(); }
  bool has_waiting() const { return !outbox_.empty(); }
  void drop_waiting();
  void note_dropped() { ++shared_.counters.dropped; }
  /// Seals what waits into equal datagrams of at most `datagram_bytes`. The last may be shorter.
  quic::Burst poll_burst(MutableByteView out, std::size_t datagram_bytes, TimePoint now);

 private:
  struct Use {
    SealedHandler* handler = nullptr;
    std::unique_ptr<SealedSender> sender;
    std::unique_ptr<SealedReceiver> receiver;
  };
  Use& at(SealedUse use) { return uses_[static_cast<std::size_t>(use)]; }
  SealedId id_of(SealedUse use, bool is_dialers) const;
  SealedRatchet ratchet_of(SealedUse use, bool is_dialers) const;
  SealedSender& sender_of(SealedUse use);
  SealedReceiver& receiver_of(SealedUse use);
  void note(SealedReceiver::Verdict verdict);

  SealedShared& shared_;
  SealedOutbox outbox_;
  std::array<Use, kSealedUses> uses_;
  Agreement agreement_;
  bool is_running_ = false;
};

}  // namespace openp2p::session
