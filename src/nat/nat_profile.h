#pragma once

#include <cstdint>

#include "base/address.h"
#include "nat/behaviour_discovery.h"

namespace openp2p::nat {

/// Consecutive external ports, both ends included; {0, 0}: none known.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  unsigned size() const { return last == 0 ? 0 : last - first + 1U; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

/// What a node knows of the NAT in front of it, for IPv4 and one transport: measured by the node,
/// and told to its peers in signals. It chooses what is tried and in which order; it is never
/// trusted as final, since NATs change their minds and peers may lie.
struct NatProfile {
  Dependence mapping = Dependence::kUnknown;
  Dependence filtering = Dependence::kUnknown;
  PortAllocation allocation = PortAllocation::kUnknown;  ///< Of the NAT's new mappings.
  IpAddress external;                     ///< Where mappings appear; unspecified: not known.
  std::uint16_t last_port = 0;            ///< External port of the newest mapping seen; 0: none.
  int step = 0;                           ///< kSequential: from one mapping's port to the next.
  PortRange block;                        ///< kBlocks: where this node's mappings come from.
  bool is_translated = true;              ///< False: the socket's own address is the public one.
  bool is_blocked = false;                ///< Nothing passes over this transport, though others do.
  bool is_spoilt_by_unsolicited = false;  ///< BehaviourReport's word for netfilter's way.

  bool is_known() const { return mapping != Dependence::kUnknown || is_blocked; }
  /// New destinations get new external ports: what people call symmetric.
  bool is_symmetric() const {
    return mapping == Dependence::kAddressDependent ||
           mapping == Dependence::kAddressAndPortDependent;
  }
  friend bool operator==(const NatProfile&, const NatProfile&) = default;
};

}  // namespace openp2p::nat
