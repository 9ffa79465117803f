#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "base/check.h"
#include "session/test_session.h"

namespace openp2p::forward {

/// A session with one stream and a sealed outbox, which keep what is written to them. Allocates
/// nothing once its buffers have their size.
class DatagramSession final : public session::FakeSession {
 public:
  static constexpr session::StreamId kStream{4};

  DatagramSession() { sent.reserve(1 << 20); }

  Result<session::StreamId> open_stream() override { return kStream; }
  MutableByteView write_room(session::StreamId) override {
    if (is_finished) return {};
    return MutableByteView(ring_).first(std::min(ring_.size(), room_bytes));
  }
  void commit(session::StreamId, std::size_t bytes) override {
    sent.insert(sent.end(), ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(bytes));
    room_bytes -= bytes;
  }
  std::size_t write(session::StreamId id, ByteView data) override {
    std::size_t written = 0;
    for (;;) {
      const MutableByteView room = write_room(id);
      const std::size_t size = std::min(room.size(), data.size() - written);
      if (size == 0) return written;
      std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(written), size, room.begin());
      commit(id, size);
      written += size;
    }
  }
  void finish(session::StreamId) override { is_finished = true; }
  void reset(session::StreamId, std::uint64_t) override { is_finished = true; }
  void stop(session::StreamId, std::uint64_t) override { is_stopped = true; }
  void consume(session::StreamId, std::size_t bytes) override { consumed += bytes; }

  void set_sealed_handler(session::SealedUse use, session::SealedHandler* taker) override {
    CHECK(use == session::SealedUse::kForward);
    handler = taker;
  }
  std::size_t sealed_payload_max() const override { return payload_max; }
  MutableByteView sealed_room(session::SealedUse, std::size_t bytes) override {
    if (bytes > payload_max || sealed_count == sealed_max) return {};
    if (sealed_count == sealed.size()) sealed.emplace_back();
    sealed[sealed_count].resize(bytes);
    return sealed[sealed_count];
  }
  void commit_sealed() override { ++sealed_count; }

  std::vector<Bytes> sealed;  ///< The first sealed_count are what was sent.
  std::size_t sealed_count = 0;
  std::size_t sealed_max = 10'000;
  std::size_t payload_max = session::kSealedBytesMin - session::kSealedOverhead;
  session::SealedHandler* handler = nullptr;
  Bytes sent;
  std::size_t room_bytes = SIZE_MAX;  ///< Of the stream.
  std::size_t consumed = 0;
  bool is_finished = false;
  bool is_stopped = false;

 private:
  Bytes ring_ = Bytes(16 << 10);
};

}  // namespace openp2p::forward
