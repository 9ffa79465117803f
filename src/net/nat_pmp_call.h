#pragma once

#include "net/bounded_wait.h"
#include "net/gateway_request.h"

namespace openp2p::net {

/// Asks a gateway by NAT-PMP (RFC 6886, libnatpmp) for its address, then for each port.
///
/// Bounded: libnatpmp's socket does not block, is connected to the gateway, and reads one small
/// answer a call; a request ends after kNatPmpRequestMax or kNatPmpReadsMax answers that are not
/// its own, and the whole by `wait`. Threading: any; waits.
GatewayAnswer call_nat_pmp(const GatewayRequest& request, const BoundedWait& wait);

/// Of one request: sent after 0, 250 and 750 ms, and a little patience (RFC 6886 section 3.1 goes
/// on for a minute, which no router needs).
constexpr Duration kNatPmpRequestMax = std::chrono::milliseconds(1'800);
constexpr int kNatPmpReadsMax = 32;

}  // namespace openp2p::net
