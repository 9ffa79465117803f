#include "net/gateway_request.h"

namespace openp2p::net {

std::string_view mapping_protocol_text(MappingProtocol protocol) {
  switch (protocol) {
    case MappingProtocol::kPcp:
      return "PCP";
    case MappingProtocol::kNatPmp:
      return "NAT-PMP";
    case MappingProtocol::kUpnp:
      return "UPnP";
  }
  return "?";
}

}  // namespace openp2p::net
