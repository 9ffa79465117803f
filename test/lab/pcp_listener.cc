#include "test/lab/pcp_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nat/pcp_message.h"

namespace openp2p::lab {
namespace {

/// Requests a call, so that the packets of the NAT itself get their turn.
constexpr int kRequestsMax = 16;
/// Announcements go to all hosts of the LAN (RFC 6887 section 14.1.3).
const IpAddress kAllHosts = IpAddress::v4(224, 0, 0, 1);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketAddress to_socket_address(const Address& address) {
  SocketAddress result;
  if (address.ip.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    v4.sin_addr.s_addr = htonl(address.ip.v4_bits());
    std::memcpy(&result.storage, &v4, sizeof v4);
    result.size = sizeof v4;
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::memcpy(&v6.sin6_addr, address.ip.bytes().data(), 16);
    std::memcpy(&result.storage, &v6, sizeof v6);
    result.size = sizeof v6;
  }
  return result;
}

Address from_socket_address(const SocketAddress& from) {
  if (from.storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &from.storage, sizeof v4);
    return {IpAddress::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  sockaddr_in6 v6{};
  std::memcpy(&v6, &from.storage, sizeof v6);
  std::array<std::uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  return {IpAddress::v6(bytes), ntohs(v6.sin6_port)};
}

std::error_code last_error() { return {errno, std::system_category()}; }

}  // namespace

Result<PcpListener> PcpListener::open(const IpAddress& ip, sim::NatTable* udp, sim::NatTable* tcp,
                                      TimePoint now) {
  const int family = ip.is_v4() ? AF_INET : AF_INET6;
  const int descriptor = ::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return last_error();
  PcpListener listener(descriptor, ip, sim::PcpService(udp, tcp, {}));
  SocketAddress local = to_socket_address({ip, nat::kPcpServerPort});
  if (::bind(descriptor, local.raw(), local.size) != 0) return last_error();
  const in_addr interface { .s_addr = ip.is_v4() ? htonl(ip.v4_bits()) : 0 };
  if (ip.is_v4() &&
      ::setsockopt(descriptor, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface) != 0) {
    return last_error();
  }
  listener.restart(now);
  return listener;
}

PcpListener::PcpListener(PcpListener&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), ip_(other.ip_), service_(other.service_) {}

PcpListener::~PcpListener() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PcpListener::on_readable(TimePoint now) {
  std::array<std::byte, nat::kPcpBytesMax + 1> request;  // One more shows what is too long.
  std::array<std::byte, nat::kPcpBytesMax> answer;
  for (int i = 0; i < kRequestsMax; ++i) {
    SocketAddress from;
    const ssize_t size =
        ::recvfrom(descriptor_, request.data(), request.size(), 0, from.raw(), &from.size);
    if (size < 0) return;  // Nothing is there, or an answer was not wanted (ICMP).
    const ByteView datagram = std::span(request).first(static_cast<std::size_t>(size));
    const std::size_t bytes =
        service_.on_datagram(from_socket_address(from), datagram, answer, now);
    // What the kernel cannot send is lost, as on any network: clients repeat.
    if (bytes != 0) (void)::sendto(descriptor_, answer.data(), bytes, 0, from.raw(), from.size);
  }
}

void PcpListener::restart(TimePoint now) {
  std::array<std::byte, nat::kPcpBytesMax> out;
  const std::size_t bytes = service_.restart(out, now);
  if (!ip_.is_v4()) return;  // IPv6's would need the interface; clients notice by the epoch.
  SocketAddress to = to_socket_address({kAllHosts, nat::kPcpAnnouncementPort});
  (void)::sendto(descriptor_, out.data(), bytes, 0, to.raw(), to.size);
}

}  // namespace openp2p::lab
