#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"
#include "session/test_session.h"

/// A session of nothing but memory: what is written to its streams and its sealed queue is there to
/// be taken, given to another one, changed or lost.
namespace openp2p::relay {

class TestSession final : public session::FakeSession {
 public:
  explicit TestSession(const NodeId& peer, bool is_incoming = false)
      : peer_(peer), is_incoming_(is_incoming) {}

  const NodeId& peer() const override { return peer_; }
  bool is_incoming() const override { return is_incoming_; }
  path::PathFinder* paths() override { return finder; }
  Duration rtt() const override { return std::chrono::milliseconds(10); }

  Result<session::StreamId> open_stream() override { return session::StreamId(next_stream_++); }
  std::size_t write(session::StreamId id, ByteView data) override {
    const ByteView taken = data.first(std::min(data.size(), stream_room));
    stream_room -= taken.size();
    Bytes& out = written[id];
    out.insert(out.end(), taken.begin(), taken.end());
    return taken.size();
  }
  void reset(session::StreamId id, std::uint64_t) override { was_reset[id] = true; }

  void set_sealed_handler(session::SealedUse, session::SealedHandler* to) override { handler = to; }
  std::size_t sealed_payload_max() const override { return kPayloadMax; }
  MutableByteView sealed_room(session::SealedUse, std::size_t bytes) override {
    if (!has_path || bytes > kPayloadMax) return {};
    room_bytes_ = bytes;
    return MutableByteView(room_).first(bytes);
  }
  void commit_sealed() override {
    ++sealed;
    if (on_sealed) on_sealed(ByteView(room_).first(room_bytes_));
  }

  static constexpr std::size_t kPayloadMax = 1'443;
  std::map<session::StreamId, Bytes> written;  ///< To be taken by the test.
  std::map<session::StreamId, bool> was_reset;
  std::function<void(ByteView)> on_sealed;  ///< A payload leaves.
  session::SealedHandler* handler = nullptr;
  path::PathFinder* finder = nullptr;  ///< The test's.
  std::size_t stream_room = 1 << 30;
  bool has_path = true;
  std::uint64_t sealed = 0;

 private:
  const NodeId peer_;
  const bool is_incoming_;
  std::uint64_t next_stream_ = 0;
  std::array<std::byte, kPayloadMax> room_{};
  std::size_t room_bytes_ = 0;
};

}  // namespace openp2p::relay
