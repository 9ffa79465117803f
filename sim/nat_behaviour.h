#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/address.h"
#include "base/time.h"

/// The words of RFC 4787 (and RFC 6888 for carriers): how NATs and stateful firewalls behave.
namespace openp2p::sim {

/// On what a mapping depends (RFC 4787 section 4.1). The destination may need another external port
/// for each new destination address, or address and port: such NATs are called "symmetric".
enum class NatMapping { kEndpointIndependent, kAddressDependent, kAddressAndPortDependent };

/// Whose packets a mapping lets in (RFC 4787 section 5): anybody's; those of addresses, or of
/// addresses and ports, to which the inside has sent. kNone lets in even what has no mapping: it
/// goes to the exposed host ("DMZ").
enum class NatFiltering {
  kNone,
  kEndpointIndependent,
  kAddressDependent,
  kAddressAndPortDependent
};

/// How external ports are chosen (RFC 4787 section 4.2).
enum class PortAllocation {
  kPreserving,  ///< The internal port where it is free, else a random one.
  kSequential,  ///< The next free one.
  kRandom,
  kBlocks,  ///< A random one out of a block of `block_ports` that belongs to the internal address.
};

/// What happens when two mappings want the same external port (RFC 4787 REQ-3).
enum class PortCollision {
  kAnother,   ///< The later one gets another port.
  kOverload,  ///< Both share it as long as the remote differs, as netfilter does; with
              ///< endpoint-independent mappings the newest takes the port over.
};

/// Which external address a mapping gets where there are several (RFC 4787 REQ-2).
enum class AddressPooling { kPaired, kArbitrary };

/// Packets from inside to an external address of the NAT (RFC 4787 section 6).
enum class Hairpinning { kNone, kInternalSource, kExternalSource };

/// What becomes of packets that no mapping or filter lets in.
enum class Unsolicited {
  kDrop,
  kReject,  ///< The sender gets an ICMP error.
  kRemap,   ///< Dropped, and remembered as a flow to the NAT itself, as netfilter does: when the
            ///< inside later sends to that remote, the port is taken, and it gets another one.
};

struct NatOptions {
  NatMapping mapping = NatMapping::kEndpointIndependent;
  NatFiltering filtering = NatFiltering::kAddressAndPortDependent;
  PortAllocation allocation = PortAllocation::kPreserving;
  PortCollision collision = PortCollision::kAnother;
  AddressPooling pooling = AddressPooling::kPaired;
  Hairpinning hairpinning = Hairpinning::kExternalSource;
  Unsolicited unsolicited = Unsolicited::kDrop;
  Duration timeout = std::chrono::seconds(120);       ///< RFC 4787 REQ-5: at least 2 minutes.
  bool is_refreshed_by_inbound = false;               ///< RFC 4787 REQ-6; outbound always does.
  Duration remap_timeout = std::chrono::seconds(30);  ///< Of kRemap; netfilter's for unanswered.
  std::uint16_t port_min = 1024;
  std::uint16_t port_max = 65535;
  std::uint16_t block_ports = 1024;
  unsigned blocks_per_host_max = 8;  ///< Then the host gets no more mappings (RFC 6888 REQ-4).
  std::size_t flows_max = 65536;     ///< Entries of all kinds; then new flows are dropped.
  bool is_firewall = false;          ///< Stateful filter only: addresses and ports stay.
  std::optional<IpAddress> exposed_host = {};  ///< For NatFiltering::kNone.
};

}  // namespace openp2p::sim
