#include "test/world/simulated_platform.h"

#include <algorithm>
#include <utility>

#include "nat/pcp_message.h"
#include "sim/framed_sockets.h"
#include "test/world/simulated_datagrams.h"

namespace openp2p::test {

using forward::IoResult;
using forward::IoState;

PipeStream::PipeStream(sim::Host& host, sim::PipeEnd& end, const Address& remote)
    : host_(host), end_(end), remote_(remote) {
  end_.on_readable([this] { schedule(); });
  end_.on_writable([this] { schedule(); });
}

PipeStream::~PipeStream() {
  host_.world().cancel(turn_);
  end_.on_readable({});
  end_.on_writable({});
  if (is_dead_) return;
  if (has_end_ && end_.readable_bytes() == 0) {
    end_.shutdown_write();
  } else {
    end_.reset();  // As TCP: closing with unread data, or while more may come.
  }
}

void PipeStream::want_read(bool wanted) {
  wants_read_ = wanted;
  if (wanted) schedule();
}

void PipeStream::want_write(bool wanted) {
  wants_write_ = wanted;
  if (wanted) schedule();
}

bool PipeStream::is_writable() const { return end_.writable_bytes() > 0 || end_.is_reset(); }

void PipeStream::schedule() {
  if (host_.world().is_pending(turn_)) return;
  turn_ = host_.world().after(Duration::zero(), [this] { turn(); });
}

/// Level-triggered, as an event loop is: what stays wanted and possible is told again next turn.
void PipeStream::turn() {
  if (handler_ == nullptr || is_dead_) return;
  const TimePoint now = host_.now();
  if (end_.is_reset()) {
    is_dead_ = true;
    return handler_->on_failed(std::make_error_code(std::errc::connection_reset), now);
  }
  const bool writes = wants_write_ && is_writable();
  if (wants_read_ && !has_end_) {
    may_have_more_ = false;
    handler_->on_readable(now);  // May destroy this object only through the owner's next poll.
    if (wants_read_ && may_have_more_) schedule();
  }
  if (writes && handler_ != nullptr && !is_dead_) {
    handler_->on_writable(now);
    if (wants_write_ && is_writable()) schedule();
  }
}

IoResult PipeStream::read(MutableByteView out) {
  if (is_dead_) return {0, IoState::kError, std::make_error_code(std::errc::connection_reset)};
  const sim::ReadResult result = end_.read(out);
  switch (result.status) {
    case sim::ReadStatus::kBytes:
      may_have_more_ = true;  // More bytes, or the end behind them.
      return {result.bytes, result.bytes == out.size() ? IoState::kOk : IoState::kWouldBlock, {}};
    case sim::ReadStatus::kNothingYet:
      return {0, IoState::kWouldBlock, {}};
    case sim::ReadStatus::kEnd:
      has_end_ = true;
      return {0, IoState::kEnd, {}};
    case sim::ReadStatus::kReset:
      break;
  }
  is_dead_ = true;
  return {0, IoState::kError, std::make_error_code(std::errc::connection_reset)};
}

IoResult PipeStream::write(ByteView data) {
  if (is_dead_ || end_.is_reset()) {
    is_dead_ = true;
    return {0, IoState::kError, std::make_error_code(std::errc::connection_reset)};
  }
  const std::size_t taken = end_.write(data);
  return {taken, taken == data.size() ? IoState::kOk : IoState::kWouldBlock, {}};
}

void PipeStream::reset() {
  is_dead_ = true;
  end_.reset();
}

/// An answer that comes by itself a moment later, unless it is withdrawn.
class SimulatedPlatform::Event final : public agent::Platform::Pending {
 public:
  Event(sim::World& world, Duration delay, std::function<void()> run)
      : world_(world), id_(world.after(delay, std::move(run))) {}
  ~Event() override { world_.cancel(id_); }

 private:
  sim::World& world_;
  sim::EventId id_;
};

class SimulatedPlatform::PortListener final : public agent::Platform::Listener {
 public:
  PortListener(SimulatedPlatform& platform, const Address& at) : platform_(platform), at_(at) {}
  ~PortListener() override { platform_.listeners_.erase(at_.port); }
  Address bound() const override { return at_; }

 private:
  SimulatedPlatform& platform_;
  const Address at_;
};

sim::PipeEnd* SimulatedPlatform::connect(std::uint16_t port, const sim::BytePipeOptions& options) {
  const auto found = listeners_.find(port);
  if (found == listeners_.end()) return nullptr;
  sim::BytePipe& pipe = pipes_.emplace_back(host_.world(), options);
  const Address client{IpAddress::loopback_v4(), 50'000};
  found->second(std::make_unique<PipeStream>(host_, pipe.b(), client), host_.now());
  return &pipe.a();
}

Result<std::unique_ptr<agent::Platform::Listener>> SimulatedPlatform::listen(
    const Address& at, std::function<void(Stream, TimePoint)> on_accept) {
  if (listeners_.contains(at.port)) return std::make_error_code(std::errc::address_in_use);
  listeners_.emplace(at.port, std::move(on_accept));
  return std::unique_ptr<Listener>(std::make_unique<PortListener>(*this, at));
}

Result<agent::Platform::Stream> SimulatedPlatform::connect_service(
    const IpAddress& ip, std::uint16_t port, const std::function<bool(const IpAddress&)>& allows) {
  if (!allows(ip)) return make_error_code(net::DialError::kVetoed);
  const auto found = services_.find(port);
  if (found == services_.end()) return make_error_code(net::DialError::kRefused);
  sim::BytePipe& pipe = pipes_.emplace_back(host_.world());
  found->second(pipe.a());
  return Stream(std::make_unique<PipeStream>(host_, pipe.b(), Address{ip, port}));
}

std::unique_ptr<agent::Platform::Pending> SimulatedPlatform::dial(
    const std::string& host, std::uint16_t port, Duration,
    std::function<bool(const IpAddress&)> allows,
    std::function<void(Result<Stream>, TimePoint)> done) {
  const auto ip = IpAddress::parse(host);
  auto run = [this, ip, port, allows = std::move(allows), done = std::move(done)] {
    if (!ip) return done(make_error_code(net::DialError::kNameNotFound), host_.now());
    done(connect_service(*ip, port, allows), host_.now());
  };
  return std::make_unique<Event>(host_.world(), std::chrono::microseconds(100), std::move(run));
}

Result<agent::Platform::Datagrams> SimulatedPlatform::listen_datagrams(
    const Address& at, forward::LocalDatagramsHandler& handler) {
  const auto bind = at.ip.is_unspecified() ? std::nullopt : std::optional(at.ip);
  const std::vector<IpAddress> own = host_.addresses();
  if (bind && !bind->is_loopback() && std::ranges::find(own, *bind) == own.end()) {
    return std::make_error_code(std::errc::address_not_available);
  }
  sim::UdpSocket& socket = host_.open_udp(at.port, sim::family_of(at.ip), bind);
  return Datagrams(std::make_unique<SimulatedDatagrams>(socket, handler, std::nullopt));
}

std::unique_ptr<agent::Platform::Pending> SimulatedPlatform::dial_datagrams(
    const std::string& host, std::uint16_t port, Duration,
    std::function<bool(const IpAddress&)> allows, forward::LocalDatagramsHandler& handler,
    std::function<void(Result<Datagrams>, TimePoint)> done) {
  const auto ip = IpAddress::parse(host);
  auto run = [this, ip, port, &handler, allows = std::move(allows), done = std::move(done)] {
    if (!ip) return done(make_error_code(net::DialError::kNameNotFound), host_.now());
    if (!allows(*ip)) return done(make_error_code(net::DialError::kVetoed), host_.now());
    sim::UdpSocket& socket = host_.open_udp(0, sim::family_of(*ip));
    done(Datagrams(std::make_unique<SimulatedDatagrams>(socket, handler, Address{*ip, port})),
         host_.now());
  };
  return std::make_unique<Event>(host_.world(), std::chrono::microseconds(100), std::move(run));
}

namespace {

class SimulatedDatagramSocket final : public agent::Platform::DatagramSocket {
 public:
  SimulatedDatagramSocket(sim::UdpSocket& socket, agent::Platform::OnDatagram on_datagram)
      : socket_(socket) {
    socket_.on_receive(std::move(on_datagram));
  }
  ~SimulatedDatagramSocket() override { socket_.close(); }
  Address local() const override { return socket_.local(); }
  void send(const Address& to, ByteView datagram) override { socket_.send(to, datagram); }

 private:
  sim::UdpSocket& socket_;
};

}  // namespace

Result<std::unique_ptr<agent::Platform::DatagramSocket>> SimulatedPlatform::open_datagrams(
    bool is_v4, OnDatagram on_datagram) {
  sim::UdpSocket& socket = host_.open_udp(0, is_v4 ? sim::Family::kV4 : sim::Family::kV6);
  return std::unique_ptr<DatagramSocket>(
      std::make_unique<SimulatedDatagramSocket>(socket, std::move(on_datagram)));
}

namespace {

class SimulatedConnectionPort final : public agent::Platform::ConnectionPort {
 public:
  SimulatedConnectionPort(sim::Host& host, path::ConnectionHandler& handler)
      : streams_(host, handler), number_(streams_.listen(0)) {}
  std::uint16_t number() const override { return number_; }
  std::optional<SocketId> connect(const Address& to, Duration timeout) override {
    return streams_.connect(to, number_, timeout);
  }
  void send(SocketId over, ByteView datagram) override {
    streams_.send(over, {datagram, datagram.size()});
  }

 private:
  sim::FramedSockets streams_;
  const std::uint16_t number_;
};

}  // namespace

Result<std::unique_ptr<agent::Platform::ConnectionPort>> SimulatedPlatform::open_connections(
    bool, path::ConnectionHandler& handler) {
  return std::unique_ptr<ConnectionPort>(std::make_unique<SimulatedConnectionPort>(host_, handler));
}

std::vector<net::Gateway> SimulatedPlatform::gateways() const {
  std::vector<net::Gateway> found;
  for (std::size_t i = 0; i < host_.interfaces(); ++i) {
    const sim::Interface& interface = host_.interface(i);
    const sim::Interface* gateway = interface.network().gateway();
    if (gateway == nullptr) continue;
    for (const IpAddress& local : interface.addresses()) {
      const auto ip = gateway->address(sim::family_of(local));
      if (ip) found.push_back({*ip, static_cast<std::uint32_t>(i + 1), local});
    }
  }
  return found;
}

Result<std::unique_ptr<agent::Platform::DatagramSocket>> SimulatedPlatform::open_gateway_datagrams(
    const net::Gateway& gateway, OnDatagram on_datagram) {
  sim::UdpSocket& socket = host_.open_udp(0, sim::family_of(gateway.local), gateway.local);
  return std::unique_ptr<DatagramSocket>(
      std::make_unique<SimulatedDatagramSocket>(socket, std::move(on_datagram)));
}

namespace {

class SimulatedEar final : public agent::Platform::Pending {
 public:
  explicit SimulatedEar(sim::UdpSocket& socket) : socket_(socket) {}
  ~SimulatedEar() override { socket_.close(); }

 private:
  sim::UdpSocket& socket_;
};

}  // namespace

// Simulated networks have no multicast: the router sends its announcement to each host.
std::unique_ptr<agent::Platform::Pending> SimulatedPlatform::hear_announcements(
    const net::Gateway& gateway, OnDatagram on_datagram) {
  sim::UdpSocket& socket =
      host_.open_udp(nat::kPcpAnnouncementPort, sim::family_of(gateway.local), gateway.local);
  socket.on_receive(std::move(on_datagram));
  return std::make_unique<SimulatedEar>(socket);
}

std::unique_ptr<agent::Platform::Pending> SimulatedPlatform::ask_gateway(
    net::GatewayRequest, std::function<void(const net::GatewayAnswer&, TimePoint)> done) {
  auto run = [this, done = std::move(done)] {
    net::GatewayAnswer answer;
    answer.failure = "it does not answer";
    done(answer, host_.now());
  };
  return std::make_unique<Event>(host_.world(), std::chrono::seconds(1), std::move(run));
}

std::unique_ptr<agent::Platform::Pending> SimulatedPlatform::resolve(
    const std::string&, std::function<void(std::vector<Address>, TimePoint)> done) {
  auto run = [this, done = std::move(done)] { done({}, host_.now()); };
  return std::make_unique<Event>(host_.world(), std::chrono::milliseconds(1), std::move(run));
}

}  // namespace openp2p::test
