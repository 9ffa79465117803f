#pragma once

#include <functional>
#include <memory>

#include "net/gateway_request.h"
#include "net/io_context.h"

namespace openp2p::net {

/// The longest that a gateway is talked to, whatever it says: UPnP searches for 3 s and then has
/// some ten short exchanges on the LAN.
constexpr Duration kGatewayCallMax = std::chrono::seconds(10);

/// A conversation with a gateway on a thread of its own, which exists only as long as it. The
/// thread waits in BoundedWait alone: destroying this object ends it within a moment.
class GatewayCall {
 public:
  virtual ~GatewayCall() = default;  ///< Withdraws: the callback does not come.
};

/// The callback comes from the loop, never from inside this call. `io` outlives the object.
std::unique_ptr<GatewayCall> call_gateway(IoContext& io, GatewayRequest request,
                                          std::function<void(const GatewayAnswer&)> done);

}  // namespace openp2p::net
