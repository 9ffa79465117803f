#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "sim/nat_behaviour.h"

namespace openp2p::sim {

/// The ways in which a home is connected that tests go through: common devices, by the names that
/// people use for them.
enum class NatKind {
  kNone,                 ///< A public IPv4 address on the host itself.
  kFullCone,             ///< Mapping and filtering endpoint-independent.
  kAddressRestricted,    ///< Mapping endpoint-independent, filtering address-dependent.
  kPortRestricted,       ///< Mapping endpoint-independent, filtering address- and port-dependent.
  kSymmetricRandom,      ///< Mapping and filtering address- and port-dependent, as all below.
  kSymmetricSequential,  ///< The next port for each mapping.
  kSymmetricBlocks,      ///< Ports out of blocks of 1,024: a carrier's.
  kSymmetricPreserving,  ///< netfilter: keeps the port where it can, remaps where probes came
                         ///< early.
  kDoubleNat,            ///< A port-restricted home behind a carrier's NAT (RFC 6888).
  kUdpBlocked,           ///< A firewall that lets no UDP pass; TCP as in kPortRestricted.
  kIpv6Firewall,  ///< IPv6 behind a stateful firewall (RFC 6092), IPv4 behind a symmetric NAT.
};

inline constexpr std::array kNatKinds = {
    NatKind::kNone,
    NatKind::kFullCone,
    NatKind::kAddressRestricted,
    NatKind::kPortRestricted,
    NatKind::kSymmetricRandom,
    NatKind::kSymmetricSequential,
    NatKind::kSymmetricBlocks,
    NatKind::kSymmetricPreserving,
    NatKind::kDoubleNat,
    NatKind::kUdpBlocked,
    NatKind::kIpv6Firewall,
};

/// The kinds whose IPv4 mapping is endpoint-independent: any two of them can punch.
inline constexpr std::array kEimNatKinds = {
    NatKind::kNone,           NatKind::kFullCone,  NatKind::kAddressRestricted,
    NatKind::kPortRestricted, NatKind::kDoubleNat,
};

std::string_view nat_kind_text(NatKind kind);  ///< "port-restricted", ...
/// How the home's own IPv4 NAT behaves; nullopt where there is none.
std::optional<NatOptions> nat_options(NatKind kind);
NatOptions carrier_nat_options();    ///< RFC 6888: paired pooling, blocks, hairpinning.
NatOptions ipv6_firewall_options();  ///< RFC 6092: address- and port-dependent filtering.

}  // namespace openp2p::sim
