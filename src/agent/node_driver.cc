#include "agent/node_driver.h"

#include <utility>

#include "net/clock.h"

namespace openp2p::agent {
namespace {

/// The largest burst: 44 datagrams of 1,472 bytes and less than a UDP_SEGMENT call's 64 KiB.
constexpr std::size_t kBurstBytesMax = 65'000;
/// Bursts a turn of the loop; then sockets are read again. Measured: 1 halves the speed, more than
/// 16 gain nothing.
constexpr int kBurstsPerTurn = 16;

/// While bulk data moves, the loop looks again for so long after a turn before it sleeps: the
/// answer to a burst comes sooner than a processor wakes from its sleep, above all in a virtual
/// machine. Measured: without it a quarter of the speed is lost; 400 us cost a tenth more processor
/// time.
constexpr Duration kAwakeAfterBulk = std::chrono::microseconds(100);
/// What counts as bulk: half a burst. Small messages wake the loop as they come.
constexpr std::size_t kBulkBytesMin = 32 << 10;

}  // namespace

class NodeDriver::Socket final : public net::UdpHandler {
 public:
  Socket(NodeDriver& driver, SocketId id) : driver_(driver), id_(id) {}

  Status open(const Address& local) {
    auto socket = net::UdpSocket::open(driver_.io_, local, driver_.receive_buffers_, *this);
    if (!socket) return socket.error();
    socket_ = std::move(*socket);
    driver_.node_->add_socket(id_, socket_->local_address());
    return {};
  }
  net::UdpSocket& socket() { return *socket_; }

  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for (const net::Received& received : batch) {
      driver_.node_->on_datagrams(id_, received.from, received.datagrams, received.segment_bytes,
                                  now);
      driver_.stay_awake(received.datagrams.size());
    }
    driver_.flush_.request();
  }
  void on_writable(TimePoint now) override {
    if (const auto held = std::exchange(driver_.held_, std::nullopt)) {
      net::Outgoing out;
      out.to = held->to;
      out.datagrams = held->bytes;
      out.segment_bytes = held->segment_bytes;
      const auto progress = socket_->send({&out, 1}, now);
      if (progress.batches == 0) {
        const ByteView rest = ByteView(held->bytes).subspan(progress.bytes);
        driver_.held_ = Held{id_, held->to, to_bytes(rest), held->segment_bytes};
        return;
      }
    }
    driver_.flush_.request();
  }
  void on_unreachable(const Address&, std::error_code) override {}  // As if lost: checks find out.
  void on_too_big(const Address&, std::size_t) override {}  // Likewise: probes of the path's size.

 private:
  NodeDriver& driver_;
  const SocketId id_;
  std::unique_ptr<net::UdpSocket> socket_;
};

NodeDriver::NodeDriver(net::IoContext& io, Node::Options options)
    : io_(io),
      send_buffer_(kBurstBytesMax),
      flush_(io, [this](TimePoint now) { flush(now); }),
      awake_(io,
             [this](TimePoint now) {
               if (!awake_until_) awake_until_ = now + kAwakeAfterBulk;
               if (now < *awake_until_) awake_.request();
             }),
      timer_(io, [this](TimePoint now) {
        node_->on_timeout(now);
        flush(now);
      }) {
  options.wake = [this] { flush_.request(); };
  node_ = std::make_unique<Node>(options, net::monotonic_now());
}

NodeDriver::~NodeDriver() = default;

std::optional<std::string> NodeDriver::open(std::uint16_t port) {
  const std::array<IpAddress, 2> any = {IpAddress::any_v4(), IpAddress::any_v6()};
  std::error_code first_error;
  for (std::size_t i = 0; i < any.size(); ++i) {
    auto socket = std::make_unique<Socket>(*this, SocketId(static_cast<std::uint32_t>(i)));
    const auto opened = socket->open({any[i], port});
    if (opened) {
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
}

void NodeDriver::flush(TimePoint now) {
  int bursts = 0;
  while (!held_) {
    if (bursts == kBurstsPerTurn) {
      flush_.request();
      break;
    }
    const auto transmit = node_->poll_transmit(send_buffer_, now);
    if (!transmit) break;
    send(*transmit, now);
    stay_awake(transmit->bytes);
    ++bursts;
  }
  timer_.arm(node_->next_timeout());
}

void NodeDriver::stay_awake(std::size_t bytes) {
  if (bytes < kBulkBytesMin) return;
  awake_until_.reset();  // Counted from the end of the turn, which itself may be long.
  awake_.request();
}

void NodeDriver::send(const session::Transmit& transmit, TimePoint now) {
  Socket* socket = sockets_[transmit.socket.value()].get();
  if (socket == nullptr) return;
  net::Outgoing out;
  out.to = transmit.to;
  out.datagrams = ByteView(send_buffer_).first(transmit.bytes);
  out.segment_bytes = transmit.segment_bytes;
  const auto progress = socket->socket().send({&out, 1}, now);
  if (progress.batches == 1) return;
  held_ = Held{transmit.socket, transmit.to, to_bytes(out.datagrams.subspan(progress.bytes)),
               transmit.segment_bytes};
}

}  // namespace openp2p::agent
