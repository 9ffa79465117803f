#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/bytes.h"
#include "base/time.h"
#include "sim/world.h"

namespace openp2p::sim {

struct BytePipeOptions {
  std::size_t buffer_bytes = 64 * 1024;  ///< Each way: written and not yet read.
  Duration delay{};                      ///< From write to readable, and for the end and a reset.
  std::uint64_t bytes_per_second = 0;    ///< How fast each reader gets them; 0: no limit.
};

enum class ReadStatus {
  kBytes,
  kNothingYet,  ///< on_readable will be called.
  kEnd,         ///< The other end has shut down its writing, and everything was read.
  kReset,       ///< Either end was reset: what was not read is gone.
};

struct ReadResult {
  ReadStatus status = ReadStatus::kNothingYet;
  std::size_t bytes = 0;
};

class BytePipe;

/// One end of a BytePipe. All calls are non-blocking; handlers are called from events of the world,
/// never from inside a call.
class PipeEnd {
 public:
  ReadResult read(MutableByteView out);
  /// Takes what fits, possibly nothing; then on_writable is called once there is room. Writing
  /// after a shutdown or reset takes nothing.
  std::size_t write(ByteView bytes);
  void shutdown_write();  ///< The other end reads what is left, then kEnd.
  void reset();           ///< Both ends: nothing more can be read or written.

  bool is_reset() const { return is_reset_; }
  bool is_write_shut() const { return is_shut_; }
  std::size_t readable_bytes() const { return is_reset_ ? 0 : arrived_; }
  std::size_t writable_bytes() const;
  /// Called whenever bytes, the end or a reset have arrived.
  void on_readable(std::function<void()> handler) { readable_ = std::move(handler); }
  /// Called when there is room again after write() took less than it was given, and at a reset.
  void on_writable(std::function<void()> handler) { writable_ = std::move(handler); }

 private:
  friend class BytePipe;
  PipeEnd(World& world, const BytePipeOptions& options, PipeEnd& peer)
      : world_(world), options_(options), peer_(peer) {}

  void arrive(std::size_t bytes);
  void arrive_end();
  void arrive_reset();
  TimePoint arrival_of(std::size_t bytes);

  World& world_;
  const BytePipeOptions& options_;
  PipeEnd& peer_;
  std::function<void()> readable_;
  std::function<void()> writable_;
  Bytes incoming_;  // A ring: first_ is the oldest byte of used_.
  std::size_t first_ = 0;
  std::size_t used_ = 0;     // Written by the peer and not read, including what is on its way.
  std::size_t arrived_ = 0;  // Of used_: what may be read.
  TimePoint busy_until_{};   // When what this end has written will have passed the rate limit.
  bool has_end_arrived_ = false;
  bool is_shut_ = false;
  bool is_reset_ = false;
  bool wants_room_ = false;
};

/// A TCP connection within one simulated computer, such as between an application and a forward:
/// reliable bytes both ways, bounded buffers, half-close, reset, and a rate for slow readers. The
/// pipe outlives its events: declare it after the world, and run the world no more when it is gone.
class BytePipe {
 public:
  explicit BytePipe(World& world, const BytePipeOptions& options = {});
  BytePipe(const BytePipe&) = delete;
  BytePipe& operator=(const BytePipe&) = delete;

  PipeEnd& a() { return a_; }
  PipeEnd& b() { return b_; }

 private:
  const BytePipeOptions options_;
  PipeEnd a_;
  PipeEnd b_;
};

}  // namespace openp2p::sim
