#include "agent/node_driver.h"

#include <sys/resource.h>

#include <utility>

#include "net/clock.h"

namespace openp2p::agent {
namespace {

/// The largest burst: 44 datagrams of 1,472 bytes and less than a UDP_SEGMENT call's 64 KiB.
constexpr std::size_t kBurstBytesMax = 65'000;
/// Bursts a turn of the loop; then sockets are read again. Measured: 1 halves the speed, more than
/// 16 gain nothing.
constexpr int kBurstsPerTurn = 16;

/// How long the loop looks for more after bulk data. Measured: without it a quarter of the speed is
/// lost; 400 us cost a tenth more processor time. Others that want the processor are the ends of
/// the same transfer, as a rule.
constexpr Duration kAwakeAfterBulk = std::chrono::microseconds(100);
/// What counts as bulk: half a burst.
constexpr std::size_t kBulkBytesMin = 32 << 10;
/// And after a small message: a round trip on a LAN, and a quick answer.
constexpr Duration kAwakeAfterMessage = std::chrono::microseconds(60);
/// What is small so soon after bulk data acknowledges it.
constexpr Duration kBulkPause = std::chrono::milliseconds(10);

std::int64_t preemptions() {
#ifdef RUSAGE_THREAD
  constexpr int kWho = RUSAGE_THREAD;
#else
  constexpr int kWho = RUSAGE_SELF;
#endif
  rusage usage{};
  getrusage(kWho, &usage);
  return usage.ru_nivcsw;
}

/// The kernel's buffers of each extra socket; memory is taken only by what waits in them. The one
/// that wins carries a session: 1 MiB holds 8 ms at 1 Gbit/s.
constexpr int kExtraBufferBytes = 1 << 20;

}  // namespace

class NodeDriver::Socket final : public net::UdpHandler {
 public:
  Socket(NodeDriver& driver, SocketId id) : driver_(driver), id_(id) {}

  Status open(const Address& local, net::UdpOptions options = {}) {
    auto socket = net::UdpSocket::open(driver_.io_, local, driver_.receive_buffers_, *this,
                                       std::move(options));
    if (!socket) return socket.error();
    socket_ = std::move(*socket);
    return {};
  }
  net::UdpSocket& socket() { return *socket_; }
  std::uint16_t port() const { return socket_->local_address().port; }
  void close() { is_closed_ = true; }  ///< What comes from now on is for nobody.

  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    if (is_closed_) return;
    for (const net::Received& received : batch) {
      driver_.node_->on_datagrams(id_, received.from, received.datagrams, received.segment_bytes,
                                  now);
      driver_.note_moved(received.datagrams.size(), now);
      if (driver_.node_->is_a_relay()) driver_.send_polled(now);
    }
    driver_.flush_.request();
  }
  void on_writable(TimePoint now) override {
    if (!is_closed_) driver_.send_held(id_, now);
    driver_.flush_.request();
  }
  void on_unreachable(const Address&, std::error_code) override {}  // As if lost: checks find out.
  void on_too_big(const Address&, std::size_t) override {}  // Likewise: probes of the path's size.

 private:
  NodeDriver& driver_;
  const SocketId id_;
  std::unique_ptr<net::UdpSocket> socket_;
  bool is_closed_ = false;
};

NodeDriver::NodeDriver(net::IoContext& io, Node::Options options)
    : io_(io),
      send_buffer_(kBurstBytesMax),
      flush_(io, [this](TimePoint now) { flush(now); }),
      after_bulk_(kAwakeAfterBulk),
      after_message_(kAwakeAfterMessage),
      awake_(io,
             [this](TimePoint now) {
               const bool looks_for_bulk = after_bulk_.wants_to_look(now, /*preemptions=*/0);
               const bool looks = after_message_.wants_to_look(now, preemptions());
               if (looks_for_bulk || looks) awake_.request();
             }),
      timer_(io,
             [this](TimePoint now) {
               node_->on_timeout(now);
               flush(now);
             }),
      streams_({io, receive_buffers_, *this, kStreamsMax}) {
  options.sockets = this;
  options.wake = [this] { flush_.request(); };
  node_ = std::make_unique<Node>(options, net::monotonic_now());
}

NodeDriver::~NodeDriver() = default;

bool NodeDriver::is_free(const Address& local) {
  return Socket(*this, SocketId()).open(local).has_value();
}

std::optional<std::string> NodeDriver::open(std::uint16_t port, const OwnPorts& last) {
  const std::array<IpAddress, 2> any = {IpAddress::any_v4(), IpAddress::any_v6()};
  const std::array<std::uint16_t, 2> last_ports = {last.v4, last.v6};
  std::error_code first_error;
  for (std::size_t i = 0; i < any.size(); ++i) {
    auto socket = std::make_unique<Socket>(*this, SocketId(static_cast<std::uint32_t>(i)));
    const bool takes_last = port == 0 && last_ports[i] != 0 && is_free({any[i], last_ports[i]});
    const auto opened = socket->open({any[i], takes_last ? last_ports[i] : port});
    if (opened) {
      node_->add_socket(SocketId(static_cast<std::uint32_t>(i)), socket->socket().local_address());
      sockets_[i] = std::move(socket);
    } else if (!first_error) {
      first_error = opened.error();
    }
  }
  if (sockets_[0] || sockets_[1]) return std::nullopt;
  std::string text = "cannot open UDP port " + std::to_string(port) + ": " + first_error.message();
  if (first_error == std::errc::address_in_use) {
    text += "; another program uses it: choose another with --port, or 0 for any";
  }
  return text;
}

void NodeDriver::start() {
  node_->start(net::monotonic_now());
  flush_.request();
}

void NodeDriver::stop() {
  const TimePoint now = net::monotonic_now();
  node_->stop(now);
  flush(now);
  streams_.close_all();
  while (!extra_.empty()) close(extra_.begin()->first);
}

/// False: there may be more, but others are to have their turn.
bool NodeDriver::send_polled(TimePoint now) {
  for (int bursts = 0; !held_; ++bursts) {
    if (bursts == kBurstsPerTurn) return false;
    const auto transmit = node_->poll_transmit(send_buffer_, now);
    if (!transmit) break;
    send(*transmit, now);
    note_moved(transmit->bytes, now);
  }
  return true;
}

void NodeDriver::flush(TimePoint now) {
  if (!send_polled(now)) flush_.request();
  timer_.arm(node_->next_timeout());
  closed_.clear();
}

void NodeDriver::note_moved(std::size_t bytes, TimePoint now) {
  const bool is_bulk = bytes >= kBulkBytesMin;
  if (is_bulk) bulk_at_ = now;
  if (!is_bulk && now - bulk_at_ < kBulkPause) return;
  if ((is_bulk ? after_bulk_ : after_message_).on_moved()) awake_.request();
}

void NodeDriver::send(const session::Transmit& transmit, TimePoint now) {
  net::Outgoing out;
  out.to = transmit.to;
  out.datagrams = ByteView(send_buffer_).first(transmit.bytes);
  out.segment_bytes = transmit.segment_bytes;
  out.hop_limit = transmit.hop_limit;
  Socket* socket = find(transmit.socket);
  if (socket == nullptr) {
    streams_.send(transmit.socket, {out.datagrams, out.segment_bytes}, now);
    return;
  }
  send_or_hold(transmit.socket, *socket, out, now);
}

// What the kernel does not take waits.
void NodeDriver::send_or_hold(SocketId id, Socket& socket, const net::Outgoing& out,
                              TimePoint now) {
  const auto progress = socket.socket().send({&out, 1}, now);
  if (progress.batches == 1) return;
  held_ = Held{id, out.to, to_bytes(out.datagrams.subspan(progress.bytes)), out.segment_bytes,
               out.hop_limit};
}

// The kernel has room: what waited goes first.
void NodeDriver::send_held(SocketId socket, TimePoint now) {
  if (!held_ || held_->socket != socket) return;
  const Held held = *std::exchange(held_, std::nullopt);
  net::Outgoing out;
  out.to = held.to;
  out.datagrams = held.bytes;
  out.segment_bytes = held.segment_bytes;
  out.hop_limit = held.hop_limit;
  send_or_hold(socket, *find(socket), out, now);
}

// nullptr: none of the UDP sockets.
NodeDriver::Socket* NodeDriver::find(SocketId socket) {
  if (socket.value() < kMainSockets) return sockets_[socket.value()].get();
  const auto found = extra_.find(socket);
  return found == extra_.end() ? nullptr : found->second.get();
}

std::optional<path::SocketSource::Opened> NodeDriver::open_udp(bool is_v4) {
  if (extra_.size() >= kExtraSocketsMax) return std::nullopt;
  net::UdpOptions options;
  options.buffer_bytes = kExtraBufferBytes;
  const SocketId id = new_socket_id();
  auto socket = std::make_unique<Socket>(*this, id);
  const IpAddress any = is_v4 ? IpAddress::any_v4() : IpAddress::any_v6();
  if (!socket->open({any, 0}, std::move(options))) return std::nullopt;
  const Address local = socket->socket().local_address();
  extra_.emplace(id, std::move(socket));
  return Opened{id, local};
}

std::optional<SocketId> NodeDriver::connect_tcp(const Address& remote, std::uint16_t local_port,
                                                Duration timeout) {
  return streams_.connect(remote, local_port, timeout);
}

std::uint16_t NodeDriver::listen_tcp() {
  const Socket* const main = sockets_[0] ? sockets_[0].get() : sockets_[1].get();
  if (main == nullptr) return 0;
  const IpAddress first = sockets_[0] ? IpAddress::any_v4() : IpAddress::any_v6();
  auto listening = streams_.listen({first, main->port()}, /*shares_port=*/true);
  if (!listening) listening = streams_.listen({first, 0}, /*shares_port=*/true);
  if (!listening) return 0;
  // One number for both families; where IPv6's is taken, peers come by IPv4.
  if (sockets_[0] && sockets_[1]) {
    (void)streams_.listen({IpAddress::any_v6(), listening->port}, /*shares_port=*/true);
  }
  return listening->port;
}

void NodeDriver::close(SocketId socket) {
  const auto found = extra_.find(socket);
  if (found == extra_.end()) return streams_.close(socket);
  found->second->close();
  closed_.push_back(std::move(found->second));
  extra_.erase(found);
  if (held_ && held_->socket == socket) held_.reset();
  flush_.request();  // Which destroys it, and goes on with what waited behind it.
}

void NodeDriver::on_connected(SocketId socket, const Address& local, const Address& remote,
                              bool is_incoming, TimePoint now) {
  node_->on_connected(socket, local, remote, is_incoming, now);
  flush_.request();
}

void NodeDriver::on_disconnected(SocketId socket, std::error_code why, TimePoint now) {
  node_->on_disconnected(socket, why, now);
  flush_.request();
}

void NodeDriver::on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                              TimePoint now) {
  node_->on_datagrams(socket, from, train.datagrams, train.segment_bytes, now);
  note_moved(train.datagrams.size(), now);
  flush_.request();
}

}  // namespace openp2p::agent
