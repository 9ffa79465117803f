#include "sim/nat_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

constexpr TimePoint kStart{};
const IpAddress kOutside = IpAddress::v4(203, 0, 113, 1);
const IpAddress kOutside2 = IpAddress::v4(203, 0, 113, 2);
const Address kHost{IpAddress::v4(192, 168, 1, 2), 4000};
const Address kHostPort2{IpAddress::v4(192, 168, 1, 2), 4001};
const Address kNeighbour{IpAddress::v4(192, 168, 1, 3), 4000};
const Address kPeer{IpAddress::v4(198, 51, 100, 1), 7000};
const Address kPeerPort2{IpAddress::v4(198, 51, 100, 1), 7001};
const Address kOther{IpAddress::v4(198, 51, 100, 2), 7000};

/// A NAT of one address, and the few things that tests do with it.
class TestNat {
 public:
  explicit TestNat(const NatOptions& options, std::vector<IpAddress> addresses = {kOutside},
                   std::uint64_t seed = 1)
      : table(options, std::move(addresses), Random(seed)) {}

  /// The external endpoint that `to` sees, nullopt where the packet does not get out.
  std::optional<Address> send(const Address& from, const Address& to, TimePoint now = kStart) {
    const NatVerdict verdict = table.outbound(from, to, now);
    if (verdict.action != NatAction::kForward) return std::nullopt;
    EXPECT_EQ(verdict.to, to);
    return verdict.from;
  }
  /// The internal endpoint that gets it, nullopt where the packet does not get in.
  std::optional<Address> receive(const Address& from, const Address& to, TimePoint now = kStart) {
    const NatVerdict verdict = table.inbound(from, to, now);
    if (verdict.action != NatAction::kForward) return std::nullopt;
    EXPECT_EQ(verdict.from, from);
    return verdict.to;
  }

  NatTable table;
};

// RFC 4787 REQ-1: mapping.

TEST(NatTable, EndpointIndependentMappingIsOneForAllDestinations) {
  TestNat nat({.mapping = NatMapping::kEndpointIndependent, .allocation = PortAllocation::kRandom});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(external->ip, kOutside);
  EXPECT_EQ(nat.send(kHost, kPeerPort2), external);
  EXPECT_EQ(nat.send(kHost, kOther), external);
  EXPECT_NE(nat.send(kHostPort2, kPeer), external);
  EXPECT_NE(nat.send(kNeighbour, kPeer), external);
  EXPECT_EQ(nat.table.mappings(kStart), 3u);
}

TEST(NatTable, AddressDependentMappingIsOneForEachDestinationAddress) {
  TestNat nat({.mapping = NatMapping::kAddressDependent, .allocation = PortAllocation::kRandom});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.send(kHost, kPeerPort2), external);
  EXPECT_NE(nat.send(kHost, kOther), external);
  EXPECT_EQ(nat.table.mappings(kStart), 2u);
}

TEST(NatTable, AddressAndPortDependentMappingIsOneForEachDestination) {
  TestNat nat(
      {.mapping = NatMapping::kAddressAndPortDependent, .allocation = PortAllocation::kRandom});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.send(kHost, kPeer), external);
  EXPECT_NE(nat.send(kHost, kPeerPort2), external);
  EXPECT_NE(nat.send(kHost, kOther), external);
  EXPECT_EQ(nat.table.mappings(kStart), 3u);
}

// RFC 4787 REQ-2: address pooling.

TEST(NatTable, PairedPoolingKeepsOneAddressForAHost) {
  TestNat nat({.pooling = AddressPooling::kPaired}, {kOutside, kOutside2});
  for (std::uint16_t port = 1024; port < 1088; ++port) {
    EXPECT_EQ(nat.send({kHost.ip, port}, kPeer)->ip, kOutside);
    EXPECT_EQ(nat.send({kNeighbour.ip, port}, kPeer)->ip, kOutside2);
  }
}

TEST(NatTable, ArbitraryPoolingSpreadsAHostOverAddresses) {
  TestNat nat({.pooling = AddressPooling::kArbitrary}, {kOutside, kOutside2});
  std::set<IpAddress> seen;
  for (std::uint16_t port = 1024; port < 1088; ++port) {
    seen.insert(nat.send({kHost.ip, port}, kPeer)->ip);
  }
  EXPECT_THAT(seen, ElementsAre(kOutside, kOutside2));
}

// RFC 4787 REQ-3: port assignment.

TEST(NatTable, PreservesPortsAndFallsBackToAnotherWhereTaken) {
  TestNat nat({.allocation = PortAllocation::kPreserving});
  EXPECT_EQ(nat.send(kHost, kPeer), (Address{kOutside, kHost.port}));
  const auto second = nat.send(kNeighbour, kPeer);
  ASSERT_TRUE(second.has_value());
  EXPECT_NE(second->port, kNeighbour.port);
  EXPECT_EQ(nat.receive(kPeer, {kOutside, kHost.port}), kHost);
  EXPECT_EQ(nat.receive(kPeer, *second), kNeighbour);
}

TEST(NatTable, OverloadedPortsAreToldApartByTheRemote) {
  TestNat nat(
      {.mapping = NatMapping::kAddressAndPortDependent, .collision = PortCollision::kOverload});
  const Address shared{kOutside, kHost.port};
  EXPECT_EQ(nat.send(kHost, kPeer), shared);
  EXPECT_EQ(nat.send(kNeighbour, kOther), shared);
  EXPECT_EQ(nat.receive(kPeer, shared), kHost);
  EXPECT_EQ(nat.receive(kOther, shared), kNeighbour);
  EXPECT_NE(nat.send(kNeighbour, kPeer), shared);  // The same remote: it could not be told apart.
}

TEST(NatTable, OverloadedEndpointIndependentPortGoesToTheNewest) {
  TestNat nat(
      {.filtering = NatFiltering::kEndpointIndependent, .collision = PortCollision::kOverload});
  const Address shared{kOutside, kHost.port};
  EXPECT_EQ(nat.send(kHost, kPeer), shared);
  EXPECT_EQ(nat.send(kNeighbour, kPeer), shared);
  EXPECT_EQ(nat.receive(kOther, shared), kNeighbour);
}

TEST(NatTable, SequentialPortsFollowEachOtherAndWrap) {
  TestNat nat({.mapping = NatMapping::kAddressAndPortDependent,
               .allocation = PortAllocation::kSequential,
               .port_min = 5000,
               .port_max = 5003});
  std::vector<unsigned> ports;
  for (std::uint16_t port = 1; port <= 4; ++port) {
    ports.push_back(nat.send(kHost, {kPeer.ip, port})->port);
  }
  for (std::size_t i = 1; i < ports.size(); ++i) {
    EXPECT_EQ(ports[i], ports[i - 1] == 5003 ? 5000 : ports[i - 1] + 1);
  }
  EXPECT_EQ(nat.send(kHost, {kPeer.ip, 5}), std::nullopt);  // All are taken.
}

TEST(NatTable, RandomPortsCoverTheRange) {
  TestNat nat(
      {.mapping = NatMapping::kAddressAndPortDependent, .allocation = PortAllocation::kRandom});
  std::vector<unsigned> ports;
  for (std::uint16_t port = 1; port <= 1000; ++port) {
    ports.push_back(nat.send(kHost, {kPeer.ip, port})->port);
  }
  const auto in_first_half = std::ranges::count_if(ports, [](unsigned p) { return p < 33280; });
  EXPECT_NEAR(static_cast<double>(in_first_half), 500, 70);
  EXPECT_EQ(std::set<unsigned>(ports.begin(), ports.end()).size(), 1000u);
  EXPECT_GE(*std::ranges::min_element(ports), 1024u);
}

TEST(NatTable, PortBlocksBelongToOneHost) {
  TestNat nat({.mapping = NatMapping::kAddressAndPortDependent,
               .allocation = PortAllocation::kBlocks,
               .block_ports = 64,
               .blocks_per_host_max = 2});
  const auto block = [](const Address& external) { return (external.port - 1024) / 64; };
  std::set<int> host_blocks, neighbour_blocks;
  for (std::uint16_t port = 1; port <= 64; ++port) {
    host_blocks.insert(block(*nat.send(kHost, {kPeer.ip, port})));
    neighbour_blocks.insert(block(*nat.send(kNeighbour, {kPeer.ip, port})));
  }
  EXPECT_EQ(host_blocks.size(), 1u);
  EXPECT_EQ(neighbour_blocks.size(), 1u);
  EXPECT_NE(host_blocks, neighbour_blocks);

  for (std::uint16_t port = 65; port <= 128; ++port) {
    host_blocks.insert(block(*nat.send(kHost, {kPeer.ip, port})));
  }
  EXPECT_EQ(host_blocks.size(), 2u);
  EXPECT_EQ(nat.send(kHost, {kPeer.ip, 129}), std::nullopt);  // RFC 6888 REQ-4: a limit a host.
  EXPECT_TRUE(nat.send(kNeighbour, {kPeer.ip, 129}).has_value());
}

TEST(NatTable, PortBlocksAreGivenBackWithTheirLastMapping) {
  TestNat nat({.mapping = NatMapping::kAddressAndPortDependent,
               .allocation = PortAllocation::kBlocks,
               .port_min = 1024,
               .port_max = 1024 + 127,
               .block_ports = 128});
  EXPECT_TRUE(nat.send(kHost, kPeer).has_value());
  EXPECT_FALSE(nat.send(kNeighbour, kPeer).has_value());
  EXPECT_TRUE(nat.send(kNeighbour, kPeer, kStart + 121s).has_value());
}

// RFC 4787 REQ-5 and REQ-6: timeout and refresh.

TEST(NatTable, MappingsEndAfterTheTimeoutWithoutOutboundPackets) {
  TestNat nat({.timeout = 120s});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 119s), kHost);  // Does not refresh.
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 120s), std::nullopt);
  EXPECT_EQ(nat.table.mappings(kStart + 120s), 0u);
  EXPECT_EQ(nat.table.flows(kStart + 120s), 0u);
}

TEST(NatTable, OutboundPacketsRefresh) {
  TestNat nat({.timeout = 120s});
  const auto external = nat.send(kHost, kPeer);
  nat.send(kHost, kPeer, kStart + 100s);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 219s), kHost);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 220s), std::nullopt);
}

TEST(NatTable, InboundPacketsRefreshWhereTheOptionSaysSo) {
  TestNat nat({.timeout = 120s, .is_refreshed_by_inbound = true});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 100s), kHost);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 219s), kHost);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 339s), std::nullopt);
}

TEST(NatTable, TrafficWithOneRemoteKeepsTheMappingButNotTheFilterOfAnother) {
  TestNat nat({.timeout = 120s});
  const auto external = nat.send(kHost, kPeer);
  nat.send(kHost, kOther);
  nat.send(kHost, kOther, kStart + 100s);
  EXPECT_EQ(nat.receive(kOther, *external, kStart + 150s), kHost);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 150s), std::nullopt);
  EXPECT_EQ(nat.send(kHost, kPeer, kStart + 150s), external);
}

// RFC 4787 REQ-8: filtering.

TEST(NatTable, EndpointIndependentFilteringLetsAnybodyIn) {
  TestNat nat({.filtering = NatFiltering::kEndpointIndependent});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.receive(kPeer, *external), kHost);
  EXPECT_EQ(nat.receive(kPeerPort2, *external), kHost);
  EXPECT_EQ(nat.receive(kOther, *external), kHost);
  EXPECT_EQ(nat.receive(kOther, {kOutside, 9}), std::nullopt);  // No mapping there.
}

TEST(NatTable, AddressDependentFilteringLetsKnownAddressesIn) {
  TestNat nat({.filtering = NatFiltering::kAddressDependent});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.receive(kPeer, *external), kHost);
  EXPECT_EQ(nat.receive(kPeerPort2, *external), kHost);
  EXPECT_EQ(nat.receive(kOther, *external), std::nullopt);
}

TEST(NatTable, AddressAndPortDependentFilteringLetsKnownEndpointsIn) {
  TestNat nat({.filtering = NatFiltering::kAddressAndPortDependent});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.receive(kPeer, *external), kHost);
  EXPECT_EQ(nat.receive(kPeerPort2, *external), std::nullopt);
  EXPECT_EQ(nat.receive(kOther, *external), std::nullopt);
}

TEST(NatTable, NoFilteringSendsTheRestToTheExposedHost) {
  TestNat nat({.filtering = NatFiltering::kNone, .exposed_host = kHost.ip});
  EXPECT_EQ(nat.receive(kPeer, {kOutside, 80}), (Address{kHost.ip, 80}));
  EXPECT_EQ(nat.send({kHost.ip, 80}, kPeer), (Address{kOutside, 80}));  // The answer fits.
}

// RFC 4787 REQ-9: hairpinning.

TEST(NatTable, HairpinsWithTheExternalSource) {
  TestNat nat({.filtering = NatFiltering::kEndpointIndependent,
               .hairpinning = Hairpinning::kExternalSource});
  const auto host = nat.send(kHost, kPeer);
  const auto neighbour = nat.send(kNeighbour, kPeer);

  const NatVerdict verdict = nat.table.outbound(kHost, *neighbour, kStart);

  EXPECT_EQ(verdict.action, NatAction::kHairpin);
  EXPECT_EQ(verdict.from, host);
  EXPECT_EQ(verdict.to, kNeighbour);
}

TEST(NatTable, HairpinsWithTheInternalSource) {
  TestNat nat({.filtering = NatFiltering::kEndpointIndependent,
               .hairpinning = Hairpinning::kInternalSource});
  const auto neighbour = nat.send(kNeighbour, kPeer);

  const NatVerdict verdict = nat.table.outbound(kHost, *neighbour, kStart);

  EXPECT_EQ(verdict.action, NatAction::kHairpin);
  EXPECT_EQ(verdict.from, kHost);
}

TEST(NatTable, DropsHairpinsWhereItHasNone) {
  TestNat nat({.filtering = NatFiltering::kEndpointIndependent, .hairpinning = Hairpinning::kNone});
  const auto neighbour = nat.send(kNeighbour, kPeer);

  const NatVerdict verdict = nat.table.outbound(kHost, *neighbour, kStart);

  EXPECT_EQ(verdict.action, NatAction::kDrop);
  EXPECT_EQ(verdict.refusal, NatRefusal::kNoHairpin);
}

TEST(NatTable, FiltersHairpinsByTheirExternalSource) {
  TestNat nat({.filtering = NatFiltering::kAddressAndPortDependent});
  const auto host = nat.send(kHost, kPeer);
  const auto neighbour = nat.send(kNeighbour, kPeer);

  EXPECT_EQ(nat.table.outbound(kHost, *neighbour, kStart).action, NatAction::kDrop);
  EXPECT_EQ(nat.table.outbound(kNeighbour, *host, kStart).action, NatAction::kHairpin);
  EXPECT_EQ(nat.table.outbound(kHost, *neighbour, kStart).action, NatAction::kHairpin);
}

// What becomes of unsolicited packets.

TEST(NatTable, RejectsUnsolicitedPacketsWhereTheOptionSaysSo) {
  TestNat quiet({.unsolicited = Unsolicited::kDrop});
  TestNat loud({.unsolicited = Unsolicited::kReject});
  EXPECT_EQ(quiet.table.inbound(kPeer, {kOutside, 80}, kStart).action, NatAction::kDrop);
  EXPECT_EQ(loud.table.inbound(kPeer, {kOutside, 80}, kStart).action, NatAction::kReject);
}

TEST(NatTable, RemapsAwayFromAnUnsolicitedRemote) {
  TestNat nat({.unsolicited = Unsolicited::kRemap});
  const auto external = nat.send(kHost, kOther);
  EXPECT_EQ(nat.receive(kPeer, *external), std::nullopt);  // The peer's first punch came too early.

  const auto towards_peer = nat.send(kHost, kPeer, kStart + 1s);

  ASSERT_TRUE(towards_peer.has_value());
  EXPECT_NE(towards_peer, external);
  EXPECT_EQ(nat.send(kHost, kPeer, kStart + 2s), towards_peer);
  EXPECT_EQ(nat.send(kHost, kOther, kStart + 2s), external);
  EXPECT_EQ(nat.receive(kPeer, *external, kStart + 2s), std::nullopt);
  EXPECT_EQ(nat.receive(kPeer, *towards_peer, kStart + 2s), kHost);
}

TEST(NatTable, RemapsBeforeTheFirstMappingToo) {
  TestNat nat(
      {.mapping = NatMapping::kAddressAndPortDependent, .unsolicited = Unsolicited::kRemap});
  EXPECT_EQ(nat.receive(kPeer, {kOutside, kHost.port}), std::nullopt);
  EXPECT_NE(nat.send(kHost, kPeer, kStart + 29s), (Address{kOutside, kHost.port}));
  EXPECT_EQ(nat.send(kHost, kOther, kStart + 29s), (Address{kOutside, kHost.port}));
}

TEST(NatTable, ForgetsAnUnsolicitedRemoteThatFallsSilent) {
  TestNat nat({.unsolicited = Unsolicited::kRemap, .remap_timeout = 30s});
  nat.receive(kPeer, {kOutside, kHost.port});
  EXPECT_EQ(nat.send(kHost, kPeer, kStart + 30s), (Address{kOutside, kHost.port}));
}

// RFC 4787 REQ-10 and ICMP errors.

TEST(NatTable, FindsBothEndsForErrorsAndEndsNothing) {
  TestNat nat({.allocation = PortAllocation::kRandom});
  const auto external = nat.send(kHost, kPeer);
  EXPECT_EQ(nat.table.internal_of(*external, kPeer, kStart), kHost);
  EXPECT_EQ(nat.table.internal_of(*external, kOther, kStart), std::nullopt);  // Forged.
  EXPECT_EQ(nat.table.external_of(kHost, kPeer, kStart), external);
  EXPECT_EQ(nat.receive(kPeer, *external), kHost);
}

// Limits, reboot, firewall, determinism.

TEST(NatTable, RefusesFlowsBeyondItsLimitAndKeepsTheOldOnes) {
  TestNat nat({.unsolicited = Unsolicited::kRemap, .flows_max = 100});
  for (std::uint16_t port = 1; port <= 200; ++port) {
    EXPECT_EQ(nat.send(kHost, {kPeer.ip, port}).has_value(), port <= 100) << port;
  }
  for (std::uint16_t port = 1; port <= 200; ++port) nat.receive({kOther.ip, port}, {kOutside, 9});
  EXPECT_FALSE(nat.send(kNeighbour, kPeer).has_value());
  EXPECT_EQ(nat.send(kHost, {kPeer.ip, 1}), (Address{kOutside, kHost.port}));
  EXPECT_EQ(nat.table.flows(kStart), 100u);
  EXPECT_EQ(nat.table.flows_peak(), 100u);
  EXPECT_EQ(nat.table.mappings_peak(), 1u);
  EXPECT_TRUE(nat.send(kNeighbour, kPeer, kStart + 121s).has_value());
}

TEST(NatTable, RebootLosesMappingsAndChangesTheAddress) {
  TestNat nat({.filtering = NatFiltering::kEndpointIndependent});
  const auto before = nat.send(kHost, kPeer);

  nat.table.reset({kOutside2});

  EXPECT_EQ(nat.receive(kPeer, *before), std::nullopt);
  EXPECT_EQ(nat.table.mappings(kStart), 0u);
  EXPECT_EQ(nat.table.flows(kStart), 0u);
  EXPECT_EQ(nat.send(kHost, kPeer), (Address{kOutside2, kHost.port}));
}

TEST(NatTable, FirewallKeepsAddressesAndLetsOnlyAnswersIn) {
  const Address inside{*IpAddress::parse("2001:db8:1::2"), 4000};
  const Address peer{*IpAddress::parse("2001:db8:2::2"), 7000};
  const Address other{*IpAddress::parse("2001:db8:2::3"), 7000};
  TestNat nat({.is_firewall = true}, {});
  EXPECT_EQ(nat.receive(peer, inside), std::nullopt);
  EXPECT_EQ(nat.send(inside, peer), inside);
  EXPECT_EQ(nat.receive(peer, inside), inside);
  EXPECT_EQ(nat.receive(other, inside), std::nullopt);
  EXPECT_EQ(nat.receive(peer, inside, kStart + 120s), std::nullopt);
}

TEST(NatTable, FirewallWithoutFilterIsARouter) {
  TestNat nat({.filtering = NatFiltering::kNone, .is_firewall = true}, {});
  EXPECT_EQ(nat.receive(kPeer, kHost), kHost);
}

TEST(NatTable, SameSeedSamePorts) {
  const auto ports = [](std::uint64_t seed) {
    TestNat nat(
        {.mapping = NatMapping::kAddressAndPortDependent, .allocation = PortAllocation::kRandom},
        {kOutside}, seed);
    std::vector<unsigned> chosen;
    for (std::uint16_t port = 1; port <= 20; ++port) {
      chosen.push_back(nat.send(kHost, {kPeer.ip, port})->port);
    }
    return chosen;
  };
  EXPECT_EQ(ports(1), ports(1));
  EXPECT_NE(ports(1), ports(2));
}

}  // namespace
}  // namespace openp2p::sim
