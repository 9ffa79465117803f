#pragma once

#include <vector>

#include "base/address.h"
#include "base/bytes.h"

/// Datagrams that came over relays, until the input that brought them was handled. Handed on at
/// once they would be opened inside the call that opens the datagram around them, over its buffer.
/// Those of one path and size that follow each other become a train. In steady state nothing is
/// allocated: one copy, into memory that is kept.
namespace openp2p::agent {

class RelayInbox {
 public:
  /// A driver hands in less at a time; more is dropped, as networks do.
  static constexpr std::size_t kBytesMax = 4 << 20;

  struct Train {
    Path from;
    std::size_t begin = 0;
    std::size_t bytes = 0;
    std::size_t segment_bytes = 0;
  };

  /// False: dropped.
  bool add(const Path& from, ByteView datagram);
  bool is_empty() const { return trains_.empty(); }
  /// Calls take(train, bytes) for each. What is added meanwhile is dropped: no relay over a relay.
  template <class Take>
  void deliver(Take&& take) {
    is_delivering_ = true;
    for (const Train& train : trains_) {
      take(train, ByteView(bytes_).subspan(train.begin, train.bytes));
    }
    is_delivering_ = false;
    trains_.clear();
    bytes_.clear();
  }

 private:
  std::vector<Train> trains_;
  Bytes bytes_;
  bool is_delivering_ = false;
};

}  // namespace openp2p::agent
