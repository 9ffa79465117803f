#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "forward/flow.h"
#include "session/test_session.h"

/// Both neighbours of a Flow, for tests: a session with one stream, and a local stream, each of
/// which records what is asked of it. Neither allocates once its buffers have their size.
namespace openp2p::forward {

/// What a FakeStream works on; outlives it, since a Flow owns its stream.
struct LocalEnd {
  static constexpr std::size_t kBytesMax = 1 << 20;
  LocalEnd() { written.reserve(kBytesMax); }

  Bytes to_read;  ///< What the local program sent.
  std::size_t read_start = 0;
  bool has_end = false;  ///< ... and whether it ended behind that.
  std::error_code error;
  Bytes written;                      ///< What the local program was sent.
  std::size_t room_bytes = SIZE_MAX;  ///< What it still takes.
  int writes = 0;
  int reads = 0;
  int shutdowns = 0;
  int resets = 0;
  bool is_destroyed = false;
  bool wants_read = false;
  bool wants_write = false;
  LocalStreamHandler* handler = nullptr;

  void send(ByteView data) { to_read.insert(to_read.end(), data.begin(), data.end()); }
};

class FakeStream final : public LocalStream {
 public:
  explicit FakeStream(LocalEnd& end) : end_(end) {}
  ~FakeStream() override { end_.is_destroyed = true; }

  void set_handler(LocalStreamHandler* handler) override { end_.handler = handler; }
  void want_read(bool wanted) override { end_.wants_read = wanted; }
  void want_write(bool wanted) override { end_.wants_write = wanted; }
  IoResult read(MutableByteView out) override {
    ++end_.reads;
    if (end_.error) return {0, IoState::kError, end_.error};
    const std::size_t size = std::min(out.size(), end_.to_read.size() - end_.read_start);
    std::copy_n(end_.to_read.begin() + static_cast<std::ptrdiff_t>(end_.read_start), size,
                out.begin());
    end_.read_start += size;
    if (size == 0 && end_.has_end) return {0, IoState::kEnd, {}};
    return {size, size == out.size() ? IoState::kOk : IoState::kWouldBlock, {}};
  }
  IoResult write(ByteView data) override {
    ++end_.writes;
    CHECK(end_.shutdowns == 0);
    if (end_.error) return {0, IoState::kError, end_.error};
    const std::size_t size = std::min(data.size(), end_.room_bytes);
    end_.written.insert(end_.written.end(), data.begin(),
                        data.begin() + static_cast<std::ptrdiff_t>(size));
    end_.room_bytes -= size;
    return {size, size == data.size() ? IoState::kOk : IoState::kWouldBlock, {}};
  }
  void shutdown_write() override { ++end_.shutdowns; }
  void reset() override { ++end_.resets; }
  Address remote_address() const override { return {IpAddress::loopback_v4(), 1}; }

 private:
  LocalEnd& end_;
};

/// One stream's worth of a session.
class FakeSession final : public session::FakeSession {
 public:
  static constexpr session::StreamId kStream{0};

  Result<session::StreamId> open_stream() override { return kStream; }
  MutableByteView write_room(session::StreamId) override {
    if (is_finished || reset_code) return {};
    return MutableByteView(ring_).first(std::min(ring_.size(), ring_bytes - sent.size()));
  }
  void commit(session::StreamId, std::size_t bytes) override {
    sent.insert(sent.end(), ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(bytes));
  }
  std::size_t write(session::StreamId id, ByteView data) override {
    const MutableByteView room = write_room(id);
    const std::size_t size = std::min(room.size(), data.size());
    std::copy_n(data.begin(), size, room.begin());
    commit(id, size);
    return size;
  }
  void finish(session::StreamId) override { is_finished = true; }
  void reset(session::StreamId, std::uint64_t code) override { reset_code = code; }
  void stop(session::StreamId, std::uint64_t code) override { stop_code = code; }
  void consume(session::StreamId, std::size_t bytes) override { consumed += bytes; }

  Bytes sent;
  std::size_t ring_bytes = LocalEnd::kBytesMax;  ///< Never acknowledged: what fits in all.
  std::size_t consumed = 0;
  bool is_finished = false;
  std::optional<std::uint64_t> reset_code;
  std::optional<std::uint64_t> stop_code;

 private:
  Bytes ring_ = Bytes(Flow::kReadBytesMax * 2);
};

}  // namespace openp2p::forward
