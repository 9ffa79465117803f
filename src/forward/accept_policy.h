#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "forward/destination.h"

namespace openp2p::forward {

/// What this node lets peers of its network connect to. The destination node decides, nobody else.
///
/// Always: this node itself (loopback, and the addresses of its interfaces). With `accept_lan`:
/// hosts on its local networks too (private addresses, and IPv6 hosts that share a /64 with it;
/// never link-local ones and others where clouds keep their metadata services). With
/// `destinations`: just those. Judged on the address that a name resolved to, so that a name cannot
/// change its meaning between the check and the connection.
struct AcceptPolicy {
  static constexpr std::size_t kDestinationsMax = 256;

  bool accept_lan = false;
  std::vector<Destination> destinations;

  bool allows(std::string_view host, const IpAddress& resolved, std::uint16_t port,
              const std::vector<IpAddress>& own) const;
};

}  // namespace openp2p::forward
