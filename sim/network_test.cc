#include "sim/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "sim/inbox.h"
#include "sim/internet.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class NetworkTest : public testing::Test {
 protected:
  void run() { world_.run_for(1s); }

  World world_{1};
  Internet internet_{world_};
};

TEST(Prefix, ContainsAndCountsInBothFamilies) {
  const Prefix v4{IpAddress::v4(10, 1, 0, 0), 20};
  EXPECT_TRUE(v4.contains(IpAddress::v4(10, 1, 15, 255)));
  EXPECT_FALSE(v4.contains(IpAddress::v4(10, 1, 16, 0)));
  EXPECT_EQ(v4.at(258), IpAddress::v4(10, 1, 1, 2));
  const Prefix v6{*IpAddress::parse("2a00:0:0:100::"), 56};
  EXPECT_TRUE(v6.contains(*IpAddress::parse("2a00:0:0:1ff::1")));
  EXPECT_FALSE(v6.contains(*IpAddress::parse("2a00:0:0:200::1")));
  EXPECT_FALSE(v6.contains(IpAddress::v4(10, 1, 0, 1)));
  EXPECT_EQ(v6.at(0x1'ffff), *IpAddress::parse("2a00:0:0:100::1:ffff"));
}

TEST_F(NetworkTest, APortIsPickedThatNoSocketOfTheFamilyHas) {
  const auto host = make_public_host(internet_);
  const IpAddress own = *host->address(Family::kV4);
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 2'000; ++i) {
    const bool is_bound = i % 2 == 0;
    UdpSocket& socket = is_bound ? host->open_udp(0, Family::kV4, own) : host->open_udp();
    EXPECT_TRUE(ports.insert(socket.local().port).second)
        << "it would take another one's datagrams";
  }
}

TEST_F(NetworkTest, PublicHostsReachEachOtherInBothFamilies) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_);
  for (const Family family : {Family::kV4, Family::kV6}) {
    UdpSocket& from = alice->open_udp(0, family);
    UdpSocket& to = bob->open_udp(0, family);
    Inbox inbox(to);

    EXPECT_EQ(from.send(to.local(), as_bytes("hello")), SendStatus::kSent);
    run();

    EXPECT_THAT(inbox.texts, ElementsAre("hello"));
    EXPECT_THAT(inbox.senders, ElementsAre(from.local()));
    to.close();
  }
  EXPECT_EQ(world_.counters().sent, 2u);
  EXPECT_EQ(world_.counters().delivered, 2u);
}

TEST_F(NetworkTest, ALowHopLimitEndsInTheCore) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_);
  UdpSocket& from = alice->open_udp();
  UdpSocket& to = bob->open_udp();
  Inbox errors(from), inbox(to);

  from.send(to.local(), as_bytes("dies"), /*hop_limit=*/4);
  from.send(to.local(), as_bytes("arrives"), /*hop_limit=*/5);
  run();

  EXPECT_THAT(inbox.texts, ElementsAre("arrives"));
  EXPECT_EQ(world_.counters().drops(DropReason::kHops), 1u);
  ASSERT_EQ(errors.errors.size(), 1u);
  EXPECT_EQ(errors.errors[0].kind, ErrorKind::kHopsExceeded);
  EXPECT_EQ(errors.errors[0].to, to.local());
}

TEST_F(NetworkTest, DelaysAddUpAlongTheWay) {
  const auto alice = make_public_host(internet_, {.delay = 20ms});
  const auto bob = make_public_host(internet_, {.delay = 7ms});
  UdpSocket& to = bob->open_udp();
  Inbox inbox(to);

  alice->open_udp().send(to.local(), as_bytes("x"));
  run();

  EXPECT_THAT(inbox.times, ElementsAre(27ms));
}

TEST_F(NetworkTest, SameLanIsDirectAndLeavesTheNatAlone) {
  Home home(internet_, NatKind::kPortRestricted);
  UdpSocket& to = home.add_host().open_udp();
  UdpSocket& from = home.host().open_udp();
  Inbox inbox(to);

  from.send(to.local(), as_bytes("x"));
  run();

  EXPECT_THAT(inbox.senders, ElementsAre(from.local()));
  EXPECT_THAT(inbox.times, ElementsAre(400us));
  EXPECT_EQ(home.router()->nat().mappings_peak(), 0u);
}

TEST_F(NetworkTest, AHostReachesItself) {
  const auto alice = make_public_host(internet_);
  UdpSocket& a = alice->open_udp();
  UdpSocket& b = alice->open_udp();
  Inbox inbox(b);

  a.send(b.local(), as_bytes("by address"));
  a.send({IpAddress::loopback_v4(), b.local().port}, as_bytes("by loopback"));
  EXPECT_THAT(inbox.texts, IsEmpty());  // Never inside send().
  run();

  EXPECT_THAT(inbox.texts, ElementsAre("by address", "by loopback"));
}

TEST_F(NetworkTest, PortsWithoutSocketAnswerWithAnError) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_);
  UdpSocket& from = alice->open_udp();
  Inbox inbox(from);
  const Address closed{*bob->address(Family::kV4), 9};

  from.send(closed, as_bytes("x"));
  run();
  bob->set_stealthy(true);
  from.send(closed, as_bytes("x"));
  run();

  ASSERT_EQ(inbox.errors.size(), 1u);
  EXPECT_EQ(inbox.errors[0].kind, ErrorKind::kPortUnreachable);
  EXPECT_EQ(inbox.errors[0].to, closed);
  EXPECT_EQ(world_.counters().drops(DropReason::kClosed), 2u);
}

TEST_F(NetworkTest, TellsTheSenderAboutUnknownDestinations) {
  const auto alice = make_public_host(internet_);
  UdpSocket& from = alice->open_udp();
  Inbox inbox(from);

  from.send({IpAddress::v4(11, 255, 255, 1), 9}, as_bytes("x"));
  EXPECT_EQ(from.send({IpAddress::v4(10, 0, 0, 1), 9}, as_bytes("x")), SendStatus::kUnreachable);
  run();

  ASSERT_EQ(inbox.errors.size(), 1u);
  EXPECT_EQ(inbox.errors[0].kind, ErrorKind::kNoRoute);
}

TEST_F(NetworkTest, RefusesDatagramsAboveTheInterfaceMtuAtOnce) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_);
  for (const Family family : {Family::kV4, Family::kV6}) {
    UdpSocket& from = alice->open_udp(0, family);
    const Address to = bob->open_udp(0, family).local();
    const std::size_t payload_max = 1500 - header_bytes(family);
    EXPECT_EQ(from.send(to, Bytes(payload_max)), SendStatus::kSent);
    EXPECT_EQ(from.send(to, Bytes(payload_max + 1)), SendStatus::kTooBig);
  }
}

TEST_F(NetworkTest, ReportsASmallerMtuOnTheWayThroughTheNat) {
  Home home(internet_, NatKind::kPortRestricted, {.link = {.delay = 1ms, .mtu = 1492}});
  const auto server = make_public_host(internet_, {.mtu = 1400});
  const Address to = server->open_udp(80).local();
  UdpSocket& from = home.host().open_udp();
  Inbox inbox(from);

  from.send(to, Bytes(1492 - 28 + 1));  // Stopped by the home's own router.
  from.send(to, Bytes(1400 - 28 + 1));  // Stopped in front of the server.
  from.send(to, Bytes(1400 - 28));
  run();

  ASSERT_EQ(inbox.errors.size(), 2u);
  EXPECT_EQ(inbox.errors[0].kind, ErrorKind::kTooBig);
  EXPECT_EQ(inbox.errors[0].mtu, 1492u);
  EXPECT_EQ(inbox.errors[0].to, to);
  EXPECT_EQ(inbox.errors[1].mtu, 1400u);
  EXPECT_EQ(inbox.errors[1].to, to);
  EXPECT_EQ(world_.counters().delivered, 1u);
}

TEST_F(NetworkTest, AnMtuBlackHoleSaysNothing) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_, {.mtu = 1400, .is_mtu_silent = true});
  UdpSocket& from = alice->open_udp();
  Inbox inbox(from);

  from.send(bob->open_udp().local(), Bytes(1400));
  run();

  EXPECT_THAT(inbox.errors, IsEmpty());
  EXPECT_EQ(world_.counters().drops(DropReason::kTooBig), 1u);
}

TEST_F(NetworkTest, AHostThatMovesKeepsItsSocketsAndChangesItsAddresses) {
  Home home(internet_, NatKind::kFullCone);
  Home cafe(internet_, NatKind::kPortRestricted);
  const auto server = make_public_host(internet_);
  UdpSocket& service = server->open_udp(80);
  Inbox inbox(service);
  UdpSocket& roaming = home.host().open_udp(4000);
  Inbox answers(roaming);
  int changes = 0;
  home.host().on_addresses_changed([&](TimePoint) { ++changes; });

  roaming.send(service.local(), as_bytes("from home"));
  run();
  home.host().move_to(cafe.lan(), cafe.host_options());
  service.send(inbox.senders[0], as_bytes("too late"));
  roaming.send(service.local(), as_bytes("from the cafe"));
  run();
  service.send(inbox.senders.back(), as_bytes("found you"));
  run();

  EXPECT_THAT(inbox.texts, ElementsAre("from home", "from the cafe"));
  EXPECT_NE(inbox.senders[0].ip, inbox.senders[1].ip);
  EXPECT_THAT(answers.texts, ElementsAre("found you"));
  EXPECT_EQ(changes, 1);
}

TEST_F(NetworkTest, AHostWithTwoNetworksUsesTheOneThatWorks) {
  Home wired(internet_, NatKind::kPortRestricted);
  Home mobile(internet_, NatKind::kPortRestricted);
  Host& host = wired.host();
  host.attach(mobile.lan(), mobile.host_options());
  const auto server = make_public_host(internet_);
  UdpSocket& service = server->open_udp(80);
  Inbox inbox(service);
  UdpSocket& socket = host.open_udp();

  socket.send(service.local(), as_bytes("wired"));
  host.interface(0).set_up(false);
  socket.send(service.local(), as_bytes("mobile"));
  run();
  host.interface(1).set_up(false);
  EXPECT_EQ(socket.send(service.local(), as_bytes("no way")), SendStatus::kUnreachable);
  run();

  ASSERT_THAT(inbox.texts, ElementsAre("mobile"));  // The cable took the first one with it.
  EXPECT_EQ(inbox.senders[0].ip, mobile.router()->nat().external_addresses()[0]);
}

TEST_F(NetworkTest, BlackholesWorkByDirection) {
  const auto alice = make_public_host(internet_);
  const auto bob = make_public_host(internet_);
  UdpSocket& a = alice->open_udp();
  UdpSocket& b = bob->open_udp();
  Inbox at_alice(a), at_bob(b);

  bob->interface().down().set_blackhole(true);
  a.send(b.local(), as_bytes("lost"));
  b.send(a.local(), as_bytes("arrives"));
  run();

  EXPECT_THAT(at_bob.texts, IsEmpty());
  EXPECT_THAT(at_alice.texts, ElementsAre("arrives"));
}

TEST_F(NetworkTest, RoutingLoopsEnd) {
  Network left(world_, Prefix{IpAddress::v4(10, 1, 0, 0), 16});
  Network right(world_, Prefix{IpAddress::v4(10, 2, 0, 0), 16});
  Router one(world_, left, right, {});  // Left's gateway leads right,
  Router two(world_, right, left, {});  // and right's leads left.
  Host host(world_, left);

  host.open_udp().send({IpAddress::v4(8, 8, 8, 8), 53}, as_bytes("x"));
  run();

  EXPECT_EQ(world_.counters().drops(DropReason::kHops), 1u);
}

TEST_F(NetworkTest, AHostThatIsGoneReceivesNothing) {
  const auto alice = make_public_host(internet_);
  auto bob = make_public_host(internet_);
  const Address to = bob->open_udp().local();

  alice->open_udp().send(to, as_bytes("to nobody"));
  world_.run_for(3ms);
  alice->open_udp().send(to, as_bytes("to nobody either"));
  world_.run_for(4ms);  // The first is on its last link.
  bob.reset();
  run();

  EXPECT_EQ(world_.counters().delivered, 0u);
  EXPECT_EQ(world_.counters().drops(DropReason::kClosed), 1u);
  EXPECT_EQ(world_.counters().drops(DropReason::kNoRoute), 1u);
}

TEST_F(NetworkTest, UnknownHostsOfTheLanAreNotLookedForOutside) {
  Home home(internet_, NatKind::kPortRestricted);
  home.host().open_udp().send({IpAddress::v4(192, 168, 1, 77), 9}, as_bytes("x"));
  run();
  EXPECT_EQ(home.router()->nat().mappings_peak(), 0u);
}

TEST_F(NetworkTest, PrefersTheNetworkThatTheDestinationIsIn) {
  Home home(internet_, NatKind::kPortRestricted);
  Network storage(world_, Prefix{IpAddress::v4(10, 9, 0, 0), 16});
  Host disk(world_, storage);
  home.host().attach(storage);
  UdpSocket& service = disk.open_udp();
  Inbox inbox(service);

  home.host().open_udp().send(service.local(), as_bytes("x"));
  run();

  ASSERT_THAT(inbox.texts, ElementsAre("x"));
  EXPECT_EQ(inbox.senders[0].ip, home.host().interface(1).address(Family::kV4));
}

std::uint64_t hash_of_busy_internet(std::uint64_t seed) {
  World world(seed);
  Internet internet(world);
  Home home(internet, NatKind::kSymmetricRandom,
            {.link = {.delay = 9ms, .jitter = 3ms, .loss = 0.1}});
  const auto server = make_public_host(internet);
  UdpSocket& service = server->open_udp(80);
  service.on_receive(
      [&](const Address& from, ByteView bytes, TimePoint) { service.send(from, bytes); });
  UdpSocket& socket = home.host().open_udp();
  for (int i = 0; i < 100; ++i) {
    socket.send(service.local(), Bytes(100));
    world.run_for(5ms);
  }
  return world.trace_hash();
}

TEST_F(NetworkTest, SameSeedSameTrace) {
  EXPECT_EQ(hash_of_busy_internet(3), hash_of_busy_internet(3));
  EXPECT_NE(hash_of_busy_internet(3), hash_of_busy_internet(4));
}

}  // namespace
}  // namespace openp2p::sim
