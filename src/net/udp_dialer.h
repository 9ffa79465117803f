#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "forward/local_datagrams.h"
#include "net/local_udp.h"
#include "net/name_resolver.h"
#include "net/tcp_dialer.h"

namespace openp2p::net {

/// Opens UDP sockets by name, each with the one remote address of its destination: of the host's
/// addresses that are allowed, the first that can be had (connect_local_udp()).
///
/// Threading: the loop's thread. `io`, `resolver` and `memory` outlive the dialer, its dials and
/// sockets.
class UdpDialer {
 public:
  using Callback =
      std::function<void(Result<std::unique_ptr<forward::LocalDatagrams>> socket_or_dial_error)>;

  UdpDialer(IoContext& io, NameResolver& resolver, LocalUdpMemory& memory)
      : io_(io), resolver_(resolver), memory_(memory) {}

  /// The callback comes once, from the loop and never from inside this call; it may destroy the
  /// Dial. Errors are DialError. `handler` outlives dial and socket.
  std::unique_ptr<Dial> dial(DialRequest request, forward::LocalDatagramsHandler& handler,
                             Callback callback);

 private:
  IoContext& io_;
  NameResolver& resolver_;
  LocalUdpMemory& memory_;
};

}  // namespace openp2p::net
