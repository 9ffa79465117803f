#pragma once

#include <optional>
#include <string>

#include "net/bounded_wait.h"
#include "net/gateway.h"
#include "net/upnp_message.h"

/// The sockets of a UPnP conversation, each exchange bounded in time and bytes; see upnp_call.h.
namespace openp2p::net {

/// Whether a UPnP message of this gateway may come from or lead to `ip`.
bool is_of_gateway(const Gateway& gateway, const IpAddress& ip);

/// One HTTP exchange on a connection of its own. nullopt: no whole reply in time, or the server is
/// not the gateway.
std::optional<HttpReply> exchange_http(const Gateway& gateway, const Address& server,
                                       const std::string& request, std::size_t body_bytes_max,
                                       const BoundedWait& wait);

/// The description of the gateway and where it is: by searching the link.
struct FoundDevice {
  UpnpUrl at;
  UpnpDevice device;
};
std::optional<FoundDevice> read_device(const Gateway& gateway, const std::string& location,
                                       const BoundedWait& wait);
std::optional<FoundDevice> search_device(const Gateway& gateway, const BoundedWait& wait);

}  // namespace openp2p::net
