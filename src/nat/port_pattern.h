#pragma once

#include <cstdint>
#include <string>
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

/// The newest are looked at, older ones not: a survey has six.
inline constexpr std::size_t kPatternSamplesMax = 16;
/// Two neighbours of a sequence are this far apart at most, where nothing was mapped in between.
inline constexpr int kSequenceStepMax = 8;
/// .. and this far where other traffic was.
inline constexpr int kSequenceGapMax = 64;

/// How a NAT chooses external ports, told from a few mappings in the order in which they were asked
/// for (RFC 4787 section 4.2). Only ports of the address that most samples have are compared.
///
/// - kPreserved: every port is the internal one. By lot: once in 64,512 for each sample.
/// - kSequential: in order and near each other; the commonest small distance is the step. Of five
///   or more, one may be out of order (its first datagram was lost); gaps up to kSequenceGapMax
///   belong to others, but at least half of them are small. Drawn by lot, two samples look so once
///   in 4,000, three once in 2,000,000, and five out of a block of 1,024 ports once in 24,000: then
///   a few wrong ports are tried first, and the next measurement tells otherwise.
/// - kBlocks: no order, but all in one run of aligned ranges of 1,024 ports: one such range for
///   four samples, at most two for five, at most four for six and more. Each happens by lot once in
///   250,000 at most.
/// - kNoPattern: spread over more.
/// - kUnknown: fewer than two samples, or two or three without order.
/// Pure function.
PortPattern infer_pattern(const std::vector<MappingSample>& samples);
/// For people: "kept", "in sequence, +1 each", "out of the block 5120 to 6143", ..
std::string describe(const PortPattern& pattern);

}  // namespace openp2p::nat
