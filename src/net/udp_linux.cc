#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "net/udp_control.h"
#include "net/udp_syscalls.h"

#ifndef UDP_SEGMENT  // Kernel 4.18.
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO  // Kernel 5.0.
#define UDP_GRO 104
#endif

namespace openp2p::net {
namespace {

static_assert(sizeof(UdpMessage) == sizeof(mmsghdr));
static_assert(offsetof(UdpMessage, bytes) == offsetof(mmsghdr, msg_len));

int result_or_error(ssize_t result) { return result < 0 ? -errno : static_cast<int>(result); }

class LinuxUdpSyscalls final : public UdpSyscalls {
 public:
  int receive_many(int socket, std::span<UdpMessage> messages) override {
    auto* headers = reinterpret_cast<mmsghdr*>(messages.data());
    const auto count = static_cast<unsigned int>(messages.size());
    return result_or_error(::recvmmsg(socket, headers, count, MSG_DONTWAIT, nullptr));
  }
  int receive_one(int socket, UdpMessage& message) override {
    return result_or_error(::recvmsg(socket, &message.header, MSG_DONTWAIT));
  }
  int send_many(int socket, std::span<UdpMessage> messages) override {
    auto* headers = reinterpret_cast<mmsghdr*>(messages.data());
    const auto count = static_cast<unsigned int>(messages.size());
    return result_or_error(::sendmmsg(socket, headers, count, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  int send_one(int socket, const UdpMessage& message) override {
    return result_or_error(::sendmsg(socket, &message.header, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
};

bool set_option(int socket, int level, int name, int value) {
  return ::setsockopt(socket, level, name, &value, sizeof value) == 0;
}

// FORCE passes the administrator's limit and needs CAP_NET_ADMIN.
void set_buffer(int socket, int forced, int plain, int bytes) {
  if (!set_option(socket, SOL_SOCKET, forced, bytes)) {
    set_option(socket, SOL_SOCKET, plain, bytes);
  }
}

}  // namespace

std::unique_ptr<UdpSyscalls> make_udp_syscalls() { return std::make_unique<LinuxUdpSyscalls>(); }

bool configure_udp_socket(int socket, bool is_v4, const UdpOptions& options) {
  set_buffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, options.buffer_bytes);
  set_buffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, options.buffer_bytes);
  // PROBE: never fragment, and do not believe ICMP about the path MTU: anybody can forge that. The
  // path layer finds the size by authenticated probes (RFC 8899).
  if (is_v4) {
    if (!options.may_fragment) {
      set_option(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    }
    set_option(socket, IPPROTO_IP, IP_PKTINFO, 1);
  } else {
    set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (!options.may_fragment) {
      set_option(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    }
    set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  if (!options.wants_offload) return false;
  set_option(socket, IPPROTO_UDP, UDP_GRO, 1);
  return set_option(socket, IPPROTO_UDP, UDP_SEGMENT, 0);  // Off by default, on per message.
}

UdpReceivedControl read_udp_control(const ::msghdr& header) {
  UdpReceivedControl control;
  for_each_control(header, [&control](const ::cmsghdr& entry) {
    int segment_bytes;
    if (entry.cmsg_level == IPPROTO_UDP && entry.cmsg_type == UDP_GRO &&
        read_control_data(entry, segment_bytes) && segment_bytes > 0) {
      control.segment_bytes = static_cast<std::size_t>(segment_bytes);
    }
    read_packet_info(entry, control);
  });
  return control;
}

void write_udp_control(::msghdr& header, UdpControlRoom& room, const UdpSendControl& control) {
  ControlWriter out(header, room);
  if (control.segment_bytes != 0) {
    out.add(IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(control.segment_bytes));
  }
  if (!control.source.is_unspecified()) add_packet_info(out, control.source);
  if (control.hop_limit != 0) add_hop_limit(out, control.hop_limit, control.is_v4);
  out.finish();
}

}  // namespace openp2p::net
