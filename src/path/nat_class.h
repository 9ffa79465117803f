#pragma once

#include <cstdint>

#include "nat/nat_profile.h"

namespace openp2p::path {

/// What a NAT means for whoever wants through it. Made from a profile that a peer may have lied in:
/// nonsense (steps, ports and blocks that cannot be) counts as not known.
enum class NatClass : std::uint8_t {
  kUnknown,
  kOpen,        ///< Its mapping stays, and lets in who was sent to, from any port.
  kFixed,       ///< Its mapping stays, and lets in only addresses and ports that were sent to.
  kPreserving,  ///< New mappings, but with the socket's own port: as good as kFixed, unless spoilt.
  kSequential,  ///< New mappings whose ports can be told.
  kBlocks,      ///< New mappings in a known range.
  kRandom,      ///< New mappings anywhere.
  kBlocked,     ///< Nothing passes.
};
inline constexpr int kNatClasses = 8;

/// Further apart than this, ports are not in a row but random: 64 mappings would span 4,096 ports.
inline constexpr int kPortStepMax = 64;
/// Below this no home's or carrier's NAT maps, and services live that nobody may be aimed at.
inline constexpr std::uint16_t kPortMin = 1024;

NatClass nat_class(const nat::NatProfile& profile);
/// A destination sees a port of its own, which no other destination was told.
inline bool is_moving(NatClass c) {
  return c == NatClass::kSequential || c == NatClass::kBlocks || c == NatClass::kRandom;
}
/// Who sends here before being sent to makes later mappings others: the peer must come second.
bool is_touchy(const nat::NatProfile& profile);
/// The same, or nobody has tested it.
bool may_be_touchy(const nat::NatProfile& profile);
/// An IPv4 address where a search for ports may be aimed.
bool is_searchable(const IpAddress& external);

}  // namespace openp2p::path
