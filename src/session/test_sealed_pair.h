#pragma once

#include <memory>

#include "base/check.h"
#include "session/sealed_traffic.h"
#include "session/test_sealed.h"

/// Both sides of one session's sealed datagrams, without sessions around them.
namespace openp2p::session {

/// Stands for the session where handlers only pass it on.
class NoSession final : public Session {
 public:
  const NodeId& peer() const override { return peer_; }
  bool is_established() const override { return true; }
  bool is_incoming() const override { return false; }
  std::optional<Path> path() const override { return std::nullopt; }
  path::PathFinder* paths() override { return nullptr; }
  Duration rtt() const override { return {}; }
  Result<StreamId> open_stream() override { return std::make_error_code(std::errc::not_connected); }
  MutableByteView write_room(StreamId) override { return {}; }
  void commit(StreamId, std::size_t) override {}
  std::size_t write(StreamId, ByteView) override { return 0; }
  void finish(StreamId) override {}
  void reset(StreamId, std::uint64_t) override {}
  void stop(StreamId, std::uint64_t) override {}
  void consume(StreamId, std::size_t) override {}
  void close(std::uint64_t, std::string_view, TimePoint) override {}
  void set_sealed_handler(SealedUse, SealedHandler*) override {}
  std::size_t sealed_payload_max() const override { return 0; }
  MutableByteView sealed_room(SealedUse, std::size_t) override { return {}; }
  void commit_sealed() override {}
  void export_key(std::string_view, ByteView, MutableByteView) const override {}
  std::uint64_t bytes_received() const override { return 0; }
  std::uint64_t bytes_sent() const override { return 0; }

 private:
  NodeId peer_{};
};

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

  NoSession session;
  TimePoint now{std::chrono::hours(1)};
  std::unique_ptr<quic::PacketProtection> protection;
  Side one, two;
};

}  // namespace openp2p::session
