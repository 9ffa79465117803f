#include "sim/framed_sockets.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::sim {

FramedSockets::~FramedSockets() {
  for (const std::uint16_t port : ports_) {
    for (const Family family : {Family::kV4, Family::kV6}) {
      host_.tcp().stop_listening(port, family);
    }
  }
  while (!entries_.empty()) close(entries_.begin()->first);
  host_.world().cancel(sweep_);
}

std::uint16_t FramedSockets::listen(std::uint16_t port) {
  if (port == 0) port = host_.tcp().free_port();
  const auto accepts = [this](TcpConnection& connection, TimePoint now) {
    accept(connection, now);
  };
  if (!host_.tcp().listen(port, Family::kV4, accepts)) return 0;
  if (!host_.tcp().listen(port, Family::kV6, accepts)) {
    host_.tcp().stop_listening(port, Family::kV4);
    return 0;
  }
  ports_.push_back(port);
  return port;
}

std::optional<SocketId> FramedSockets::connect(const Address& remote, std::uint16_t local_port,
                                               Duration timeout, std::optional<IpAddress> source) {
  if (entries_.size() >= kConnectionsMax) return std::nullopt;
  const auto connection =
      host_.tcp().connect(remote, {.local_port = local_port, .source = source, .timeout = timeout});
  if (connection) return add(**connection);
  if (connection.error() == std::errc::address_in_use) return std::nullopt;
  return add_failed(connection.error());
}

SocketId FramedSockets::add_failed(std::error_code why) {
  const SocketId id = host_.new_socket_id();
  auto entry = std::make_unique<Entry>();
  entry->failure =
      host_.world().after(Duration::zero(), [this, id, why] { fail(id, why, host_.now()); });
  entries_.emplace(id, std::move(entry));
  return id;
}

SocketId FramedSockets::add(TcpConnection& connection) {
  const SocketId id = connection.id();
  Entry& entry = *entries_.emplace(id, std::make_unique<Entry>()).first->second;
  entry.connection = &connection;
  connection.on_connected([this, &connection](TimePoint now) {
    handler_.on_connected(connection.id(), connection.local(), connection.remote(),
                          /*is_incoming=*/false, now);
  });
  connection.on_data(
      [this, id, &entry](ByteView bytes, TimePoint now) { on_data(id, entry, bytes, now); });
  connection.on_end(
      [this, id](TimePoint now) { fail(id, std::make_error_code(std::errc::broken_pipe), now); });
  connection.on_closed([this, id](std::error_code why, TimePoint now) {
    fail(id, why ? why : std::make_error_code(std::errc::broken_pipe), now);
  });
  return id;
}

void FramedSockets::accept(TcpConnection& connection, TimePoint now) {
  if (entries_.size() >= kConnectionsMax) return connection.abort();
  const SocketId id = add(connection);
  handler_.on_connected(id, connection.local(), connection.remote(), /*is_incoming=*/true, now);
}

void FramedSockets::send(SocketId socket, const DatagramTrain& train) {
  const auto found = entries_.find(socket);
  if (found == entries_.end()) return;
  TcpConnection* connection = found->second->connection;
  std::size_t written = 0;
  if (connection != nullptr && connection->is_connected()) {
    const auto waiting_since = connection->unsent_since();
    if (!waiting_since || host_.world().now() - *waiting_since <= kQueueDelayMax) {
      Bytes frames(std::min(framed_bytes(train), connection->writable_bytes()));
      DatagramTrain left = train;
      frames.resize(write_datagram_frames(left, frames));  // Whole ones.
      written = frames.size();
      CHECK(connection->write(frames) == written);
    }
  }
  bytes_dropped_ += framed_bytes(train) - written;
}

void FramedSockets::on_data(SocketId socket, Entry& entry, ByteView bytes, TimePoint now) {
  Bytes copy = to_bytes(bytes);
  const Address remote = entry.connection->remote();
  MutableByteView data(copy);
  while (entry.is_open) {
    const auto train = entry.deframer.take(data);
    if (!train) return fail(socket, train.error(), now);
    if (!*train) return;
    handler_.on_datagrams(socket, remote, **train, now);
  }
}

void FramedSockets::fail(SocketId socket, std::error_code why, TimePoint now) {
  close(socket);
  handler_.on_disconnected(socket, why, now);
}

void FramedSockets::close(SocketId socket) {
  const auto found = entries_.find(socket);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  entry.is_open = false;
  host_.world().cancel(entry.failure);
  if (entry.connection != nullptr) {
    // As net::FramedStream: no TIME-WAIT where nothing is on its way.
    entry.connection->queued_bytes() == 0 ? entry.connection->abort() : entry.connection->close();
  }
  retired_.push_back(std::move(found->second));
  entries_.erase(found);
  if (host_.world().is_pending(sweep_)) return;
  sweep_ = host_.world().after(Duration::zero(), [this] { retired_.clear(); });
}

}  // namespace openp2p::sim
