#include "net/announcement_ear.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/readiness.h"
#include "net/socket_address.h"

namespace openp2p::net {
namespace {

constexpr std::uint16_t kPort = 5'350;
constexpr std::size_t kBytesMax = 2'048;  // RFC 6887 section 7 has 1,100; STUN of ours 2,048.
constexpr int kReadsPerWakeupMax = 16;

bool join_v4(int socket, const IpAddress& to, const IpAddress& interface) {
  ip_mreq group{};
  group.imr_multiaddr.s_addr = htonl(to.v4_bits());
  group.imr_interface.s_addr = htonl(interface.v4_bits());
  return ::setsockopt(socket, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0;
}

bool join(int socket, const Gateway& gateway) {
  if (gateway.local.is_v4()) return join_v4(socket, IpAddress::v4(224, 0, 0, 1), gateway.local);
  SocketAddress everybody{};
  to_socket_address({*IpAddress::parse("ff02::1"), kPort}, everybody);
  ipv6_mreq group{};
  group.ipv6mr_multiaddr = everybody.v6.sin6_addr;
  group.ipv6mr_interface = gateway.interface_index;
  return ::setsockopt(socket, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) == 0;
}

/// On a port that others may share.
Descriptor open_ear(bool is_v4, std::uint16_t port) {
  const int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  Descriptor socket(::socket(is_v4 ? AF_INET : AF_INET6, type, 0));
  if (!socket) return socket;
  const int on = 1;
  int failed = ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!is_v4) {
    failed |= ::setsockopt(socket.number(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  SocketAddress any{};
  const IpAddress ip = is_v4 ? IpAddress::any_v4() : IpAddress::any_v6();
  const socklen_t size = to_socket_address({ip, port}, any);
  failed |= ::bind(socket.number(), &any.base, size);
  if (failed != 0) return {};
  return socket;
}

class SocketEar final : public AnnouncementEar {
 public:
  SocketEar(IoContext& io, Descriptor socket, Callback on_datagram)
      : socket_(std::move(socket)),
        on_datagram_(std::move(on_datagram)),
        readiness_(io, socket_.number(), {[this] { on_readable(); }, {}, {}}) {
    readiness_.want_read(true);
  }
  ~SocketEar() override { *is_alive_ = false; }

 private:
  void on_readable() {
    const auto is_alive = is_alive_;
    const TimePoint now = monotonic_now();
    std::array<std::byte, kBytesMax> room;
    for (int i = 0; i < kReadsPerWakeupMax && *is_alive; ++i) {
      SocketAddress from{};
      socklen_t size = sizeof from;
      const ssize_t bytes =
          ::recvfrom(socket_.number(), room.data(), room.size(), 0, &from.base, &size);
      if (bytes < 0) return;
      on_datagram_(from_socket_address(from), ByteView(room).first(static_cast<std::size_t>(bytes)),
                   now);
    }
  }

  Descriptor socket_;
  Callback on_datagram_;
  // Owned by this object and by a read under way, whose callback may destroy this.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
  Readiness readiness_;
};

}  // namespace

std::unique_ptr<AnnouncementEar> hear_announcements(IoContext& io, const Gateway& gateway,
                                                    AnnouncementEar::Callback on_datagram) {
  Descriptor socket = open_ear(gateway.local.is_v4(), kPort);
  if (!socket || !join(socket.number(), gateway)) return nullptr;
  return std::make_unique<SocketEar>(io, std::move(socket), std::move(on_datagram));
}

std::unique_ptr<AnnouncementEar> hear_group(IoContext& io, const Address& group,
                                            const std::vector<IpAddress>& interfaces,
                                            AnnouncementEar::Callback on_datagram) {
  Descriptor socket = open_ear(/*is_v4=*/true, group.port);
  if (!socket) return nullptr;
#ifdef IP_MULTICAST_ALL
  const int off = 0;  // Linux hands in every group that any program has joined.
  (void)::setsockopt(socket.number(), IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off);
#endif
  bool is_member = false;
  for (const IpAddress& interface : interfaces) {
    is_member |= interface.is_v4() && join_v4(socket.number(), group.ip, interface);
  }
  if (!is_member) return nullptr;
  return std::make_unique<SocketEar>(io, std::move(socket), std::move(on_datagram));
}

}  // namespace openp2p::net
