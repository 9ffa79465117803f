#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "net/gateway.h"
#include "path/candidate.h"

namespace openp2p::net {

/// How a gateway is asked to let packets in: RFC 6887, RFC 6886, UPnP Internet Gateway Device.
enum class MappingProtocol { kPcp, kNatPmp, kUpnp };
std::string_view mapping_protocol_text(MappingProtocol protocol);  ///< "PCP", "NAT-PMP", "UPnP"

/// One port to map, or one mapping to renew or remove.
struct PortAsk {
  path::Transport transport = path::Transport::kUdp;
  std::uint16_t internal_port = 0;
  std::uint16_t external_port = 0;  ///< Wanted; the gateway may give another one. IPv6: the same.
  std::optional<std::uint16_t> pinhole = {};  ///< IPv6 UPnP: the id that it gave the last time.
};

/// A question to a gateway by NAT-PMP or UPnP: one conversation about all ports.
struct GatewayRequest {
  MappingProtocol protocol = MappingProtocol::kUpnp;
  Gateway gateway;
  std::vector<PortAsk> ports = {};
  Duration lease{};              ///< Zero: remove.
  std::string description = {};  ///< UPnP: the URL found the last time; empty: search.
};

struct PortGrant {
  PortAsk ask = {};  ///< With what was given: external port, pinhole.
  bool is_granted = false;
  Duration lease{};          ///< Zero: for ever, where a router knows nothing else.
  std::string failure = {};  ///< A sentence, where it was not granted.
};

struct GatewayAnswer {
  bool is_answered = false;                ///< By anything that speaks the protocol.
  std::string failure = {};                ///< A sentence, where nothing was granted.
  std::vector<PortGrant> ports = {};       ///< One for each asked, or none.
  std::optional<IpAddress> external = {};  ///< IPv4: what the gateway says is its own address.
  std::string description = {};            ///< UPnP: where to ask directly the next time.
};

}  // namespace openp2p::net
