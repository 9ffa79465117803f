#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>

#include "agent/platform.h"
#include "net/dial_error.h"
#include "sim/byte_pipe.h"
#include "sim/host.h"
#include "sim/world.h"

/// A machine of the simulated internet as a node core sees it: ports, local connections, names.
namespace openp2p::test {

/// A sim::PipeEnd as the stream that a forward pumps.
class PipeStream final : public forward::LocalStream {
 public:
  PipeStream(sim::Host& host, sim::PipeEnd& end, const Address& remote);
  ~PipeStream() override;

  void set_handler(forward::LocalStreamHandler* handler) override { handler_ = handler; }
  void want_read(bool wanted) override;
  void want_write(bool wanted) override;
  forward::IoResult read(MutableByteView out) override;
  forward::IoResult write(ByteView data) override;
  void shutdown_write() override { end_.shutdown_write(); }
  void reset() override;
  Address remote_address() const override { return remote_; }

 private:
  void schedule();
  void turn();
  bool is_writable() const;

  sim::Host& host_;
  sim::PipeEnd& end_;
  const Address remote_;
  forward::LocalStreamHandler* handler_ = nullptr;
  sim::EventId turn_;
  bool wants_read_ = false;
  bool wants_write_ = false;
  bool may_have_more_ = false;
  bool has_end_ = false;
  bool is_dead_ = false;
};

class SimulatedPlatform final : public agent::Platform {
 public:
  using Service = std::function<void(sim::PipeEnd&)>;

  explicit SimulatedPlatform(sim::Host& host) : host_(host) {}

  /// A program on this machine that listens on a port: gets its end of each connection.
  void serve(std::uint16_t port, Service service) { services_[port] = std::move(service); }
  void stop_serving(std::uint16_t port) { services_.erase(port); }
  /// A program on this machine connects to a port that the node listens on; nullptr: refused.
  sim::PipeEnd* connect(std::uint16_t port, const sim::BytePipeOptions& options = {});
  bool is_listening(std::uint16_t port) const { return listeners_.contains(port); }

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
  std::vector<IpAddress> local_addresses() const override { return host_.addresses(); }
  std::vector<net::Gateway> gateways() const override;
  Result<std::unique_ptr<DatagramSocket>> open_gateway_datagrams(const net::Gateway& gateway,
                                                                 OnDatagram on_datagram) override;
  std::unique_ptr<Pending> hear_announcements(const net::Gateway& gateway,
                                              OnDatagram on_datagram) override;
  /// Simulated routers speak PCP only: answers that there is nothing, a second later.
  std::unique_ptr<Pending> ask_gateway(
      net::GatewayRequest request,
      std::function<void(const net::GatewayAnswer&, TimePoint)> done) override;

 private:
  class PortListener;
  class Event;
  Result<Stream> connect_service(const IpAddress& ip, std::uint16_t port,
                                 const std::function<bool(const IpAddress&)>& allows);

  sim::Host& host_;
  std::map<std::uint16_t, Service> services_;
  std::map<std::uint16_t, std::function<void(Stream, TimePoint)>> listeners_;
  std::list<sim::BytePipe> pipes_;
};

}  // namespace openp2p::test
