#pragma once

#include <cstddef>
#include <string>
#include <system_error>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"

namespace openp2p::forward {

enum class IoState {
  kOk,          ///< `bytes` were moved, and there may be room or data for more.
  kWouldBlock,  ///< The kernel has no more data or no more room now; `bytes` were moved before.
  kEnd,         ///< read() only: the other end finished sending. Writing still works (half-close).
  kError,       ///< The stream is dead, and `error` says why. Every later call says the same.
};

/// What one read() or write() did. `bytes` counts in every state.
struct IoResult {
  std::size_t bytes = 0;
  IoState state = IoState::kOk;
  std::error_code error;
};

/// What a LocalStream tells its owner. A handler may call anything on the stream, and may destroy
/// it as the last thing it does.
class LocalStreamHandler {
 public:
  virtual ~LocalStreamHandler() = default;
  /// There is data, an end or an error to read(). Only while want_read(true).
  virtual void on_readable(TimePoint now) = 0;
  /// There is room to write(). Only while want_write(true).
  virtual void on_writable(TimePoint now) = 0;
  /// The stream died (reset by the other end, timed out), whatever was wanted; told at most once,
  /// and not told if read() or write() returned kError before.
  virtual void on_failed(std::error_code error, TimePoint now) = 0;
};

/// A reliable byte stream on this machine, as a forward sees it: a TCP connection of the driver's,
/// or one of the simulator's. Never blocks.
///
/// Readiness is level-triggered: while something is wanted and possible, the handler hears of it
/// once a turn of the loop; it may do a part of the work and return, so that one busy stream cannot
/// starve others. Both wishes are off at first.
///
/// Cost: read() and write() are one system call each and copy once, between the kernel and the
/// caller's memory. So gather: read 128 KiB at a time, and do one write() for all that one batch of
/// datagrams brought. Nothing is buffered here: what write() did not take is still the caller's.
///
/// Threading: one owner, one thread. The destructor closes in order: what was written is still
/// delivered, followed by an end; data that came and was not read turns that into a reset.
class LocalStream {
 public:
  LocalStream() = default;
  virtual ~LocalStream() = default;
  LocalStream(const LocalStream&) = delete;
  LocalStream& operator=(const LocalStream&) = delete;

  /// nullptr: nobody listens. The handler must outlive the stream or be taken off.
  virtual void set_handler(LocalStreamHandler* handler) = 0;
  virtual void want_read(bool wanted) = 0;
  virtual void want_write(bool wanted) = 0;

  /// `out` must not be empty. A full `out` is kOk, a part of it kWouldBlock.
  virtual IoResult read(MutableByteView out) = 0;
  /// All taken is kOk, a part or nothing kWouldBlock: then want_write(true) and offer the rest.
  virtual IoResult write(ByteView data) = 0;
  /// Ends the sending direction after what was written; repeating does nothing. No write() after.
  virtual void shutdown_write() = 0;
  /// Ends both directions at once; the other end sees a reset (TCP RST), not an end. Then every
  /// read() and write() is kError, and the handler hears nothing more.
  virtual void reset() = 0;

  /// Whose connection this is, for lists and logs.
  virtual Address remote_address() const = 0;
};

}  // namespace openp2p::forward
