#pragma once

#include <errno.h>
#include <fmt/core.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <utility>

#include "net/udp_socket.h"
#include "session/endpoint.h"

namespace openp2p::bench {

/// Lets everybody in; what the options point to outlives it.
inline std::unique_ptr<session::Endpoint> open_endpoint(const IdentityKey& identity,
                                                        quic::PacketProtection& protection,
                                                        SecretSource& secrets,
                                                        session::Gatekeeper& gatekeeper,
                                                        std::function<void()> wake) {
  session::Endpoint::Options options;
  options.identity = &identity;
  options.protection = &protection;
  options.secrets = &secrets;
  options.gatekeeper = &gatekeeper;
  options.wake = std::move(wake);
  return std::make_unique<session::Endpoint>(options);
}

/// Its one socket. Without it there is no benchmark: that ends the program.
inline std::unique_ptr<net::UdpSocket> open_socket(net::IoContext& io, const Address& local,
                                                   net::UdpBuffers& buffers,
                                                   net::UdpHandler& handler,
                                                   session::Endpoint& endpoint) {
  auto socket = net::UdpSocket::open(io, local, buffers, handler);
  if (!socket) {
    fmt::print(stderr, "{}: {}: {}\n", program_invocation_short_name, local.text(),
               socket.error().message());
    std::exit(1);
  }
  endpoint.add_socket(SocketId(0), (*socket)->local_address());
  return std::move(*socket);
}

}  // namespace openp2p::bench
