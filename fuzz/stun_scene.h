#pragma once

#include "base/address.h"
#include "fuzz/choices.h"

/// Who asks and who is asked where the input of a fuzz target plays NATs and STUN servers.
const openp2p::IpAddress kOwn = openp2p::IpAddress::v4(192, 168, 1, 10);
const openp2p::IpAddress kExternal = openp2p::IpAddress::v4(198, 51, 100, 7);
const openp2p::Address kServers[] = {{openp2p::IpAddress::v4(203, 0, 113, 1), 3478},
                                     {openp2p::IpAddress::v4(203, 0, 113, 1), 3479},
                                     {openp2p::IpAddress::v4(203, 0, 113, 2), 3478},
                                     {openp2p::IpAddress::v4(203, 0, 113, 2), 3479},
                                     {openp2p::IpAddress::v4(203, 0, 113, 1), 3480}};

/// One that is easily believed, one that never may be, or any of IPv4's.
inline openp2p::IpAddress choose_ip(Choices& choices) {
  using openp2p::IpAddress;
  switch (choices.byte() % 6) {
    case 0:
      return kExternal;
    case 1:
      return kOwn;
    case 2:
      return IpAddress::any_v4();
    case 3:
      return IpAddress::loopback_v4();
    case 4:
      return *IpAddress::parse("2001:db8::7");
    default:
      break;
  }
  const std::uint8_t a = choices.byte(), b = choices.byte(), c = choices.byte();
  return IpAddress::v4(a, b, c, choices.byte());
}
