#include "path/candidate.h"

namespace openp2p::path {
namespace {

/// RFC 8445 section 5.1.2.2 recommends 126, 110, 100 and 0. A port mapping was asked for and is
/// expected to last, so it stands between a host address and what only a STUN server saw.
std::uint32_t type_preference(CandidateType type) {
  switch (type) {
    case CandidateType::kHost:
      return 126;
    case CandidateType::kMapped:
      return 120;
    case CandidateType::kPeerReflexive:
      return 110;
    case CandidateType::kServerReflexive:
      return 100;
    case CandidateType::kRelayed:
      return 0;
  }
  return 0;
}

}  // namespace

std::string_view candidate_type_text(CandidateType type) {
  switch (type) {
    case CandidateType::kHost:
      return "host";
    case CandidateType::kServerReflexive:
      return "srflx";
    case CandidateType::kPeerReflexive:
      return "prflx";
    case CandidateType::kMapped:
      return "mapped";
    case CandidateType::kRelayed:
      return "relay";
  }
  return "unknown";
}

std::string_view transport_text(Transport transport) {
  switch (transport) {
    case Transport::kUdp:
      return "udp";
    case Transport::kTcp:
      return "tcp";
  }
  return "unknown";
}

std::uint32_t candidate_priority(const Candidate& candidate) {
  constexpr std::uint32_t kComponent = 1;  // A session has one flow of packets.
  const std::uint32_t local_preference = candidate.address.ip.is_v6() ? 65535 : 32767;
  // RFC 6544 section 4.2: below UDP of whatever type, but for a relay.
  const std::uint32_t divisor = candidate.transport == Transport::kTcp ? 2 : 1;
  return (type_preference(candidate.type) / divisor << 24) + (local_preference << 8) +
         (256 - kComponent);
}

}  // namespace openp2p::path
