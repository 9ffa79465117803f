#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <string>

#include "base/descriptor.h"
#include "net/socket_address.h"
#include "net/test_loop.h"
#include "net/udp_control.h"
#include "net/udp_socket.h"

namespace openp2p::net {
namespace {

struct Ignorer final : UdpHandler {
  void on_datagrams(std::span<const Received>, TimePoint) override {}
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}
};

/// Takes one datagram after the other, and tells the hop limit with which it came.
class HopReader {
 public:
  explicit HopReader(const IpAddress& ip)
      : socket_(::socket(ip.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM, 0)) {
    const int on = 1;
    ::setsockopt(socket_.number(), IPPROTO_IP, IP_RECVTTL, &on, sizeof on);
    ::setsockopt(socket_.number(), IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on);
    SocketAddress address;
    const socklen_t size = to_socket_address({ip, 0}, address);
    EXPECT_EQ(::bind(socket_.number(), &address.base, size), 0);
  }
  Address address() const { return local_address_of(socket_.number()); }
  int next_hops() {
    std::array<std::byte, 2'000> bytes;
    UdpControlRoom room;
    iovec slice{bytes.data(), bytes.size()};
    ::msghdr header{};
    header.msg_iov = &slice;
    header.msg_iovlen = 1;
    header.msg_control = room.bytes;
    header.msg_controllen = sizeof room.bytes;
    if (::recvmsg(socket_.number(), &header, 0) < 0) return -1;
    int hops = -1;
    for_each_control(header, [&hops](const ::cmsghdr& entry) { read_control_data(entry, hops); });
    return hops;
  }

 private:
  Descriptor socket_;
};

TEST(UdpSocket, SetsTheHopLimitOfWhatAsksForOneOnly) {
  for (const Address& any :
       {Address{IpAddress::loopback_v4(), 0}, Address{*IpAddress::parse("::1"), 0}}) {
    SCOPED_TRACE(any.text());
    IoContext io;
    UdpBuffers buffers;
    Ignorer ignorer;
    auto from = UdpSocket::open(io, any, buffers, ignorer);
    ASSERT_TRUE(from);
    HopReader reader(any.ip);
    const std::string word = "plain";
    const Outgoing plain{reader.address(), {}, as_bytes(word), word.size()};
    const std::string three = std::string(500, 'a') + std::string(500, 'b') + std::string(400, 'c');
    Outgoing low{reader.address(), any.ip, as_bytes(three), 500};  // All beside a message fits.
    low.hop_limit = 3;
    const Outgoing batches[] = {plain, low, plain};

    EXPECT_EQ((*from)->send(batches, TimePoint{}).batches, 3u);

    EXPECT_EQ(reader.next_hops(), 64);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(reader.next_hops(), 3);
    EXPECT_EQ(reader.next_hops(), 64);
  }
}

}  // namespace
}  // namespace openp2p::net
