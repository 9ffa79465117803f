#pragma once

#include <algorithm>

#include "base/check.h"
#include "wire/datagram_frame.h"

namespace openp2p {

/// Calls `each` with every datagram of a train, in order. An empty train is one empty datagram,
/// which UDP has.
template <class Each>
void for_each_datagram(const DatagramTrain& train, Each each) {
  CHECK(train.segment_bytes > 0 || train.datagrams.empty());
  ByteView left = train.datagrams;
  do {
    const std::size_t size = std::min(left.size(), train.segment_bytes);
    each(left.first(size));
    left = left.subspan(size);
  } while (!left.empty());
}

}  // namespace openp2p
