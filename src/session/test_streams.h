#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "path/socket_source.h"
#include "session/endpoint.h"
#include "sim/world.h"

/// TCP connections in memory and in virtual time, for tests of what uses them: who reaches whom is
/// decided as by NATs with endpoint-independent mapping and port-dependent filtering; what is sent
/// arrives whole, in order, and late by one delay.
namespace openp2p::session {

class StreamNet;

/// Where a TestParty gets its TCP connections.
class TestStreams : public path::SocketSource {
 public:
  virtual bool is_stream(SocketId socket) const = 0;  ///< Now or before.
  virtual void send(SocketId socket, ByteView datagrams, std::size_t segment_bytes) = 0;

  /// Called when something came for `endpoint`, which is then to be polled.
  std::function<void()> poke;
  Endpoint* endpoint = nullptr;
  std::uint64_t connects = 0;
};

/// One party's part: its address as the others see it, and its connections.
class StreamHost final : public TestStreams {
 public:
  StreamHost(StreamNet& net, const Address& external, bool is_filtered)
      : net_(net), external_(external), is_filtered_(is_filtered) {}

  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override;
  std::uint16_t listen_tcp() override { return external_.port; }
  void close(SocketId socket) override;

  bool is_stream(SocketId socket) const override;
  void send(SocketId socket, ByteView datagrams, std::size_t segment_bytes) override;
  std::size_t open() const { return sockets_.size(); }

  const Address& external() const { return external_; }
  bool is_cut = false;  ///< Nothing passes, in either direction.

 private:
  friend class StreamNet;
  struct Socket {
    Address local;
    Address remote;
    StreamHost* peer = nullptr;  // nullptr: not up.
    SocketId peer_socket;
  };
  StreamNet& net_;
  const Address external_;
  const bool is_filtered_;
  std::map<SocketId, Socket> sockets_;
  std::map<Address, TimePoint> opened_;  // By our SYNs: who gets in through our NAT.
};

class StreamNet {
 public:
  explicit StreamNet(sim::World& world, Duration delay = std::chrono::milliseconds(10))
      : world_(world), delay_(delay) {}

  StreamHost& add_host(const Address& external, bool is_filtered) {
    hosts_.push_back(std::make_unique<StreamHost>(*this, external, is_filtered));
    return *hosts_.back();
  }
  static constexpr std::uint32_t kFirstSocket = 1'000'000;  ///< Above those of UDP.
  /// NATs answer SYNs that they do not let in.
  bool rejects = false;
  std::vector<std::unique_ptr<StreamHost>>& hosts() { return hosts_; }

 private:
  friend class StreamHost;
  static constexpr Duration kFilterLife = std::chrono::seconds(60);

  void after(Duration delay, std::function<void()> action) {
    world_.after(delay, [action = std::move(action)] { action(); });
  }
  void on_syn(StreamHost& from, SocketId socket);
  void come_up(StreamHost& host, SocketId socket, bool is_incoming);
  void fail(StreamHost& host, SocketId socket, std::errc why);
  StreamHost* host_at(const Address& address) {
    for (const auto& host : hosts_) {
      if (host->external_ == address) return host.get();
    }
    return nullptr;
  }

  sim::World& world_;
  const Duration delay_;
  std::uint32_t last_socket_ = kFirstSocket;
  std::uint16_t last_port_ = 50'000;
  std::vector<std::unique_ptr<StreamHost>> hosts_;
};

inline std::optional<SocketId> StreamHost::connect_tcp(const Address& remote,
                                                       std::uint16_t local_port, Duration timeout) {
  ++connects;
  const SocketId socket(++net_.last_socket_);
  const std::uint16_t port = local_port != 0 ? local_port : ++net_.last_port_;
  const Address local{external_.ip, port};
  for (const auto& [id, other] : sockets_) {
    if (other.local == local && other.remote == remote) return std::nullopt;
  }
  sockets_[socket] = {local, remote, nullptr, SocketId()};
  opened_[remote] = net_.world_.now();
  net_.after(net_.delay_, [this, socket] { net_.on_syn(*this, socket); });
  net_.after(timeout, [this, socket] {
    const auto found = sockets_.find(socket);
    if (found == sockets_.end() || found->second.peer != nullptr) return;
    net_.fail(*this, socket, std::errc::timed_out);
  });
  return socket;
}

inline bool StreamHost::is_stream(SocketId socket) const {
  return socket.value() > StreamNet::kFirstSocket;
}

inline void StreamHost::close(SocketId socket) {
  const auto found = sockets_.find(socket);
  if (found == sockets_.end()) return;
  const Socket closed = found->second;
  sockets_.erase(found);
  if (closed.peer == nullptr || is_cut) return;
  net_.after(net_.delay_, [this, closed] {
    net_.fail(*closed.peer, closed.peer_socket, std::errc::connection_reset);
  });
}

inline void StreamHost::send(SocketId socket, ByteView datagrams, std::size_t segment_bytes) {
  const auto found = sockets_.find(socket);
  if (found == sockets_.end() || found->second.peer == nullptr || is_cut) return;
  const Socket from = found->second;
  net_.after(net_.delay_, [from, bytes = to_bytes(datagrams), segment_bytes, this] {
    StreamHost& to = *from.peer;
    if (!to.sockets_.contains(from.peer_socket) || to.is_cut || to.endpoint == nullptr) return;
    to.endpoint->on_datagrams(from.peer_socket, to.sockets_[from.peer_socket].remote, bytes,
                              segment_bytes, net_.world_.now());
    to.poke();
  });
}

/// Ids differ, so a SYN of a socket that was closed meanwhile counts for nothing.
inline void StreamNet::on_syn(StreamHost& from, SocketId socket) {
  const auto found = from.sockets_.find(socket);
  if (found == from.sockets_.end() || found->second.peer != nullptr || from.is_cut) return;
  StreamHost::Socket& syn = found->second;
  StreamHost* to = host_at(syn.remote);
  if (to == nullptr || to->is_cut) return;
  const auto opened = to->opened_.find(syn.local);
  const bool is_let_in = !to->is_filtered_ || (opened != to->opened_.end() &&
                                               world_.now() - opened->second < kFilterLife);
  if (!is_let_in) {
    if (!rejects) return;
    return after(delay_,
                 [this, &from, socket] { fail(from, socket, std::errc::connection_refused); });
  }
  SocketId answer;
  for (const auto& [id, other] : to->sockets_) {  // RFC 9293 section 3.5: both connect.
    if (other.local == syn.remote && other.remote == syn.local && other.peer == nullptr)
      answer = id;
  }
  const bool is_incoming = answer == SocketId();
  if (is_incoming) answer = SocketId(++last_socket_);
  to->sockets_[answer] = {syn.remote, syn.local, &from, socket};
  syn.peer = to;
  syn.peer_socket = answer;
  after(delay_, [this, &from, socket] { come_up(from, socket, /*is_incoming=*/false); });
  after(2 * delay_, [this, to, answer, is_incoming] { come_up(*to, answer, is_incoming); });
}

inline void StreamNet::come_up(StreamHost& host, SocketId socket, bool is_incoming) {
  const auto found = host.sockets_.find(socket);
  if (found == host.sockets_.end() || host.endpoint == nullptr) return;
  host.endpoint->on_connected(socket, found->second.local, found->second.remote, is_incoming,
                              world_.now());
  host.poke();
}

inline void StreamNet::fail(StreamHost& host, SocketId socket, std::errc why) {
  if (host.sockets_.erase(socket) == 0 || host.endpoint == nullptr) return;
  host.endpoint->on_disconnected(socket, std::make_error_code(why), world_.now());
  host.poke();
}

/// An Endpoint for sim::Driver whose datagrams over connections go to a TestStreams.
class EndpointOverBoth {
 public:
  EndpointOverBoth(Endpoint& endpoint, TestStreams* streams)
      : endpoint_(endpoint), streams_(streams) {}

  void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                    std::size_t segment_bytes, TimePoint now) {
    if (is_udp_cut) return;
    endpoint_.on_datagrams(socket, from, datagrams, segment_bytes, now);
  }
  void on_timeout(TimePoint now) { endpoint_.on_timeout(now); }
  std::optional<TimePoint> next_timeout() const { return endpoint_.next_timeout(); }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint now) {
    for (;;) {
      const auto transmit = endpoint_.poll_transmit(out, now);
      if (!transmit) return std::nullopt;
      if (tap) tap(out.first(transmit->bytes));
      const bool is_udp = streams_ == nullptr || !streams_->is_stream(transmit->socket);
      if (is_udp && !is_udp_cut) return transmit;
      if (is_udp) continue;
      streams_->send(transmit->socket, out.first(transmit->bytes), transmit->segment_bytes);
    }
  }

  std::function<void(ByteView)> tap;  ///< Sees what is sent.
  bool is_udp_cut = false;            ///< Nothing passes, in either direction.

 private:
  Endpoint& endpoint_;
  TestStreams* streams_;
};

}  // namespace openp2p::session
