#include "forward/early_datagrams.h"

#include <array>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::forward {

void append_frame(Bytes& frames, ByteView datagram) {
  CHECK(datagram.size() <= 65'535);
  std::array<std::byte, kEarlyHeaderBytes> header;
  Writer(header).u16(static_cast<std::uint16_t>(datagram.size()));
  frames.insert(frames.end(), header.begin(), header.end());
  frames.insert(frames.end(), datagram.begin(), datagram.end());
}

std::size_t EarlyDatagrams::push(ByteView datagram) {
  std::size_t dropped = 0;
  for (; frames().size() + kEarlyHeaderBytes + datagram.size() > kBytesMax; ++dropped) pop();
  append_frame(frames_, datagram);
  ++count_;
  return dropped;
}

void EarlyDatagrams::pop() {
  CHECK(count_ > 0);
  start_ += kEarlyHeaderBytes + *Reader(frames()).u16();
  --count_;
  if (start_ < frames_.size() / 2) return;  // Moved rarely, and never more than twice the limit.
  frames_.erase(frames_.begin(), frames_.begin() + static_cast<std::ptrdiff_t>(start_));
  start_ = 0;
}

}  // namespace openp2p::forward
