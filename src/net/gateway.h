#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"

namespace openp2p::net {

/// A router that leads out of this machine's network, and our own address on that side of it: what
/// the router maps ports to.
struct Gateway {
  IpAddress ip;
  std::uint32_t interface_index = 0;
  IpAddress local;

  /// With the scope that a link-local address needs.
  Address at(std::uint16_t port) const {
    return {ip, port, ip.is_v6() && ip.is_link_local() ? interface_index : 0};
  }
  friend auto operator<=>(const Gateway&, const Gateway&) = default;
};

/// A laptop with cable, radio and two own IPv6 addresses each has six; more are left out.
constexpr std::size_t kGatewaysMax = 8;

/// Those of the default routes, the one of the lowest metric first, IPv4 before IPv6. One entry for
/// each own global IPv6 address, since each needs a pinhole of its own. Empty where the system does
/// not tell: then no ports are mapped.
std::vector<Gateway> default_gateways();

}  // namespace openp2p::net
