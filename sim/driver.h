#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/address.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/time.h"
#include "sim/framed_sockets.h"
#include "sim/host.h"
#include "sim/world.h"

namespace openp2p::sim {

/// Takes bursts of equal datagrams (the last one may be shorter), as GRO gives them.
template <class M>
concept TakesBursts = requires(M& machine, SocketId socket, const Address& from, ByteView bytes,
                               std::size_t segment_bytes, TimePoint now) {
  machine.on_datagrams(socket, from, bytes, segment_bytes, now);
};
/// Takes one datagram at a time.
template <class M>
concept TakesDatagrams = requires(M& machine, SocketId socket, const Address& from, ByteView bytes,
                                  TimePoint now) {
  machine.on_datagram(socket, from, bytes, now);
};
/// Takes TCP connections that carry datagrams.
template <class M>
concept TakesConnections = requires(M& machine, SocketId socket, const Address& address,
                                    bool is_incoming, std::error_code why, TimePoint now) {
  machine.on_connected(socket, address, address, is_incoming, now);
  machine.on_disconnected(socket, why, now);
};
/// A protocol machine that talks over UDP sockets. What poll_transmit() gives has the members
/// `socket`, `to`, `bytes` and `segment_bytes`, and its bytes are in the buffer; `hop_limit` is
/// optional.
template <class M>
concept Machine = (TakesBursts<M> || TakesDatagrams<M>)&&requires(M& machine, const M& same,
                                                                  MutableByteView out,
                                                                  TimePoint now) {
  machine.on_timeout(now);
  { same.next_timeout() } -> std::convertible_to<std::optional<TimePoint>>;
  { machine.poll_transmit(out, now)->socket } -> std::convertible_to<SocketId>;
  { machine.poll_transmit(out, now)->to } -> std::convertible_to<Address>;
  { machine.poll_transmit(out, now)->bytes } -> std::convertible_to<std::size_t>;
  { machine.poll_transmit(out, now)->segment_bytes } -> std::convertible_to<std::size_t>;
};

/// Runs a machine on a simulated host, as the programs' drivers run it on real sockets: datagrams
/// that arrive together are handed over together; after any input it polls until nothing is left,
/// and arms one timer.
///
///     sim::Driver driver(home.host(), endpoint);
///     const SocketId socket = driver.open();
///     driver.on_input([&](TimePoint now) { while (auto event = endpoint.poll_event()) ...; });
///     endpoint.connect(...);
///     driver.poke();  // After every call that did not come through the driver.
///
/// Sockets may be opened and closed at any time, also from inside the machine's calls. The driver
/// closes the rest when it ends, which must not be inside one of its own calls; machine and host
/// outlive it. All times that the machine gets and gives are those of the host's clock.
template <Machine M>
class Driver : private path::ConnectionHandler {
 public:
  static constexpr std::size_t kBurstBytesMax = 65'536;  ///< What UDP_SEGMENT and UDP_GRO allow.
  /// Timeouts in a row without time passing. A machine that wants more would spin a real program.
  static constexpr unsigned kSpinsMax = 1'000;
  /// Bursts after one input. More than a window of any test's traffic: an endless poll.
  static constexpr unsigned kBurstsPerInputMax = 100'000;

  Driver(Host& host, M& machine)
      : host_(host),
        machine_(machine),
        streams_(host, *this),
        timer_(host.world(), [this] { on_timer(); }),
        out_(kBurstBytesMax) {}
  ~Driver() override {
    host_.world().cancel(flush_);
    for (const auto& [id, socket] : sockets_) socket->close();
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  SocketId open(std::uint16_t port = 0, Family family = Family::kV4,
                std::optional<IpAddress> bind = {}) {
    UdpSocket& socket = host_.open_udp(port, family, bind);
    sockets_[socket.id()] = &socket;
    socket.on_receive([this, id = socket.id()](const Address& from, ByteView datagram, TimePoint) {
      on_datagram(id, from, datagram);
    });
    return socket.id();
  }
  /// What arrived and was not handed over yet is lost. Unknown and closed ones are ignored.
  void close(SocketId id) {
    streams_.close(id);
    const auto socket = sockets_.find(id);
    if (socket == sockets_.end()) return;
    socket->second->close();
    sockets_.erase(socket);
    if (burst_socket_ == id) burst_.clear();
  }
  /// TCP connections that carry datagrams: sockets with one remote address each. Of a machine that
  /// takes them, on_connected() and on_disconnected() tell their fate; those that come to a port
  /// that is listened on are told likewise.
  std::uint16_t listen_tcp(std::uint16_t port) { return streams_.listen(port); }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout, std::optional<IpAddress> source = {}) {
    return streams_.connect(remote, local_port, timeout, source);
  }
  const FramedSockets& streams() const { return streams_; }
  bool is_open(SocketId id) const { return sockets_.contains(id); }
  std::size_t open_sockets() const { return sockets_.size(); }
  UdpSocket& socket(SocketId id) { return host_.socket(id); }
  /// Called after every input, before the machine is polled: the application's turn.
  void on_input(std::function<void(TimePoint)> handler) { on_input_ = std::move(handler); }
  /// The machine was given a command: poll it and arm the timer. Also legal inside on_input.
  void poke() { settle(); }
  std::uint64_t unsendable() const { return unsendable_; }  ///< Refused by the socket.
  /// Times at which something came in, datagrams or timeouts: as often a real program wakes up.
  std::uint64_t wakeups() const { return wakeups_; }

 private:
  void on_datagram(SocketId socket, const Address& from, ByteView datagram) {
    const bool joins = !burst_.empty() && socket == burst_socket_ && from == burst_from_ &&
                       burst_.size() % segment_bytes_ == 0 && datagram.size() <= segment_bytes_ &&
                       !datagram.empty() && burst_.size() + datagram.size() <= kBurstBytesMax;
    if (!joins) flush();
    if (!is_open(socket)) return;  // Closed by what came before it.
    if (datagram.empty()) return hand_over(socket, from, datagram, 0);
    if (!joins) {
      burst_socket_ = socket;
      burst_from_ = from;
      segment_bytes_ = datagram.size();
    }
    burst_.insert(burst_.end(), datagram.begin(), datagram.end());
    if (host_.world().is_pending(flush_)) return;
    flush_ = host_.world().after(Duration::zero(), [this] { flush(); });
  }

  // path::ConnectionHandler
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override {
    note_wakeup(now);
    if constexpr (TakesConnections<M>) {
      machine_.on_connected(socket, local, remote, is_incoming, now);
    }
    settle();
  }
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override {
    note_wakeup(now);
    if constexpr (TakesConnections<M>) machine_.on_disconnected(socket, why, now);
    settle();
  }
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint) override {
    flush();
    hand_over(socket, from, train.datagrams, train.segment_bytes);
  }

  void flush() {
    if (burst_.empty()) return;
    std::swap(burst_, handed_over_);
    burst_.clear();
    hand_over(burst_socket_, burst_from_, handed_over_, segment_bytes_);
  }

  void hand_over(SocketId socket, const Address& from, ByteView bytes, std::size_t segment_bytes) {
    const TimePoint now = host_.now();
    note_wakeup(now);
    if constexpr (TakesBursts<M>) {
      machine_.on_datagrams(socket, from, bytes, segment_bytes, now);
    } else {
      do {
        const std::size_t size = std::min(bytes.size(), segment_bytes);
        machine_.on_datagram(socket, from, bytes.first(size), now);
        bytes = bytes.subspan(size);
      } while (!bytes.empty());
    }
    settle();
  }

  void on_timer() {
    const TimePoint now = host_.now();
    note_wakeup(now);
    spins_ = now == last_timeout_ ? spins_ + 1 : 0;
    CHECK(spins_ < kSpinsMax);
    last_timeout_ = now;
    machine_.on_timeout(now);
    settle();
  }

  void note_wakeup(TimePoint now) {
    if (last_wakeup_ != now) ++wakeups_;
    last_wakeup_ = now;
  }

  void settle() {
    is_wanted_again_ = true;
    if (is_settling_) return;
    is_settling_ = true;
    for (unsigned bursts = 0; std::exchange(is_wanted_again_, false);) {
      if (on_input_) on_input_(host_.now());
      while (transmit()) CHECK(++bursts < kBurstsPerInputMax);
    }
    is_settling_ = false;
    const std::optional<TimePoint> next = machine_.next_timeout();
    timer_.arm(next ? std::optional(host_.clock().when(*next)) : std::nullopt);
  }

  bool transmit() {
    const auto transmit = machine_.poll_transmit(out_, host_.now());
    if (!transmit) return false;
    CHECK(transmit->bytes <= out_.size());
    if (streams_.has(transmit->socket)) {
      streams_.send(transmit->socket,
                    {ByteView(out_).first(transmit->bytes),
                     transmit->segment_bytes == 0 ? transmit->bytes : transmit->segment_bytes});
      return true;
    }
    if (!is_open(transmit->socket)) {
      ++unsendable_;
      return true;
    }
    UdpSocket& socket = host_.socket(transmit->socket);
    std::uint8_t hop_limit = 0;
    if constexpr (requires { transmit->hop_limit; }) hop_limit = transmit->hop_limit;
    ByteView left = ByteView(out_).first(transmit->bytes);
    const std::size_t segment =
        transmit->segment_bytes == 0 ? transmit->bytes : transmit->segment_bytes;
    while (!left.empty()) {
      const ByteView datagram = left.first(std::min(segment, left.size()));
      if (socket.send(transmit->to, datagram, hop_limit) != SendStatus::kSent) ++unsendable_;
      left = left.subspan(datagram.size());
    }
    return true;
  }

  Host& host_;
  M& machine_;
  FramedSockets streams_;
  Timer timer_;
  std::map<SocketId, UdpSocket*> sockets_;
  std::function<void(TimePoint)> on_input_;
  Bytes out_;
  Bytes burst_;  // Datagrams that arrived at this instant, not yet handed over.
  Bytes handed_over_;
  SocketId burst_socket_;
  Address burst_from_;
  std::size_t segment_bytes_ = 1;
  EventId flush_;
  std::optional<TimePoint> last_timeout_;
  unsigned spins_ = 0;
  std::uint64_t unsendable_ = 0;
  std::uint64_t wakeups_ = 0;
  std::optional<TimePoint> last_wakeup_;
  bool is_settling_ = false;
  bool is_wanted_again_ = false;
};

}  // namespace openp2p::sim
