#include "test/lab/ip_packet.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "test/lab/test_packets.h"

namespace openp2p::lab {
namespace {

const Address kHost{IpAddress::v4(192, 168, 1, 10), 5000};
const Address kPeer{IpAddress::v4(203, 0, 113, 1), 3478};
const Address kExternal{IpAddress::v4(198, 51, 100, 1), 40'000};
const Address kHost6{*IpAddress::parse("2001:db8:1::10"), 5000};
const Address kPeer6{*IpAddress::parse("2001:db8:ffff::1"), 3478};

TEST(IpPacket, ReadsPortsAndIdentifiers) {
  const PacketFields udp = read_packet(udp_packet(kHost, kPeer));
  const PacketFields tcp = read_packet(tcp_packet(kHost6, kPeer6));
  const PacketFields request =
      read_packet(echo_packet(kHost.ip, kPeer.ip, 77, /*is_request=*/true));
  const PacketFields reply = read_packet(echo_packet(kPeer6.ip, kHost6.ip, 77, false));

  EXPECT_EQ(udp.fault, PacketFault::kNone);
  EXPECT_EQ(udp.payload, Payload::kUdp);
  EXPECT_EQ(udp.from, kHost);
  EXPECT_EQ(udp.to, kPeer);
  EXPECT_EQ(udp.hop_limit, 64);
  EXPECT_EQ(tcp.payload, Payload::kTcp);
  EXPECT_EQ(tcp.from, kHost6);
  EXPECT_FALSE(tcp.is_v4);
  EXPECT_EQ(request.from, (Address{kHost.ip, 77}));
  EXPECT_EQ(request.to, Address{kPeer.ip});
  EXPECT_EQ(reply.to, (Address{kHost6.ip, 77}));
  EXPECT_EQ(reply.from, Address{kPeer6.ip});
}

TEST(IpPacket, RefusesWhatIsCutOffAtEveryLength) {
  for (const Bytes& packet :
       {udp_packet(kHost, kPeer), tcp_packet(kHost, kPeer), udp_packet(kHost6, kPeer6),
        echo_packet(kHost.ip, kPeer.ip, 1, true), tcp_packet(kHost6, kPeer6)}) {
    for (std::size_t size = 0; size < packet.size(); ++size) {
      const Bytes cut(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_EQ(read_packet(cut).fault, PacketFault::kMalformed) << size;
    }
  }
}

TEST(IpPacket, RefusesFragmentsAndForeignProtocols) {
  Bytes first = udp_packet(kHost, kPeer), later = first, igmp = first, v5 = first;
  set_word(first, 6, 0x2000);
  set_word(later, 6, 0x0010);
  igmp[9] = std::byte{2};
  v5[0] = std::byte{0x55};
  Bytes whole = udp_packet(kHost, kPeer), fragment6 = udp_packet(kHost6, kPeer6);
  set_word(whole, 6, 0x4000);
  fragment6[6] = std::byte{44};

  EXPECT_EQ(read_packet(first).fault, PacketFault::kFragment);
  EXPECT_EQ(read_packet(later).fault, PacketFault::kFragment);
  EXPECT_EQ(read_packet(fragment6).fault, PacketFault::kFragment);
  EXPECT_EQ(read_packet(igmp).fault, PacketFault::kUnknownPayload);
  EXPECT_EQ(read_packet(v5).fault, PacketFault::kMalformed);
  EXPECT_EQ(read_packet(whole).fault, PacketFault::kNone);
}

TEST(IpPacket, RewritingKeepsChecksumsRight) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto any = [&] {
      return Address{IpAddress::v4(static_cast<std::uint32_t>(random.next())),
                     static_cast<std::uint16_t>(random.next())};
    };
    const std::uint64_t draw = random.next();
    const std::string text(random.below(9), static_cast<char>(draw));
    Bytes packet = draw % 3 == 0   ? udp_packet(any(), any(), text)
                   : draw % 3 == 1 ? tcp_packet(any(), any(), text)
                                   : echo_packet(any().ip, any().ip, any().port, draw % 2 == 0);
    ASSERT_TRUE(has_right_checksums(packet));

    rewrite_packet(packet, read_packet(packet), any(), any());
    decrement_hop_limit(packet, read_packet(packet));

    ASSERT_TRUE(has_right_checksums(packet)) << to_hex(packet);
    ASSERT_EQ(read_packet(packet).hop_limit, 63);
  }
}

TEST(IpPacket, RewritingLeavesAMissingUdpChecksumMissing) {
  Bytes packet = udp_packet(kHost, kPeer);
  set_word(packet, kV4Bytes + 6, 0);

  rewrite_packet(packet, read_packet(packet), kExternal, kPeer);

  EXPECT_EQ(word_at(packet, kV4Bytes + 6), 0);
}

TEST(IpPacket, RewritingKeepsAWrongChecksumWrong) {
  Bytes packet = tcp_packet(kHost, kPeer, "damaged");
  packet.back() ^= std::byte{0x20};

  rewrite_packet(packet, read_packet(packet), kExternal, kPeer);

  EXPECT_NE(payload_sum(packet), 0xffff);
}

TEST(IcmpError, QuotesThePacketToItsSender) {
  for (const auto& [from, to] : {std::pair(kHost, kPeer), std::pair(kHost6, kPeer6)}) {
    const Bytes packet = udp_packet(from, to, std::string(1400, 'x'));
    Bytes out(kIpPacketBytesMax);

    out.resize(make_icmp_error(packet, IcmpErrorKind::kTooBig, to.ip, 1280, out));

    const PacketFields fields = read_packet(out);
    ASSERT_EQ(fields.fault, PacketFault::kNone);
    EXPECT_EQ(fields.payload, Payload::kIcmpError);
    EXPECT_EQ(fields.to.ip, from.ip);
    EXPECT_TRUE(has_right_checksums(out));
    EXPECT_EQ(out.size(), from.ip.is_v4() ? 576u : 1280u);
    EXPECT_EQ(word_at(out, fields.header_bytes + 6), 1280);
    const PacketFields quoted =
        read_quoted_packet(ByteView(out).subspan(fields.header_bytes + kIcmpHeaderBytes));
    EXPECT_EQ(quoted.fault, PacketFault::kNone);
    EXPECT_EQ(quoted.from, from);
    EXPECT_EQ(quoted.to, to);
  }
}

TEST(IcmpError, IsNotSentAboutErrorsOrToGroups) {
  Bytes out(kIpPacketBytesMax);
  const auto size_about = [&](const Bytes& packet) {
    return make_icmp_error(packet, IcmpErrorKind::kProhibited, kExternal.ip, 0, out);
  };

  EXPECT_GT(size_about(udp_packet(kHost, kPeer)), 0u);
  EXPECT_EQ(size_about(error_packet(kPeer.ip, udp_packet(kHost, kPeer))), 0u);
  EXPECT_EQ(size_about(udp_packet({IpAddress::v4(224, 0, 0, 1), 1}, kPeer)), 0u);
  EXPECT_EQ(size_about(udp_packet(kHost, {IpAddress::v4(224, 0, 0, 1), 1})), 0u);
  EXPECT_EQ(size_about(udp_packet({IpAddress::any_v4(), 68}, kPeer)), 0u);
  EXPECT_EQ(size_about(udp_packet(kHost6, kPeer6)), 0u) << "an IPv4 reporter";
  EXPECT_EQ(make_icmp_error(udp_packet(kHost, kPeer), IcmpErrorKind::kProhibited, kExternal.ip, 0,
                            MutableByteView(out).first(40)),
            0u);
}

}  // namespace
}  // namespace openp2p::lab
