#pragma once

#include <memory>

#include "agent/platform.h"
#include "net/io_context.h"
#include "net/name_resolver.h"
#include "net/tcp_dialer.h"
#include "net/udp_dialer.h"
#include "net/udp_socket.h"

namespace openp2p::agent {

/// The real machine: sockets, names and interfaces through net/. Threading: the loop's thread.
class AsioPlatform final : public Platform {
 public:
  explicit AsioPlatform(net::IoContext& io);

  Result<std::unique_ptr<Listener>> listen(
      const Address& at, std::function<void(Stream, TimePoint)> on_accept) override;
  std::unique_ptr<Pending> dial(const std::string& host, std::uint16_t port, Duration timeout,
                                std::function<bool(const IpAddress&)> allows,
                                std::function<void(Result<Stream>, TimePoint)> done) override;
  Result<Datagrams> listen_datagrams(const Address& at,
                                     forward::LocalDatagramsHandler& handler) override;
  std::unique_ptr<Pending> dial_datagrams(
      const std::string& host, std::uint16_t port, Duration timeout,
      std::function<bool(const IpAddress&)> allows, forward::LocalDatagramsHandler& handler,
      std::function<void(Result<Datagrams>, TimePoint)> done) override;
  std::unique_ptr<Pending> resolve(
      const std::string& host_port,
      std::function<void(std::vector<Address>, TimePoint)> done) override;
  Result<std::unique_ptr<DatagramSocket>> open_datagrams(bool is_v4,
                                                         OnDatagram on_datagram) override;
  Result<std::unique_ptr<ConnectionPort>> open_connections(
      bool is_v4, path::ConnectionHandler& handler) override;
  std::vector<IpAddress> local_addresses() const override;
  std::vector<net::Gateway> gateways() const override;
  Result<std::unique_ptr<DatagramSocket>> open_gateway_datagrams(const net::Gateway& gateway,
                                                                 OnDatagram on_datagram) override;
  std::unique_ptr<Pending> hear_announcements(const net::Gateway& gateway,
                                              OnDatagram on_datagram) override;
  std::unique_ptr<Pending> hear_lan(const Address& group, OnDatagram on_datagram) override;
  std::unique_ptr<Pending> ask_gateway(
      net::GatewayRequest request,
      std::function<void(const net::GatewayAnswer&, TimePoint)> done) override;

 private:
  net::IoContext& io_;
  std::unique_ptr<net::NameResolver> resolver_;
  net::TcpDialer dialer_;
  net::LocalUdpMemory datagram_memory_;  ///< Memory only once it is used.
  net::UdpDialer datagram_dialer_;
  net::UdpBuffers probe_buffers_;  ///< Likewise.
};

}  // namespace openp2p::agent
