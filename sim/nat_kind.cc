#include "sim/nat_kind.h"

namespace openp2p::sim {
namespace {

NatOptions symmetric(PortAllocation allocation) {
  return {.mapping = NatMapping::kAddressAndPortDependent,
          .filtering = NatFiltering::kAddressAndPortDependent,
          .allocation = allocation,
          .hairpinning = Hairpinning::kNone};
}

NatOptions netfilter() {
  NatOptions options = symmetric(PortAllocation::kPreserving);
  options.collision = PortCollision::kOverload;
  options.unsolicited = Unsolicited::kRemap;
  options.is_refreshed_by_inbound = true;
  return options;
}

}  // namespace

std::string_view nat_kind_text(NatKind kind) {
  switch (kind) {
    case NatKind::kNone:
      return "none";
    case NatKind::kFullCone:
      return "full cone";
    case NatKind::kAddressRestricted:
      return "address-restricted";
    case NatKind::kPortRestricted:
      return "port-restricted";
    case NatKind::kSymmetricRandom:
      return "symmetric, random ports";
    case NatKind::kSymmetricSequential:
      return "symmetric, sequential ports";
    case NatKind::kSymmetricBlocks:
      return "symmetric, blocks of 1024 ports";
    case NatKind::kSymmetricPreserving:
      return "symmetric, ports preserved";
    case NatKind::kDoubleNat:
      return "double NAT";
    case NatKind::kUdpBlocked:
      return "UDP blocked";
    case NatKind::kIpv6Firewall:
      return "IPv6 firewall";
  }
  return "unknown";
}

std::optional<NatOptions> nat_options(NatKind kind) {
  switch (kind) {
    case NatKind::kNone:
      return std::nullopt;
    case NatKind::kFullCone:
      return NatOptions{.filtering = NatFiltering::kEndpointIndependent,
                        .is_refreshed_by_inbound = true};
    case NatKind::kAddressRestricted:
      return NatOptions{.filtering = NatFiltering::kAddressDependent};
    case NatKind::kPortRestricted:
    case NatKind::kDoubleNat:
    case NatKind::kUdpBlocked:
      return NatOptions{.hairpinning = Hairpinning::kNone};
    case NatKind::kSymmetricRandom:
    case NatKind::kIpv6Firewall:
      return symmetric(PortAllocation::kRandom);
    case NatKind::kSymmetricSequential:
      return symmetric(PortAllocation::kSequential);
    case NatKind::kSymmetricBlocks:
      return symmetric(PortAllocation::kBlocks);
    case NatKind::kSymmetricPreserving:
      return netfilter();
  }
  return std::nullopt;
}

NatOptions carrier_nat_options() { return {.allocation = PortAllocation::kBlocks}; }

NatOptions ipv6_firewall_options() {
  return {.filtering = NatFiltering::kAddressAndPortDependent, .is_firewall = true};
}

}  // namespace openp2p::sim
