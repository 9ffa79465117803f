#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace openp2p::forward {

/// Datagrams of a local program that came before there was a flow to carry them, as frames: length
/// (2), data. When they are too many the oldest go: what is newest is of most use.
class EarlyDatagrams {
 public:
  /// One of the largest, or what a program says before it wants an answer.
  static constexpr std::size_t kBytesMax = 128 << 10;

  /// Gives how many older ones it dropped. A datagram is at most 65,535 bytes.
  std::size_t push(ByteView datagram);
  ByteView frames() const { return ByteView(frames_).subspan(start_); }
  std::size_t count() const { return count_; }

 private:
  void pop();

  Bytes frames_;
  std::size_t start_ = 0;
  std::size_t count_ = 0;
};

/// Puts a datagram behind others.
void append_frame(Bytes& frames, ByteView datagram);
inline constexpr std::size_t kEarlyHeaderBytes = 2;

}  // namespace openp2p::forward
