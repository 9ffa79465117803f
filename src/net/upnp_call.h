#pragma once

#include "net/bounded_wait.h"
#include "net/gateway_request.h"

namespace openp2p::net {

/// Asks a gateway by UPnP (IGD:1, IGD:2): searches it, reads its description, and maps ports
/// (WANIPConnection, WANPPPConnection) or opens pinholes (WANIPv6FirewallControl).
///
/// The gateway is not trusted, nor is who else answers a search on this network:
/// - only answers from the gateway's own address count, and only URLs of numeric hosts at that
///   address (IPv6: of its link) are followed. Redirects are not. The connections have a hop limit
///   of 1, so that nothing can leave the link;
/// - every exchange ends after kUpnpExchangeMax, the search after kUpnpSearchMax and
///   kSsdpAnswersMax answers, everything by `wait`;
/// - bodies are bounded before they are parsed (upnp_message.h).
/// Threading: any; waits.
GatewayAnswer call_upnp(const GatewayRequest& request, const BoundedWait& wait);

constexpr Duration kUpnpExchangeMax = std::chrono::seconds(2);
constexpr Duration kUpnpSearchMax = std::chrono::milliseconds(2'600);  ///< MX is 2 s.
constexpr int kSsdpAnswersMax = 64;  ///< Looked at; most come from others on the network.
constexpr int kLocationsMax = 4;     ///< Descriptions read in one search.

}  // namespace openp2p::net
