#pragma once

#include <string_view>

#include "base/address.h"

namespace openp2p::path {

/// How an address came to be known (RFC 8445 section 5.1.1; mapped ones are by UPnP, NAT-PMP, PCP).
enum class CandidateType { kHost, kServerReflexive, kPeerReflexive, kMapped, kRelayed };
std::string_view candidate_type_text(CandidateType type);  ///< "host", "srflx", "prflx", ...

/// What carries the datagrams. Over TCP each has its length in front (RFC 4571), and the candidate
/// is one to which a connection is opened (RFC 6544: passive or simultaneous-open).
enum class Transport { kUdp, kTcp };
std::string_view transport_text(Transport transport);  ///< "udp", "tcp"

/// An address at which a party may be reached.
struct Candidate {
  CandidateType type = CandidateType::kHost;
  Address address;
  SocketId socket;  ///< Of local candidates: the socket behind the address. Unused in remote ones.
  Transport transport = Transport::kUdp;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

/// RFC 8445 section 5.1.2.1, with IPv6 preferred to IPv4 (RFC 8421) among equals.
std::uint32_t candidate_priority(const Candidate& candidate);

}  // namespace openp2p::path
