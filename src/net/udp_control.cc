#include "net/udp_control.h"

#include <array>

namespace openp2p::net {

void read_packet_info(const ::cmsghdr& entry, UdpReceivedControl& control) {
  if (in_pktinfo v4; entry.cmsg_level == IPPROTO_IP && entry.cmsg_type == IP_PKTINFO &&
                     read_control_data(entry, v4)) {
    control.local = IpAddress::v4(ntohl(v4.ipi_addr.s_addr));
    control.interface_index = static_cast<unsigned int>(v4.ipi_ifindex);
  }
  if (in6_pktinfo v6; entry.cmsg_level == IPPROTO_IPV6 && entry.cmsg_type == IPV6_PKTINFO &&
                      read_control_data(entry, v6)) {
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &v6.ipi6_addr, bytes.size());
    control.local = IpAddress::v6(bytes);
    control.interface_index = static_cast<unsigned int>(v6.ipi6_ifindex);
  }
}

void add_packet_info(ControlWriter& out, const IpAddress& source) {
  if (source.is_v4()) {
    in_pktinfo info{};
    info.ipi_spec_dst.s_addr = htonl(source.v4_bits());
    out.add(IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, source.bytes().data(), source.bytes().size());
    out.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

void add_hop_limit(ControlWriter& out, std::uint8_t hop_limit, bool is_v4) {
  const int hops = hop_limit;
  if (is_v4) {
    out.add(IPPROTO_IP, IP_TTL, hops);
  } else {
    out.add(IPPROTO_IPV6, IPV6_HOPLIMIT, hops);
  }
}

}  // namespace openp2p::net
