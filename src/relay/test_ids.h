#pragma once

#include "base/ids.h"

namespace openp2p::relay {

/// A node's id that tests can tell from others.
inline NodeId node(std::uint8_t number) {
  NodeId id;
  id.key.fill(std::byte{number});
  return id;
}

}  // namespace openp2p::relay
