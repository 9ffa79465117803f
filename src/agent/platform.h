#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "base/time.h"
#include "forward/local_datagrams.h"
#include "forward/local_stream.h"
#include "net/gateway_request.h"
#include "path/connection_handler.h"

/// What the node core asks of the machine it runs on. The programs give Asio drivers, simulations
/// their own. Callbacks come on the owner's thread, never from inside the call that asks for them.
namespace openp2p::agent {

class Platform {
 public:
  /// Destroying it closes the port.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual Address bound() const = 0;
  };
  /// Destroying it cancels; no callback comes then.
  class Pending {
   public:
    virtual ~Pending() = default;
  };
  /// A UDP socket on a port that was not used before. Destroying it closes it.
  class DatagramSocket {
   public:
    virtual ~DatagramSocket() = default;
    virtual Address local() const = 0;
    virtual void send(const Address& to,
                      ByteView datagram) = 0;  ///< What cannot be sent is dropped.
  };
  /// A TCP port that was not used before: listened on, and connected from. Its connections carry
  /// datagrams (RFC 4571), and end with it.
  class ConnectionPort {
   public:
    virtual ~ConnectionPort() = default;
    virtual std::uint16_t number() const = 0;
    /// nullopt: the system gives no more.
    virtual std::optional<SocketId> connect(const Address& to, Duration timeout) = 0;
    virtual void send(SocketId over, ByteView datagram) = 0;  ///< Unknown: dropped.
  };
  using OnDatagram = std::function<void(const Address& from, ByteView datagram, TimePoint now)>;
  using Stream = std::unique_ptr<forward::LocalStream>;
  using Datagrams = std::unique_ptr<forward::LocalDatagrams>;

  virtual ~Platform() = default;

  virtual Result<std::unique_ptr<Listener>> listen(
      const Address& at, std::function<void(Stream, TimePoint)> on_accept) = 0;
  /// Resolves `host`, asks `allows` about each address, and connects. kDenied where none is
  /// allowed.
  virtual std::unique_ptr<Pending> dial(const std::string& host, std::uint16_t port,
                                        Duration timeout,
                                        std::function<bool(const IpAddress&)> allows,
                                        std::function<void(Result<Stream>, TimePoint)> done) = 0;
  /// A port that local programs send datagrams to. `handler` outlives the socket.
  virtual Result<Datagrams> listen_datagrams(const Address& at,
                                             forward::LocalDatagramsHandler& handler) = 0;
  /// As dial(), for a socket whose one remote address is the first of those allowed that can be
  /// had. `handler` outlives the dial and the socket.
  virtual std::unique_ptr<Pending> dial_datagrams(
      const std::string& host, std::uint16_t port, Duration timeout,
      std::function<bool(const IpAddress&)> allows, forward::LocalDatagramsHandler& handler,
      std::function<void(Result<Datagrams>, TimePoint)> done) = 0;
  /// All addresses of "host:port", IPv6 and IPv4; empty where the name is not known now.
  virtual std::unique_ptr<Pending> resolve(
      const std::string& host_port, std::function<void(std::vector<Address>, TimePoint)> done) = 0;
  /// For questions whose answer depends on what a socket sent before, such as how a NAT filters.
  virtual Result<std::unique_ptr<DatagramSocket>> open_datagrams(bool is_v4,
                                                                 OnDatagram on_datagram) = 0;
  /// The same over TCP. `handler` outlives the port, and may not destroy it from inside.
  virtual Result<std::unique_ptr<ConnectionPort>> open_connections(
      bool is_v4, path::ConnectionHandler& handler) = 0;
  /// This machine's own usable addresses (no loopback).
  virtual std::vector<IpAddress> local_addresses() const = 0;

  /// The routers that lead out, for port mapping.
  virtual std::vector<net::Gateway> gateways() const = 0;
  /// A socket that sends to a gateway, from the address that it is to map ports to.
  virtual Result<std::unique_ptr<DatagramSocket>> open_gateway_datagrams(
      const net::Gateway& gateway, OnDatagram on_datagram) = 0;
  /// What a gateway announces to all hosts of its link (RFC 6887 section 14.1, RFC 6886 section
  /// 3.2.1). nullptr: cannot be heard here.
  virtual std::unique_ptr<Pending> hear_announcements(const net::Gateway& gateway,
                                                      OnDatagram on_datagram) = 0;
  /// What is sent to an IPv4 group on this machine's private networks; nullptr: not here.
  virtual std::unique_ptr<Pending> hear_lan(const Address&, OnDatagram) { return nullptr; }
  /// Asks a gateway by NAT-PMP or UPnP. It ends by itself within net::kGatewayCallMax.
  virtual std::unique_ptr<Pending> ask_gateway(
      net::GatewayRequest request,
      std::function<void(const net::GatewayAnswer&, TimePoint)> done) = 0;
};

}  // namespace openp2p::agent
