#include <fmt/format.h>

#include "nat/behaviour_discovery.h"

namespace openp2p::nat {
namespace {

std::string_view cone_name(Dependence filtering) {
  switch (filtering) {
    case Dependence::kEndpointIndependent:
      return "full cone";
    case Dependence::kIndependentOrAddressDependent:
      return "full cone or address-restricted cone";
    case Dependence::kAddressDependent:
      return "address-restricted cone";
    case Dependence::kAddressAndPortDependent:
      return "port-restricted cone";
    case Dependence::kUnknown:
      break;
  }
  return "cone, filtering unknown";
}

/// Of a NAT that was seen through two ports of one address, with the same mapping for both.
std::string_view cone_or_symmetric_name(Dependence filtering) {
  switch (filtering) {
    case Dependence::kEndpointIndependent:
      return "full cone or symmetric";
    case Dependence::kIndependentOrAddressDependent:
      return "full cone, address-restricted cone or symmetric";
    case Dependence::kAddressDependent:
      return "address-restricted cone or symmetric";
    case Dependence::kAddressAndPortDependent:
      return "port-restricted cone or symmetric";
    case Dependence::kUnknown:
      break;
  }
  return "cone or symmetric, filtering unknown";
}

std::string_view no_nat_name(Dependence filtering) {
  switch (filtering) {
    case Dependence::kAddressDependent:
    case Dependence::kAddressAndPortDependent:
      return "no NAT, but a firewall";
    case Dependence::kUnknown:
    case Dependence::kEndpointIndependent:
    case Dependence::kIndependentOrAddressDependent:
      break;
  }
  return "no NAT";
}

}  // namespace

std::string_view dependence_text(Dependence dependence) {
  switch (dependence) {
    case Dependence::kUnknown:
      break;
    case Dependence::kEndpointIndependent:
      return "endpoint-independent";
    case Dependence::kIndependentOrAddressDependent:
      return "endpoint-independent or address-dependent";
    case Dependence::kAddressDependent:
      return "address-dependent";
    case Dependence::kAddressAndPortDependent:
      return "address- and port-dependent";
  }
  return "unknown";
}

std::string_view classic_name(const BehaviourReport& report) {
  if (report.is_udp_blocked()) return "UDP blocked";
  if (!report.is_translated) return no_nat_name(report.filtering);
  switch (report.mapping) {
    case Dependence::kEndpointIndependent:
      return cone_name(report.filtering);
    case Dependence::kIndependentOrAddressDependent:
      return cone_or_symmetric_name(report.filtering);
    case Dependence::kAddressDependent:
    case Dependence::kAddressAndPortDependent:
      return "symmetric";
    case Dependence::kUnknown:
      break;
  }
  return "NAT of unknown kind";
}

std::string describe(const BehaviourReport& report) {
  if (report.is_udp_blocked()) {
    return fmt::format("UDP blocked: no answer from {}", report.server.text());
  }
  const std::string_view mapping =
      report.is_translated ? dependence_text(report.mapping) : "no translation,";
  return fmt::format("{} {}{} filtering ({})", mapping, report.is_translated ? "mapping, " : "",
                     dependence_text(report.filtering), classic_name(report));
}

}  // namespace openp2p::nat
