#include "agent/asio_platform.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "net/announcement_ear.h"
#include "net/clock.h"
#include "net/gateway_call.h"
#include "net/interfaces.h"
#include "net/stream_table.h"
#include "net/tcp_listener.h"

namespace openp2p::agent {
namespace {

class RealListener final : public Platform::Listener {
 public:
  explicit RealListener(std::unique_ptr<net::TcpListener> listener)
      : listener_(std::move(listener)) {}
  Address bound() const override { return listener_->local_address(); }

 private:
  std::unique_ptr<net::TcpListener> listener_;
};

/// Keeps whatever is under way alive, and with its end withdraws it.
template <class Work>
class RealPending final : public Platform::Pending {
 public:
  explicit RealPending(std::unique_ptr<Work> work) : work_(std::move(work)) {}

 private:
  std::unique_ptr<Work> work_;
};

class RealDatagramSocket final : public Platform::DatagramSocket, public net::UdpHandler {
 public:
  explicit RealDatagramSocket(Platform::OnDatagram on_datagram)
      : on_datagram_(std::move(on_datagram)) {}
  Status open(net::IoContext& io, const IpAddress& local, net::UdpBuffers& buffers) {
    auto socket = net::UdpSocket::open(io, {local, 0}, buffers, *this);
    if (!socket) return socket.error();
    socket_ = std::move(*socket);
    return {};
  }

  Address local() const override { return socket_->local_address(); }
  void send(const Address& to, ByteView datagram) override {
    net::Outgoing out;
    out.to = to;
    out.datagrams = datagram;
    out.segment_bytes = datagram.size();
    socket_->send({&out, 1}, net::monotonic_now());
  }

  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for (const net::Received& received : batch) {
      const ByteView all = received.datagrams;
      for (std::size_t i = 0; i < all.size(); i += received.segment_bytes) {
        const std::size_t size = std::min(received.segment_bytes, all.size() - i);
        on_datagram_(received.from, all.subspan(i, size), now);
      }
    }
  }
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

 private:
  Platform::OnDatagram on_datagram_;
  std::unique_ptr<net::UdpSocket> socket_;
};

class RealConnectionPort final : public Platform::ConnectionPort, private net::StreamTableHandler {
 public:
  /// What a survey needs, and strangers that come meanwhile.
  static constexpr std::size_t kConnectionsMax = 8;

  RealConnectionPort(net::IoContext& io, net::UdpBuffers& buffers, path::ConnectionHandler& handler)
      : handler_(handler), table_({io, buffers, *this, kConnectionsMax}) {}
  Status open(const IpAddress& local) {
    const auto listening = table_.listen({local, 0}, /*shares_port=*/true);
    if (!listening) return listening.error();
    number_ = listening->port;
    return {};
  }

  std::uint16_t number() const override { return number_; }
  std::optional<SocketId> connect(const Address& to, Duration timeout) override {
    return table_.connect(to, number_, timeout);
  }
  void send(SocketId over, ByteView datagram) override {
    table_.send(over, {datagram, datagram.size()}, net::monotonic_now());
  }

 private:
  SocketId new_socket_id() override { return SocketId(next_id_++); }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override {
    handler_.on_connected(socket, local, remote, is_incoming, now);
  }
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override {
    handler_.on_disconnected(socket, why, now);
  }
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override {
    handler_.on_datagrams(socket, from, train, now);
  }

  path::ConnectionHandler& handler_;
  std::uint32_t next_id_ = 0;
  std::uint16_t number_ = 0;
  net::StreamTable table_;
};

}  // namespace

AsioPlatform::AsioPlatform(net::IoContext& io)
    : io_(io),
      resolver_(net::make_name_resolver(io)),
      dialer_(io, *resolver_),
      datagram_dialer_(io, *resolver_, datagram_memory_) {}

Result<std::unique_ptr<Platform::Listener>> AsioPlatform::listen(
    const Address& at, std::function<void(Stream, TimePoint)> on_accept) {
  auto listener =
      net::TcpListener::listen(io_, at, [on_accept = std::move(on_accept)](Stream stream) {
        on_accept(std::move(stream), net::monotonic_now());
      });
  if (!listener) return listener.error();
  return std::unique_ptr<Listener>(std::make_unique<RealListener>(std::move(*listener)));
}

std::unique_ptr<Platform::Pending> AsioPlatform::dial(
    const std::string& host, std::uint16_t port, Duration timeout,
    std::function<bool(const IpAddress&)> allows,
    std::function<void(Result<Stream>, TimePoint)> done) {
  net::DialRequest request;
  request.host = host;
  request.port = port;
  request.timeout = timeout;
  request.allows = std::move(allows);
  auto dial = dialer_.dial(std::move(request), [done = std::move(done)](Result<Stream> stream) {
    done(std::move(stream), net::monotonic_now());
  });
  return std::make_unique<RealPending<net::Dial>>(std::move(dial));
}

Result<Platform::Datagrams> AsioPlatform::listen_datagrams(
    const Address& at, forward::LocalDatagramsHandler& handler) {
  return net::listen_local_udp(io_, at, datagram_memory_, handler);
}

std::unique_ptr<Platform::Pending> AsioPlatform::dial_datagrams(
    const std::string& host, std::uint16_t port, Duration timeout,
    std::function<bool(const IpAddress&)> allows, forward::LocalDatagramsHandler& handler,
    std::function<void(Result<Datagrams>, TimePoint)> done) {
  net::DialRequest request;
  request.host = host;
  request.port = port;
  request.timeout = timeout;
  request.allows = std::move(allows);
  auto dial = datagram_dialer_.dial(std::move(request), handler,
                                    [done = std::move(done)](Result<Datagrams> datagrams) {
                                      done(std::move(datagrams), net::monotonic_now());
                                    });
  return std::make_unique<RealPending<net::Dial>>(std::move(dial));
}

std::unique_ptr<Platform::Pending> AsioPlatform::resolve(
    const std::string& host_port, std::function<void(std::vector<Address>, TimePoint)> done) {
  const auto colon = host_port.rfind(':');
  const std::string host = host_port.substr(0, colon);
  std::uint16_t port = 0;
  if (colon != std::string::npos) {
    std::from_chars(host_port.data() + colon + 1, host_port.data() + host_port.size(), port);
  }
  auto lookup = resolver_->look_up(
      host, [port, done = std::move(done)](Result<std::vector<IpAddress>> found) {
        std::vector<Address> addresses;
        if (found && port != 0) {
          for (const IpAddress& ip : *found) addresses.push_back({ip, port});
        }
        done(std::move(addresses), net::monotonic_now());
      });
  return std::make_unique<RealPending<net::NameResolver::Lookup>>(std::move(lookup));
}

Result<std::unique_ptr<Platform::DatagramSocket>> AsioPlatform::open_datagrams(
    bool is_v4, OnDatagram on_datagram) {
  auto socket = std::make_unique<RealDatagramSocket>(std::move(on_datagram));
  const IpAddress any = is_v4 ? IpAddress::any_v4() : IpAddress::any_v6();
  const Status opened = socket->open(io_, any, probe_buffers_);
  if (!opened) return opened.error();
  return std::unique_ptr<DatagramSocket>(std::move(socket));
}

Result<std::unique_ptr<Platform::ConnectionPort>> AsioPlatform::open_connections(
    bool is_v4, path::ConnectionHandler& handler) {
  auto port = std::make_unique<RealConnectionPort>(io_, probe_buffers_, handler);
  const Status opened = port->open(is_v4 ? IpAddress::any_v4() : IpAddress::any_v6());
  if (!opened) return opened.error();
  return std::unique_ptr<ConnectionPort>(std::move(port));
}

std::vector<IpAddress> AsioPlatform::local_addresses() const {
  std::vector<IpAddress> addresses;
  for (const net::InterfaceAddress& address : net::list_interface_addresses()) {
    if (net::is_host_candidate(address)) addresses.push_back(address.ip);
  }
  return addresses;
}

std::vector<net::Gateway> AsioPlatform::gateways() const { return net::default_gateways(); }

Result<std::unique_ptr<Platform::DatagramSocket>> AsioPlatform::open_gateway_datagrams(
    const net::Gateway& gateway, OnDatagram on_datagram) {
  auto socket = std::make_unique<RealDatagramSocket>(std::move(on_datagram));
  const Status opened = socket->open(io_, gateway.local, probe_buffers_);
  if (!opened) return opened.error();
  return std::unique_ptr<DatagramSocket>(std::move(socket));
}

std::unique_ptr<Platform::Pending> AsioPlatform::hear_announcements(const net::Gateway& gateway,
                                                                    OnDatagram on_datagram) {
  auto ear = net::hear_announcements(io_, gateway, std::move(on_datagram));
  if (!ear) return nullptr;
  return std::make_unique<RealPending<net::AnnouncementEar>>(std::move(ear));
}

std::unique_ptr<Platform::Pending> AsioPlatform::hear_lan(const Address& group,
                                                          OnDatagram on_datagram) {
  std::vector<IpAddress> interfaces = local_addresses();
  std::erase_if(interfaces, [](const IpAddress& ip) { return !ip.is_private(); });
  auto ear = net::hear_group(io_, group, interfaces, std::move(on_datagram));
  if (!ear) return nullptr;
  return std::make_unique<RealPending<net::AnnouncementEar>>(std::move(ear));
}

std::unique_ptr<Platform::Pending> AsioPlatform::ask_gateway(
    net::GatewayRequest request, std::function<void(const net::GatewayAnswer&, TimePoint)> done) {
  auto call = net::call_gateway(io_, std::move(request),
                                [done = std::move(done)](const net::GatewayAnswer& answer) {
                                  done(answer, net::monotonic_now());
                                });
  return std::make_unique<RealPending<net::GatewayCall>>(std::move(call));
}

}  // namespace openp2p::agent
