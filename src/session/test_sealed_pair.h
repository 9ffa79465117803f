#pragma once

#include <memory>

#include "base/check.h"
#include "session/sealed_traffic.h"
#include "session/test_sealed.h"
#include "session/test_session.h"

/// Both sides of one session's sealed datagrams, without sessions around them.
namespace openp2p::session {

struct SealedPair {
  struct Side {
    explicit Side(SealedShared* common)
        : own(common == nullptr ? std::make_unique<SealedShared>() : nullptr),
          shared(common == nullptr ? *own : *common),
          traffic(shared) {}
    std::unique_ptr<SealedShared> own;
    SealedShared& shared;
    SealedTraffic traffic;
    SealedEar ear;
    SealedTraffic::Ids ids{};
  };

  /// `common`: side two stands in the same endpoint as another pair's.
  explicit SealedPair(int number = 1, SealedShared* common = nullptr)
      : protection(quic::make_packet_protection()), one(nullptr), two(common) {
    SealedTraffic::Agreement agreement;
    agreement.protection = protection.get();
    agreement.secret.fill(static_cast<std::byte>(number));
    agreement.is_dialer = true;
    one.ids = one.traffic.start(agreement);
    agreement.is_dialer = false;
    two.ids = two.traffic.start(agreement);
    for (Side* side : {&one, &two}) listen(*side, side->ear);
  }

  void listen(Side& side, SealedHandler& handler) {
    for (std::size_t i = 0; i < kSealedUses; ++i) {
      side.traffic.set_handler(static_cast<SealedUse>(i), &handler);
    }
  }
  bool write(Side& from, SealedUse use, ByteView payload) {
    const MutableByteView room = from.traffic.room(use, payload.size());
    if (room.empty()) return false;
    std::copy(payload.begin(), payload.end(), room.begin());
    from.traffic.commit();
    return true;
  }
  /// The one datagram that a payload becomes.
  Bytes send(Side& from, SealedUse use, ByteView payload) {
    CHECK(write(from, use, payload));
    Bytes out(65'000);
    out.resize(from.traffic.poll_burst(out, kSealedBytesMax, now).bytes);
    return out;
  }
  std::size_t deliver(Side& to, SealedUse use, ByteView datagrams, std::size_t segment_bytes = 0) {
    return to.traffic.on_datagrams(session, use, datagrams,
                                   segment_bytes == 0 ? datagrams.size() : segment_bytes, now);
  }

  FakeSession session;
  TimePoint now{std::chrono::hours(1)};
  std::unique_ptr<quic::PacketProtection> protection;
  Side one, two;
};

}  // namespace openp2p::session
