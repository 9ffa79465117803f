#include <netinet/in.h>

#include <cerrno>

#include "net/udp_control.h"
#include "net/udp_syscalls.h"

// For systems with RFC 3542 sockets and nothing more: one datagram a call.
namespace openp2p::net {
namespace {

int result_or_error(ssize_t result) { return result < 0 ? -errno : static_cast<int>(result); }

class PortableUdpSyscalls final : public UdpSyscalls {
 public:
  int receive_many(int, std::span<UdpMessage>) override { return -ENOSYS; }
  int receive_one(int socket, UdpMessage& message) override {
    return result_or_error(::recvmsg(socket, &message.header, 0));
  }
  int send_many(int, std::span<UdpMessage>) override { return -ENOSYS; }
  int send_one(int socket, const UdpMessage& message) override {
    return result_or_error(::sendmsg(socket, &message.header, 0));
  }
};

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace

std::unique_ptr<UdpSyscalls> make_udp_syscalls() { return std::make_unique<PortableUdpSyscalls>(); }

bool configure_udp_socket(int socket, bool is_v4, const UdpOptions& options) {
  set_option(socket, SOL_SOCKET, SO_RCVBUF, options.buffer_bytes);
  set_option(socket, SOL_SOCKET, SO_SNDBUF, options.buffer_bytes);
#ifdef IP_DONTFRAG
  if (is_v4 && !options.may_fragment) set_option(socket, IPPROTO_IP, IP_DONTFRAG, 1);
#endif
#ifdef IPV6_DONTFRAG
  if (!is_v4 && !options.may_fragment) set_option(socket, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
#endif
  if (is_v4) {
    set_option(socket, IPPROTO_IP, IP_PKTINFO, 1);
  } else {
    set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  return false;
}

UdpReceivedControl read_udp_control(const ::msghdr& header) {
  UdpReceivedControl control;
  for_each_control(header,
                   [&control](const ::cmsghdr& entry) { read_packet_info(entry, control); });
  return control;
}

void write_udp_control(::msghdr& header, UdpControlRoom& room, const UdpSendControl& control) {
  ControlWriter out(header, room);
  if (!control.source.is_unspecified()) add_packet_info(out, control.source);
  if (control.hop_limit != 0) add_hop_limit(out, control.hop_limit, control.is_v4);
  out.finish();
}

}  // namespace openp2p::net
