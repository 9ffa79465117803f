#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "session/test_streams.h"
#include "sim/host.h"
#include "wire/datagram_frame.h"

namespace openp2p::session {

/// The TCP connections of a simulated host, with its routers' NATs on the way: a listener, and
/// connections from and to its port. What does not fit into a connection's buffer is dropped.
class SimStreams final : public TestStreams {
 public:
  static constexpr std::size_t kSendBufferBytes = 64 << 10;

  SimStreams(sim::Host& host, std::uint16_t port) : host_(host), port_(port) {
    CHECK(host.tcp().listen(port, sim::Family::kV4,
                            [this](sim::TcpConnection& c, TimePoint) { accept(c); }));
  }
  ~SimStreams() override { host_.tcp().stop_listening(port_, sim::Family::kV4); }

  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override {
    ++connects;
    const auto connection = host_.tcp().connect(
        remote,
        {.local_port = local_port, .timeout = timeout, .send_buffer_bytes = kSendBufferBytes});
    if (!connection) return std::nullopt;
    add(**connection);
    (*connection)->on_connected([this, c = *connection](TimePoint now) {
      if (endpoint == nullptr) return;
      endpoint->on_connected(c->id(), c->local(), c->remote(), /*is_incoming=*/false, now);
      poke();
    });
    return (*connection)->id();
  }
  std::uint16_t listen_tcp() override { return port_; }
  void close(SocketId socket) override {
    const auto found = open_.find(socket);
    if (found == open_.end()) return;
    found->second.connection->close();
    open_.erase(found);
  }

  bool is_stream(SocketId socket) const override { return all_.contains(socket); }
  void send(SocketId socket, ByteView datagrams, std::size_t segment_bytes) override {
    const auto found = open_.find(socket);
    if (found == open_.end()) return;
    sim::TcpConnection& connection = *found->second.connection;
    DatagramTrain train{datagrams, segment_bytes == 0 ? datagrams.size() : segment_bytes};
    Bytes out(std::min(framed_bytes(train), connection.writable_bytes()));
    const std::size_t size = write_datagram_frames(train, out);
    CHECK(connection.write(ByteView(out).first(size)) == size);
  }
  std::size_t open() const { return open_.size(); }

 private:
  struct Open {
    sim::TcpConnection* connection;
    DatagramDeframer deframer;
  };

  void add(sim::TcpConnection& connection) {
    const SocketId id = connection.id();
    all_.insert(id);
    open_.emplace(id, Open{&connection, DatagramDeframer()});
    connection.on_data([this, id](ByteView bytes, TimePoint now) { on_data(id, bytes, now); });
    connection.on_end([this, id](TimePoint now) {
      close(id);
      end(id, {}, now);
    });
    connection.on_closed([this, id](std::error_code why, TimePoint now) {
      open_.erase(id);
      end(id, why, now);
    });
  }
  void accept(sim::TcpConnection& connection) {
    add(connection);
    if (endpoint == nullptr) return;
    endpoint->on_connected(connection.id(), connection.local(), connection.remote(),
                           /*is_incoming=*/true, host_.world().now());
    poke();
  }
  void end(SocketId id, std::error_code why, TimePoint now) {
    if (endpoint == nullptr) return;
    endpoint->on_disconnected(id, why, now);
    poke();
  }
  void on_data(SocketId id, ByteView bytes, TimePoint now) {
    Bytes copy = to_bytes(bytes);
    MutableByteView data(copy);
    for (;;) {
      const auto found = open_.find(id);
      if (found == open_.end() || endpoint == nullptr) return;
      const Address remote = found->second.connection->remote();
      const auto train = found->second.deframer.take(data);
      if (!train) return close(id);
      if (!*train) break;
      endpoint->on_datagrams(id, remote, (*train)->datagrams, (*train)->segment_bytes, now);
    }
    poke();
  }

  sim::Host& host_;
  const std::uint16_t port_;
  std::map<SocketId, Open> open_;
  std::set<SocketId> all_;
};

}  // namespace openp2p::session
