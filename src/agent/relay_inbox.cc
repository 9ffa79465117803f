#include "agent/relay_inbox.h"

namespace openp2p::agent {

bool RelayInbox::add(const Path& from, ByteView datagram) {
  if (is_delivering_ || datagram.empty() || bytes_.size() + datagram.size() > kBytesMax) {
    return false;
  }
  Train* last = trains_.empty() ? nullptr : &trains_.back();
  // A shorter datagram ends a train.
  const bool is_next = last != nullptr && last->from == from &&
                       last->bytes % last->segment_bytes == 0 &&
                       datagram.size() <= last->segment_bytes;
  if (is_next) {
    last->bytes += datagram.size();
  } else {
    trains_.push_back({from, bytes_.size(), datagram.size(), datagram.size()});
  }
  bytes_.insert(bytes_.end(), datagram.begin(), datagram.end());
  return true;
}

}  // namespace openp2p::agent
