#include "net/local_udp.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "net/deferred.h"

namespace openp2p::net {
namespace {

using forward::LocalEnds;

/// A train's datagrams fit an ordinary link: what the system has to fragment goes one by one.
constexpr std::size_t kTrainDatagramMax = 1'452;

UdpOptions local_options() {
  UdpOptions options;
  options.may_fragment = true;
  options.takes_empty = true;
  return options;
}

std::size_t datagrams_in(const Outgoing& out, std::size_t from) {
  return (out.datagrams.size() - from + out.segment_bytes - 1) / out.segment_bytes;
}

/// Gathers what is sent through one socket.
class Gatherer {
 public:
  explicit Gatherer(LocalUdpMemory& memory) : memory_(memory) {}

  /// False: there is no room, flush() first.
  bool add(const Address& to, const IpAddress& source, ByteView datagram) {
    if (!gathered_) gathered_ = memory_.take();
    LocalUdpMemory::Gathered& all = *gathered_;
    if (all.bytes.size() - all.used < datagram.size()) return false;
    if (all.outgoing.size() == LocalUdpMemory::kEntriesMax) return false;
    const auto start = all.bytes.begin() + static_cast<std::ptrdiff_t>(all.used);
    std::ranges::copy(datagram, start);
    all.used += datagram.size();
    const ByteView added(start, start + static_cast<std::ptrdiff_t>(datagram.size()));
    if (!all.outgoing.empty() && extends(all.outgoing.back(), to, source, datagram.size())) {
      Outgoing& train = all.outgoing.back();
      train.datagrams = {train.datagrams.data(), train.datagrams.size() + added.size()};
    } else {
      all.outgoing.push_back({to, source, added, datagram.size(), /*hop_limit=*/0});
    }
    return true;
  }

  /// Gives how many datagrams the kernel did not take.
  std::size_t flush(UdpSocket& socket, TimePoint now) {
    if (!gathered_) return 0;
    const std::vector<Outgoing>& all = gathered_->outgoing;
    const SendProgress progress = socket.send(all, now);
    std::size_t dropped = 0;
    for (std::size_t i = progress.batches; i < all.size(); ++i) {
      dropped += datagrams_in(all[i], i == progress.batches ? progress.bytes : 0);
    }
    memory_.give(std::move(gathered_));
    return dropped;
  }

 private:
  static bool extends(const Outgoing& train, const Address& to, const IpAddress& source,
                      std::size_t bytes) {
    return train.segment_bytes <= kTrainDatagramMax && bytes <= train.segment_bytes &&
           train.datagrams.size() % train.segment_bytes == 0 && train.to == to &&
           train.source == source;
  }

  LocalUdpMemory& memory_;
  std::unique_ptr<LocalUdpMemory::Gathered> gathered_;
};

/// What both kinds of sockets share: sending, and what the kernel says of it.
class Sender : public forward::LocalDatagrams, protected UdpHandler {
 public:
  const Counters& counters() const override { return counters_; }
  Address local_address() const override { return socket_->local_address(); }
  void flush(TimePoint now) override { counters_.dropped += gatherer_.flush(*socket_, now); }

 protected:
  explicit Sender(LocalUdpMemory& memory) : gatherer_(memory) {}

  void gather(const Address& to, const IpAddress& source, ByteView datagram) {
    if (datagram.empty()) {
      flush(now_);  // Behind what was sent before it.
      if (!socket_->send_empty(to, source)) ++counters_.dropped;
      return;
    }
    if (gatherer_.add(to, source, datagram)) return;
    flush(now_);
    CHECK(gatherer_.add(to, source, datagram));
  }

  // What was dropped on the way into the kernel: a batch of at least one.
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code error) override {
    ++counters_.dropped;
    on_refused(error);
  }
  void on_too_big(const Address&, std::size_t) override { ++counters_.dropped; }

  Gatherer gatherer_;
  std::unique_ptr<UdpSocket> socket_;
  Counters counters_;
  TimePoint now_{};  ///< Of the last input: flushes in the middle of a batch need no newer one.
};

class ListeningUdp final : public Sender {
 public:
  ListeningUdp(LocalUdpMemory& memory, forward::LocalDatagramsHandler& handler)
      : Sender(memory), handler_(handler) {}

  Status open(IoContext& io, const Address& at, UdpBuffers& buffers) {
    auto socket = UdpSocket::open(io, at, buffers, *this, local_options());
    if (!socket) return socket.error();
    socket_ = std::move(*socket);
    is_on_all_ = at.ip.is_unspecified();
    return {};
  }

  void send(const LocalEnds& to, ByteView datagram) override {
    CHECK(to.program.port != 0);
    gather(to.program, to.own, datagram);
  }

 private:
  void on_datagrams(std::span<const Received> batch, TimePoint now) override {
    now_ = now;
    for (const Received& received : batch) {
      if (received.from.port == 0) continue;  // Nobody to answer to.
      // A socket with one address needs not be told from which to answer.
      const LocalEnds from{received.from, is_on_all_ ? received.local : IpAddress()};
      handler_.on_datagrams(from, {received.datagrams, received.segment_bytes}, now);
    }
  }

  forward::LocalDatagramsHandler& handler_;
  bool is_on_all_ = false;
};

class ConnectedUdp final : public Sender {
 public:
  ConnectedUdp(IoContext& io, std::vector<Address> addresses, LocalUdpMemory& memory,
               forward::LocalDatagramsHandler& handler)
      : Sender(memory),
        io_(io),
        memory_(memory),
        handler_(handler),
        addresses_(std::move(addresses)),
        trouble_(io, [this](TimePoint now) { on_trouble(now); }) {}

  /// The next address for which the kernel has a way.
  Status open_next() {
    std::error_code error = std::make_error_code(std::errc::network_unreachable);
    while (next_ < addresses_.size()) {
      UdpOptions options = local_options();
      options.peer = addresses_[next_++];
      const IpAddress any = options.peer->ip.is_v4() ? IpAddress::any_v4() : IpAddress::any_v6();
      auto socket = UdpSocket::open(io_, {any, 0}, memory_.buffers(), *this, std::move(options));
      if (socket) {
        socket_ = std::move(*socket);
        to_.ip = any;
        return {};
      }
      error = socket.error();
    }
    return error;
  }

  void send(const LocalEnds&, ByteView datagram) override {
    if (may_go_on() && sent_.size() < kResentMax) sent_.push_back(to_bytes(datagram));
    gather(to_, {}, datagram);
  }

 private:
  bool may_go_on() const { return !has_answer_ && next_ < addresses_.size(); }

  void on_datagrams(std::span<const Received> batch, TimePoint now) override {
    now_ = now;
    if (!std::exchange(has_answer_, true)) std::vector<Bytes>().swap(sent_);
    for (const Received& received : batch) {
      handler_.on_datagrams({received.from, {}}, {received.datagrams, received.segment_bytes}, now);
    }
  }
  void on_refused(std::error_code error) override {
    failed_ = error;
    trouble_.request();  // The socket is calling: it cannot be replaced now.
  }

  void on_trouble(TimePoint now) {
    now_ = now;
    const std::error_code error = std::exchange(failed_, {});
    if (!error) return;
    if (!may_go_on() || !open_next()) return handler_.on_failed(error, now);
    const std::vector<Bytes> again = may_go_on() ? sent_ : std::exchange(sent_, {});
    for (const Bytes& datagram : again) gather(to_, {}, datagram);
    flush(now);
  }

  IoContext& io_;
  LocalUdpMemory& memory_;
  forward::LocalDatagramsHandler& handler_;
  const std::vector<Address> addresses_;
  std::size_t next_ = 0;
  Address to_;  ///< Of the socket's family, without a port: the socket knows.
  bool has_answer_ = false;
  std::vector<Bytes> sent_;  ///< While there is another address to send it to.
  std::error_code failed_;
  Deferred trouble_;
};

}  // namespace

std::unique_ptr<LocalUdpMemory::Gathered> LocalUdpMemory::take() {
  if (free_.empty()) return std::make_unique<Gathered>();
  auto gathered = std::move(free_.back());
  free_.pop_back();
  return gathered;
}

void LocalUdpMemory::give(std::unique_ptr<Gathered> gathered) {
  if (free_.size() == kKeptMax) return;
  gathered->used = 0;
  gathered->outgoing.clear();
  free_.push_back(std::move(gathered));
}

Result<std::unique_ptr<forward::LocalDatagrams>> listen_local_udp(
    IoContext& io, const Address& at, LocalUdpMemory& memory,
    forward::LocalDatagramsHandler& handler) {
  auto listening = std::make_unique<ListeningUdp>(memory, handler);
  const Status opened = listening->open(io, at, memory.buffers());
  if (!opened) return opened.error();
  return std::unique_ptr<forward::LocalDatagrams>(std::move(listening));
}

Result<std::unique_ptr<forward::LocalDatagrams>> connect_local_udp(
    IoContext& io, std::vector<Address> addresses, LocalUdpMemory& memory,
    forward::LocalDatagramsHandler& handler) {
  auto connected = std::make_unique<ConnectedUdp>(io, std::move(addresses), memory, handler);
  const Status opened = connected->open_next();
  if (!opened) return opened.error();
  return std::unique_ptr<forward::LocalDatagrams>(std::move(connected));
}

}  // namespace openp2p::net
