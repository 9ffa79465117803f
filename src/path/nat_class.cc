#include "path/nat_class.h"

namespace openp2p::path {
namespace {

using nat::Dependence;
using nat::PortAllocation;

/// Smaller ranges are a measurement of a few mappings, not a carrier's block.
constexpr unsigned kBlockPortsMin = 16;

NatClass moving_class(const nat::NatProfile& p) {
  switch (p.allocation) {
    case PortAllocation::kPreserved:
      return NatClass::kPreserving;
    case PortAllocation::kSequential:
      if (p.last_port < kPortMin || p.step == 0) return NatClass::kRandom;
      // Two comparisons, since the absolute value of the smallest int does not exist.
      if (p.step > kPortStepMax || p.step < -kPortStepMax) return NatClass::kRandom;
      return NatClass::kSequential;
    case PortAllocation::kBlocks:
      if (p.block.first < kPortMin || p.block.last < p.block.first) return NatClass::kRandom;
      return p.block.size() < kBlockPortsMin ? NatClass::kRandom : NatClass::kBlocks;
    case PortAllocation::kUnknown:
    case PortAllocation::kNoPattern:
      return NatClass::kRandom;
  }
  return NatClass::kRandom;
}

}  // namespace

NatClass nat_class(const nat::NatProfile& profile) {
  if (profile.is_blocked) return NatClass::kBlocked;
  if (profile.is_symmetric() && profile.is_translated) return moving_class(profile);
  if (profile.filtering == Dependence::kEndpointIndependent ||
      profile.filtering == Dependence::kAddressDependent) {
    if (profile.is_known() || !profile.is_translated) return NatClass::kOpen;
  }
  return profile.is_known() || !profile.is_translated ? NatClass::kFixed : NatClass::kUnknown;
}

bool is_touchy(const nat::NatProfile& profile) {
  return profile.is_spoilt_by_unsolicited || nat_class(profile) == NatClass::kPreserving;
}

bool may_be_touchy(const nat::NatProfile& profile) {
  const bool is_untested = profile.is_translated && profile.filtering == Dependence::kUnknown;
  return is_untested || is_touchy(profile);
}

bool is_searchable(const IpAddress& external) {
  return external.is_v4() && !external.is_unspecified() && !external.is_loopback() &&
         !external.is_multicast() && !external.is_link_local();
}

}  // namespace openp2p::path
