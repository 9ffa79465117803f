#include "net/socket_address.h"

#include <array>
#include <cstring>

namespace openp2p::net {

socklen_t to_socket_address(const Address& address, SocketAddress& out) {
  if (address.ip.is_v4()) {
    out.v4 = sockaddr_in{};
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(address.port);
    out.v4.sin_addr.s_addr = htonl(address.ip.v4_bits());
    return sizeof out.v4;
  }
  out.v6 = sockaddr_in6{};
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_port = htons(address.port);
  out.v6.sin6_scope_id = address.scope;
  std::memcpy(&out.v6.sin6_addr, address.ip.bytes().data(), address.ip.bytes().size());
  return sizeof out.v6;
}

Address from_socket_address(const SocketAddress& from) {
  if (from.base.sa_family == AF_INET) {
    return {IpAddress::v4(ntohl(from.v4.sin_addr.s_addr)), ntohs(from.v4.sin_port), 0};
  }
  if (from.base.sa_family != AF_INET6) return {};
  std::array<std::uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &from.v6.sin6_addr, bytes.size());
  const IpAddress ip = IpAddress::v6(bytes);
  return {ip, ntohs(from.v6.sin6_port), ip.is_link_local() ? from.v6.sin6_scope_id : 0};
}

Address local_address_of(int socket) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, &address.base, &size) != 0) return {};
  return from_socket_address(address);
}

Address remote_address_of(int socket) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, &address.base, &size) != 0) return {};
  return from_socket_address(address);
}

}  // namespace openp2p::net
