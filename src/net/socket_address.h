#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/address.h"

namespace openp2p::net {

/// An Address as the system calls want it. sockaddr_storage would be four times as large.
union SocketAddress {
  sockaddr base;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

/// Fills `out` and returns how much of it counts.
socklen_t to_socket_address(const Address& address, SocketAddress& out);
Address from_socket_address(const SocketAddress& from);

Address local_address_of(int socket);   ///< Of a bound socket.
Address remote_address_of(int socket);  ///< Unspecified, port 0, when it is not connected any more.

}  // namespace openp2p::net
