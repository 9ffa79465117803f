#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "nat/behaviour_discovery.h"
#include "nat/nat_profile.h"

namespace openp2p::nat {

/// One mapping as it was seen from outside, and the port of the socket behind it.
struct MappingSample {
  std::uint16_t internal_port = 0;
  Address external;
};

struct PortPattern {
  PortAllocation allocation = PortAllocation::kUnknown;
  std::uint16_t last_port = 0;  ///< Of the newest mapping; 0: no samples.
  int step = 0;                 ///< kSequential: signed.
  PortRange block;              ///< kBlocks.
  friend bool operator==(const PortPattern&, const PortPattern&) = default;
};

/// The most samples that are looked at; the newest. A survey has six, all a router should see of
/// it.
inline constexpr std::size_t kPatternSamplesMax = 16;
/// Two neighbours of a sequence are this far apart at most, where nothing was mapped in between.
inline constexpr int kSequenceStepMax = 8;
/// .. and this far where other traffic was.
inline constexpr int kSequenceGapMax = 64;

/// How a NAT chooses external ports, told from a few mappings in the order in which they were asked
/// for (RFC 4787 section 4.2). Only ports of the address that most samples have are compared.
///
/// - kPreserved: every port is the internal one. By lot: once in 64,512 for each sample.
/// - kSequential: in order and near each other; the commonest distance is the step. One sample may
///   be out of order (its first datagram was lost) and gaps up to kSequenceGapMax belong to others.
///   Three samples drawn by lot look so once in 200,000, five out of a block of 1,024 ports once in
///   5,000: then a few wrong ports are tried first, and the next measurement tells otherwise.
/// - kBlocks: no order, but all in one run of aligned 1,024 ports; four samples out of all ports
///   fall into one such range once in 250,000. With five samples the run may be two ranges long (by
///   lot: once in 200,000), with six or more, four (once in 150,000).
/// - kNoPattern: spread over more. A block is taken for it only where it is larger than that.
/// - kUnknown: too few samples: none, one or two, or three without order.
/// Pure function.
PortPattern infer_pattern(const std::vector<MappingSample>& samples);

}  // namespace openp2p::nat
