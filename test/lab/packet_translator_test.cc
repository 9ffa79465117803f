#include "test/lab/packet_translator.h"

#include <gtest/gtest.h>

#include "sim/nat_kind.h"
#include "test/lab/test_packets.h"

namespace openp2p::lab {
namespace {

using namespace std::chrono_literals;

const IpAddress kExternalIp = IpAddress::v4(198, 51, 100, 1);
const Address kHost{IpAddress::v4(192, 168, 1, 10), 5000};
const Address kOtherHost{IpAddress::v4(192, 168, 1, 11), 5000};
const Address kPeer{IpAddress::v4(203, 0, 113, 1), 3478};
const Address kPeerOtherPort{IpAddress::v4(203, 0, 113, 1), 3479};
const Address kStranger{IpAddress::v4(203, 0, 113, 2), 3478};
const IpAddress kRouterOnTheWay = IpAddress::v4(198, 18, 0, 1);
const Address kHost6{*IpAddress::parse("2001:db8:1::10"), 5000};
const Address kPeer6{*IpAddress::parse("2001:db8:ffff::1"), 3478};

TranslatorOptions options_of(sim::NatKind kind) {
  TranslatorOptions options;
  options.router.v4 = sim::nat_options(kind);
  options.router.v6 = sim::ipv6_firewall_options();
  if (kind == sim::NatKind::kUdpBlocked) options.router.udp = sim::UdpPolicy::kDrop;
  options.external_addresses = {kExternalIp};
  return options;
}

class Box {
 public:
  explicit Box(sim::NatKind kind) : Box(options_of(kind)) {}
  explicit Box(const TranslatorOptions& options) : translator(options, Random(1)) {}

  /// What comes out at the other side; nothing if dropped. Checks what holds for every packet.
  PacketFields pass(Bytes packet, Side from) {
    const Bytes before = packet;
    result = translator.translate(packet, from, now);
    if (result.dropped) {
      EXPECT_EQ(packet, before) << "a dropped packet is as it was";
      return read_packet({});
    }
    EXPECT_TRUE(has_right_checksums(packet));
    const PacketFields fields = read_packet(packet);
    EXPECT_EQ(fields.hop_limit, read_packet(before).hop_limit - 1);
    last = packet;
    return fields;
  }
  PacketFields out(const Bytes& packet) { return pass(packet, Side::kInside); }
  PacketFields in(const Bytes& packet) { return pass(packet, Side::kOutside); }
  bool enters(const Bytes& packet) { return in(packet).fault == PacketFault::kNone; }

  PacketTranslator translator;
  TimePoint now{1h};
  Translation result;
  Bytes last;
};

template <class Make>
void expect_round_trip(Box& box, Make make) {
  const PacketFields left = box.out(make(kHost, kPeer));
  EXPECT_EQ(left.from.ip, kExternalIp);
  EXPECT_EQ(left.to, kPeer);
  EXPECT_EQ(box.result.to, Side::kOutside);

  const PacketFields entered = box.in(make(kPeer, left.from));
  EXPECT_EQ(entered.from, kPeer);
  EXPECT_EQ(entered.to, kHost);
  EXPECT_EQ(box.result.to, Side::kInside);
}

Bytes udp(const Address& from, const Address& to) { return udp_packet(from, to); }
Bytes tcp(const Address& from, const Address& to) { return tcp_packet(from, to, "data"); }

TEST(PacketTranslator, TranslatesBothWaysWithEveryKind) {
  for (const sim::NatKind kind : sim::kNatKinds) {
    SCOPED_TRACE(sim::nat_kind_text(kind));
    if (kind == sim::NatKind::kNone) continue;
    Box box(kind);
    if (kind != sim::NatKind::kUdpBlocked) expect_round_trip(box, udp);
    expect_round_trip(box, tcp);
  }
}

TEST(PacketTranslator, LeavesPacketsWithoutNatAsTheyAre) {
  Box box(TranslatorOptions{});

  const PacketFields left = box.out(udp(kHost, kPeer));
  const PacketFields entered = box.in(udp(kStranger, kHost));

  EXPECT_EQ(left.from, kHost);
  EXPECT_EQ(entered.to, kHost);
  EXPECT_EQ(box.translator.forwarded(Side::kInside), 1u);
  EXPECT_EQ(box.translator.forwarded(Side::kOutside), 1u);
}

struct Expected {
  sim::NatKind kind;
  bool is_one_mapping, lets_other_port_in, lets_stranger_in;
};

TEST(PacketTranslator, MapsAndFiltersAsTheKindIsNamed) {
  for (const Expected& expected :
       {Expected{sim::NatKind::kFullCone, true, true, true},
        Expected{sim::NatKind::kAddressRestricted, true, true, false},
        Expected{sim::NatKind::kPortRestricted, true, false, false},
        Expected{sim::NatKind::kSymmetricRandom, false, false, false},
        Expected{sim::NatKind::kSymmetricSequential, false, false, false},
        Expected{sim::NatKind::kSymmetricBlocks, false, false, false}}) {
    SCOPED_TRACE(sim::nat_kind_text(expected.kind));
    for (const auto& make : {udp, tcp}) {
      Box box(expected.kind);
      const Address mapped = box.out(make(kHost, kPeer)).from;

      EXPECT_EQ(box.enters(make(kPeerOtherPort, mapped)), expected.lets_other_port_in);
      EXPECT_EQ(box.enters(make(kStranger, mapped)), expected.lets_stranger_in);
      EXPECT_EQ(box.out(make(kHost, kStranger)).from == mapped, expected.is_one_mapping);
    }
  }
}

TEST(PacketTranslator, KeepsProtocolsApart) {
  Box box(sim::NatKind::kFullCone);
  const Address mapped = box.out(udp(kHost, kPeer)).from;

  EXPECT_FALSE(box.enters(tcp(kPeer, mapped)));
  EXPECT_EQ(box.result.dropped, PacketDrop::kUnsolicited);
  EXPECT_TRUE(box.enters(udp(kPeer, mapped)));
}

TEST(PacketTranslator, TranslatesEchoesByIdentifier) {
  Box box(sim::NatKind::kPortRestricted);

  const PacketFields one = box.out(echo_packet(kHost.ip, kPeer.ip, 7, /*is_request=*/true));
  const PacketFields two = box.out(echo_packet(kOtherHost.ip, kPeer.ip, 7, true));
  const PacketFields answer = box.in(echo_packet(kPeer.ip, kExternalIp, two.from.port, false));

  EXPECT_EQ(one.from, (Address{kExternalIp, 7}));
  EXPECT_EQ(two.from.ip, kExternalIp);
  EXPECT_NE(two.from.port, 7);
  EXPECT_EQ(answer.to, (Address{kOtherHost.ip, 7}));
  EXPECT_FALSE(box.enters(echo_packet(kStranger.ip, kExternalIp, two.from.port, false)));
  EXPECT_FALSE(box.enters(echo_packet(kPeer.ip, kExternalIp, 7, true))) << "a question";
  box.out(echo_packet(kHost.ip, kPeer.ip, 9, /*is_request=*/false));
  EXPECT_EQ(box.result.dropped, PacketDrop::kUnsolicited) << "an answer nobody asked for";
}

TEST(PacketTranslator, TranslatesErrorsAboutWhatWentOut) {
  Box box(sim::NatKind::kSymmetricRandom);
  for (const Bytes& packet : {udp(kHost, kPeer), tcp(kHost, kPeer),
                              echo_packet(kHost.ip, kPeer.ip, 7, /*is_request=*/true)}) {
    box.out(packet);
    const Bytes outside = box.last;

    const PacketFields error = box.in(error_packet(kRouterOnTheWay, outside));

    ASSERT_EQ(box.result.dropped, std::nullopt);
    EXPECT_EQ(error.to.ip, kHost.ip);
    EXPECT_EQ(error.from.ip, kRouterOnTheWay);
    const ByteView quote = ByteView(box.last).subspan(kV4Bytes + kIcmpHeaderBytes);
    EXPECT_TRUE(has_right_checksums(quote));
    EXPECT_EQ(read_packet(quote).from, read_packet(packet).from);
    EXPECT_EQ(read_packet(quote).to, read_packet(packet).to);
  }
}

TEST(PacketTranslator, TranslatesErrorsAboutWhatCameIn) {
  Box box(sim::NatKind::kPortRestricted);
  const Address mapped = box.out(udp(kHost, kPeer)).from;
  box.in(udp(kPeer, mapped));
  const Bytes inside = box.last;

  const PacketFields error = box.out(error_packet(kHost.ip, inside));

  ASSERT_EQ(box.result.dropped, std::nullopt);
  EXPECT_EQ(error.from.ip, kExternalIp);
  EXPECT_EQ(error.to.ip, kPeer.ip);
  const ByteView quote = ByteView(box.last).subspan(kV4Bytes + kIcmpHeaderBytes);
  EXPECT_TRUE(has_right_checksums(quote));
  EXPECT_EQ(read_packet(quote).to, mapped);
}

TEST(PacketTranslator, TranslatesErrorsThatQuoteOnlyEightBytes) {
  Box box(sim::NatKind::kSymmetricRandom);
  box.out(tcp(kHost, kPeer));
  const Bytes outside = box.last;
  Bytes payload(kIcmpHeaderBytes);
  payload[0] = std::byte{11};
  payload.insert(payload.end(), outside.begin(), outside.begin() + kV4Bytes + 8);

  const PacketFields error =
      box.in(ip_packet(1, kRouterOnTheWay, kExternalIp, payload, /*checksum_offset=*/2, 64));

  ASSERT_EQ(box.result.dropped, std::nullopt);
  EXPECT_EQ(error.to.ip, kHost.ip);
  const PacketFields quoted =
      read_quoted_packet(ByteView(box.last).subspan(kV4Bytes + kIcmpHeaderBytes));
  EXPECT_EQ(quoted.from, kHost);
}

TEST(PacketTranslator, DropsErrorsAboutNoPacketOfItsOwn) {
  Box box(sim::NatKind::kFullCone);
  const Address mapped = box.out(udp(kHost, kPeer)).from;

  EXPECT_FALSE(box.enters(error_packet(kRouterOnTheWay, udp(mapped, kStranger))));
  EXPECT_EQ(box.result.dropped, PacketDrop::kUnsolicited);
  EXPECT_FALSE(box.enters(error_packet(kRouterOnTheWay, udp({kExternalIp, 9}, kPeer))));
  Bytes nonsense(kIcmpHeaderBytes + 12);
  nonsense[0] = std::byte{3};
  EXPECT_FALSE(box.enters(ip_packet(1, kRouterOnTheWay, kExternalIp, nonsense, 2, 64)));
  EXPECT_EQ(box.result.dropped, PacketDrop::kMalformed);
}

TEST(PacketTranslator, TurnsHairpinsAround) {
  Box box(sim::NatKind::kFullCone);
  const Address mapped = box.out(udp(kHost, kPeer)).from;

  const PacketFields arrived = box.out(udp(kOtherHost, mapped));

  EXPECT_EQ(box.result.to, Side::kInside);
  EXPECT_EQ(arrived.to, kHost);
  EXPECT_EQ(arrived.from.ip, kExternalIp);

  const PacketFields error = box.out(error_packet(kHost.ip, box.last));
  EXPECT_EQ(box.result.to, Side::kInside);
  EXPECT_EQ(error.to.ip, kOtherHost.ip);

  Box without(sim::NatKind::kPortRestricted);
  without.out(udp(kOtherHost, without.out(udp(kHost, kPeer)).from));
  EXPECT_EQ(without.result.dropped, PacketDrop::kNoHairpin);
}

TEST(PacketTranslator, BlocksUdpButNotTcp) {
  Box box(sim::NatKind::kUdpBlocked);

  box.out(udp(kHost, kPeer));
  EXPECT_EQ(box.result.dropped, PacketDrop::kUdpBlocked);
  EXPECT_EQ(box.result.report, std::nullopt);
  EXPECT_FALSE(box.enters(udp(kPeer, {kExternalIp, 5000})));
  expect_round_trip(box, tcp);
  EXPECT_EQ(box.translator.drops(PacketDrop::kUdpBlocked), 2u);

  TranslatorOptions rejecting = options_of(sim::NatKind::kUdpBlocked);
  rejecting.router.udp = sim::UdpPolicy::kReject;
  Box other(rejecting);
  other.out(udp(kHost6, kPeer6));
  EXPECT_EQ(other.result.report, IcmpErrorKind::kProhibited);
}

TEST(PacketTranslator, HoldsUdpBackEachWayByItselfAndNothingElse) {
  TranslatorOptions options = options_of(sim::NatKind::kFullCone);
  const Bytes question = udp(kHost, kPeer), answer = udp(kPeer, {kExternalIp, 5000});
  options.router.udp_policer = {.bits_per_second = 8 * question.size(),
                                .burst_bytes = 2 * question.size()};
  Box box(options);

  for (int i = 0; i < 3; ++i) {  // Two at once, and then one each second.
    EXPECT_EQ(box.out(question).fault == PacketFault::kNone, i < 2);
    EXPECT_EQ(box.enters(answer), i < 2);
  }
  EXPECT_EQ(box.result.dropped, PacketDrop::kPoliced);
  EXPECT_EQ(box.result.report, std::nullopt);
  expect_round_trip(box, tcp);
  box.now += 1s;
  EXPECT_TRUE(box.enters(answer));
  EXPECT_FALSE(box.enters(answer));

  EXPECT_EQ(box.translator.drops(PacketDrop::kPoliced), 3u);
}

TEST(PacketTranslator, RejectsTheUnsolicitedWhereToldTo) {
  TranslatorOptions options = options_of(sim::NatKind::kPortRestricted);
  options.router.v4->unsolicited = sim::Unsolicited::kReject;
  Box box(options);

  EXPECT_FALSE(box.enters(udp(kStranger, {kExternalIp, 5000})));
  EXPECT_EQ(box.result.report, IcmpErrorKind::kProhibited);
}

TEST(PacketTranslator, DropsAtTheLastHopAndSaysSo) {
  Box box(sim::NatKind::kPortRestricted);

  box.out(udp_packet(kHost, kPeer, "", /*hop_limit=*/1));
  EXPECT_EQ(box.result.dropped, PacketDrop::kHops);
  EXPECT_EQ(box.result.report, IcmpErrorKind::kTimeExceeded);
  EXPECT_EQ(box.translator.udp_sizes(box.now).flows_peak, 0u) << "it opens nothing";
  EXPECT_EQ(box.out(udp_packet(kHost, kPeer, "", /*hop_limit=*/2)).hop_limit, 1);

  TranslatorOptions part_of_a_router = options_of(sim::NatKind::kPortRestricted);
  part_of_a_router.counts_as_hop = false;
  PacketTranslator translator(part_of_a_router, Random(1));
  Bytes packet = udp_packet(kHost, kPeer, "", /*hop_limit=*/1);
  EXPECT_EQ(translator.translate(packet, Side::kInside, box.now).dropped, std::nullopt);
  EXPECT_EQ(read_packet(packet).hop_limit, 1);
}

TEST(PacketTranslator, FiltersIpv6WithoutTranslating) {
  Box box(sim::NatKind::kIpv6Firewall);
  for (const auto& make : {udp, tcp}) {
    EXPECT_FALSE(box.enters(make(kPeer6, kHost6)));
    EXPECT_EQ(box.out(make(kHost6, kPeer6)).from, kHost6);
    EXPECT_EQ(box.in(make(kPeer6, kHost6)).to, kHost6);
  }
  EXPECT_EQ(box.in(error_packet(kPeer6.ip, udp(kHost6, kPeer6))).to.ip, kHost6.ip);
  const IpAddress victim = *IpAddress::parse("2001:db8:1::99");
  Bytes redirected = error_packet(kPeer6.ip, udp(kHost6, kPeer6));
  put_address(redirected, 24, victim);
  EXPECT_FALSE(box.enters(redirected)) << "quotes another host's packet";
}

TEST(PacketTranslator, TracksTcpConnections) {
  Box box(sim::NatKind::kFullCone);
  box.out(tcp_packet(kHost, kPeer, "", kAck));
  EXPECT_EQ(box.result.dropped, PacketDrop::kUnsolicited) << "of no connection";

  const Address mapped = box.out(tcp_packet(kHost, kPeer, "", kSyn)).from;
  EXPECT_TRUE(box.enters(tcp_packet(kPeer, mapped, "", kSyn))) << "simultaneous open";
  EXPECT_TRUE(box.enters(tcp_packet(kPeer, mapped, "", kRst)));
  box.now += 4min + 1s;

  EXPECT_EQ(box.translator.tcp_sizes(box.now).flows, 0u);
  EXPECT_FALSE(box.enters(tcp_packet(kPeer, mapped, "", kAck)));
}

TEST(PacketTranslator, KeepsToTheLinkWhatIsForTheLink) {
  Box box(sim::NatKind::kFullCone);

  box.out(udp({*IpAddress::parse("fe80::1"), 1}, kPeer6));
  EXPECT_EQ(box.result.dropped, PacketDrop::kNoRoute);
  box.out(udp(kHost, {IpAddress::v4(224, 0, 0, 251), 5353}));
  EXPECT_EQ(box.result.dropped, PacketDrop::kNoRoute);
  box.in(udp(kPeer, {IpAddress::v4(10, 0, 0, 1), 80}));
  EXPECT_EQ(box.result.dropped, PacketDrop::kNoRoute) << "not the NAT's address";
}

TEST(PacketTranslator, CountsAndForgets) {
  Box box(sim::NatKind::kPortRestricted);
  box.out(udp(kHost, kPeer));
  box.out(udp(kHost, kStranger));
  box.out(tcp(kHost, kPeer));
  box.out(echo_packet(kHost.ip, kPeer.ip, 7, /*is_request=*/true));

  EXPECT_EQ(box.translator.udp_sizes(box.now).flows, 2u);
  EXPECT_EQ(box.translator.udp_sizes(box.now).mappings, 1u);
  EXPECT_EQ(box.translator.tcp_sizes(box.now).flows, 1u);
  EXPECT_EQ(box.translator.echo_sizes(box.now).flows, 1u);

  box.in(tcp_packet(kPeer, {kExternalIp, kHost.port}, "", kSyn | kAck));
  box.out(tcp_packet(kHost, kPeer, "", kAck));  // Now it is established.
  box.now += 5min;                              // Longer than UDP's, shorter than TCP's.
  EXPECT_EQ(box.translator.udp_sizes(box.now).flows, 0u);
  EXPECT_EQ(box.translator.udp_sizes(box.now).flows_peak, 2u);
  EXPECT_EQ(box.translator.tcp_sizes(box.now).flows, 1u);

  box.translator.reset();
  EXPECT_EQ(box.translator.tcp_sizes(box.now).flows, 0u);
  EXPECT_FALSE(box.enters(tcp_packet(kPeer, {kExternalIp, kHost.port}, "", kAck)));
}

}  // namespace
}  // namespace openp2p::lab
