#pragma once

#include <cstddef>

#include "base/address.h"

/// What a network carries beside a datagram: for caps and rates, which count what lines carry.
namespace openp2p::relay {

inline constexpr std::size_t kUdpHeaderBytes = 8;
inline constexpr std::size_t kTcpHeaderBytes = 32;  ///< With timestamps (RFC 7323).

inline std::size_t ip_header_bytes(const IpAddress& to) { return to.is_v4() ? 20 : 40; }

}  // namespace openp2p::relay
