#pragma once

#include <algorithm>
#include <list>

#include "base/bytes.h"
#include "base/random.h"
#include "sim/byte_pipe.h"
#include "sim/world.h"

/// The programs at both ends of a forward, in simulated worlds.
namespace openp2p::test {

/// Sends its data, ends its half, and keeps what comes until the end.
class Application {
 public:
  Application(sim::PipeEnd& end, Bytes data) : end_(end), data_(std::move(data)) {
    end_.on_readable([this] { read(); });
    end_.on_writable([this] { write(); });
    write();
    read();
  }
  ~Application() {
    end_.on_readable({});
    end_.on_writable({});
  }
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  void reset() { end_.reset(); }
  void pause(bool paused) {
    is_paused_ = paused;
    if (!paused) read();
  }

  Bytes received;
  bool has_end = false;
  bool is_reset = false;
  bool is_done() const { return has_end || is_reset; }
  bool has_sent_all() const { return sent_ == data_.size(); }

 private:
  void write() {
    sent_ += end_.write(ByteView(data_).subspan(sent_));
    if (sent_ == data_.size() && !end_.is_write_shut()) end_.shutdown_write();
  }
  void read() {
    if (is_paused_) return;
    Bytes chunk(16 << 10);
    while (!is_done()) {
      const sim::ReadResult result = end_.read(chunk);
      if (result.status == sim::ReadStatus::kNothingYet) return;
      has_end = result.status == sim::ReadStatus::kEnd;
      is_reset = result.status == sim::ReadStatus::kReset;
      received.insert(received.end(), chunk.begin(),
                      chunk.begin() + static_cast<std::ptrdiff_t>(result.bytes));
    }
  }

  sim::PipeEnd& end_;
  Bytes data_;
  std::size_t sent_ = 0;
  bool is_paused_ = false;
};

/// Writes a byte when told, and counts what comes.
class Talker {
 public:
  explicit Talker(sim::PipeEnd& end) : end_(end) {
    end_.on_readable([this] { read(); });
  }
  ~Talker() { end_.on_readable({}); }
  Talker(const Talker&) = delete;
  Talker& operator=(const Talker&) = delete;

  /// False: what was said before still waits.
  bool say() { return end_.write(Bytes(1)) == 1; }
  std::size_t heard() const { return heard_; }
  bool is_over() const { return is_over_; }

 private:
  void read() {
    Bytes bytes(64);
    for (;;) {
      const sim::ReadResult result = end_.read(bytes);
      is_over_ |=
          result.status == sim::ReadStatus::kEnd || result.status == sim::ReadStatus::kReset;
      if (result.status != sim::ReadStatus::kBytes) return;
      heard_ += result.bytes;
    }
  }

  sim::PipeEnd& end_;
  std::size_t heard_ = 0;
  bool is_over_ = false;
};

inline Bytes random_bytes(Random& random, std::size_t size) {
  Bytes bytes(size);
  random.fill(bytes);
  return bytes;
}

}  // namespace openp2p::test
