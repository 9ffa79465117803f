#pragma once

#include <system_error>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"

namespace openp2p::net {

/// What a conversation on a thread of its own waits with: each wait ends at the deadline of the
/// whole, and at once when the owner withdraws. So nothing that the other side does or leaves out
/// can hold the thread, nor whoever waits for its end.
///
/// Threading: used on that thread; the descriptor `cancelled` becomes readable from another one.
class BoundedWait {
 public:
  BoundedWait(int cancelled, TimePoint deadline) : cancelled_(cancelled), deadline_(deadline) {}

  TimePoint deadline() const { return deadline_; }
  bool is_over() const;  ///< Withdrawn, or the deadline has passed.

  /// Waits until the descriptor is ready for `events` (poll's), at most until `end`. False: it is
  /// not, or all is over.
  bool wait(int descriptor, short events, TimePoint end) const;
  /// Sends everything; the socket is non-blocking.
  Status send_all(int descriptor, ByteView bytes, TimePoint end) const;
  /// Up to out.size() bytes; 0 is the end of the stream.
  Result<std::size_t> receive(int descriptor, MutableByteView out, TimePoint end) const;

 private:
  int cancelled_;
  TimePoint deadline_;
};

}  // namespace openp2p::net
