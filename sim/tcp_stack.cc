#include "sim/tcp_stack.h"

#include <algorithm>

#include "base/check.h"
#include "sim/host.h"

namespace openp2p::sim {

World& TcpStack::world() const { return host_.world(); }

TimePoint TcpStack::host_time() const { return host_.now(); }

bool TcpStack::listen(std::uint16_t port, Family family, AcceptHandler accept) {
  return listeners_.try_emplace({any_of(family), port}, std::move(accept)).second;
}

void TcpStack::stop_listening(std::uint16_t port, Family family) {
  if (listeners_.erase({any_of(family), port}) == 0) return;
  std::vector<TcpConnection*> unaccepted;
  for (const auto& [ends, connection] : active_) {
    if (ends.first.port == port && family_of(ends.first.ip) == family && connection->is_passive_ &&
        connection->state_ == TcpConnection::State::kSynReceived) {
      unaccepted.push_back(connection);
    }
  }
  for (TcpConnection* connection : unaccepted) connection->abort();
}

std::uint16_t TcpStack::free_port() {
  const auto is_used = [this](std::uint16_t port) {
    for (const Family family : {Family::kV4, Family::kV6}) {
      if (listeners_.contains({any_of(family), port})) return true;
    }
    return std::ranges::any_of(
        active_, [port](const auto& entry) { return entry.first.first.port == port; });
  };
  return pick_ephemeral_port(random_, is_used);
}

Result<TcpConnection*> TcpStack::connect(const Address& remote, const ConnectOptions& options) {
  auto source = host_.source_for(remote.ip);
  if (source && options.source) source = options.source;
  if (!source || remote.port == 0) return make_error_code(std::errc::network_unreachable);
  const Address local{*source, options.local_port == 0 ? free_port() : options.local_port};
  if (active_.contains({local, remote})) return make_error_code(std::errc::address_in_use);
  TcpConnection& connection = make(local, remote, options.send_buffer_bytes);
  connection.open(options.timeout);
  return &connection;
}

TcpConnection& TcpStack::make(const Address& local, const Address& remote,
                              std::size_t send_buffer_bytes) {
  const auto initial_sequence = static_cast<std::uint32_t>(random_.next());
  connections_.push_back(std::make_unique<TcpConnection>(
      *this, host_.new_socket_id(), local, remote, initial_sequence, send_buffer_bytes));
  active_[{local, remote}] = connections_.back().get();
  return *connections_.back();
}

void TcpStack::on_segment(const Packet& packet) {
  const auto connection = active_.find({packet.to, packet.from});
  if (connection != active_.end()) {
    return connection->second->on_segment(packet.tcp, packet.payload.view());
  }
  const auto listener = listeners_.find({any_of(family_of(packet.to.ip)), packet.to.port});
  const bool is_opening = packet.tcp.is_syn && !packet.tcp.is_ack && !packet.tcp.is_rst;
  if (listener != listeners_.end() && is_opening) return accept(packet, listener->second);
  if (host_.is_stealthy()) return;
  if (auto reset = Packet::reset_for(packet)) host_.transmit(std::move(*reset));
}

void TcpStack::accept(const Packet& syn, const AcceptHandler& handler) {
  TcpConnection& connection = make(syn.to, syn.from, kSendBufferBytes);
  connection.on_connected([&connection, handler](TimePoint now) { handler(connection, now); });
  connection.accept(syn.tcp);
}

void TcpStack::on_icmp(const IcmpError& error) {
  const auto connection = active_.find({error.from, error.to});
  if (connection != active_.end()) connection->second->on_icmp(error);
}

void TcpStack::send(const TcpConnection& connection, const TcpHeader& header, ByteView bytes) {
  Packet packet;
  packet.protocol = Protocol::kTcp;
  packet.from = connection.local();
  packet.to = connection.remote();
  packet.tcp = header;
  packet.payload = world().buffers().copy(bytes);
  host_.transmit(std::move(packet));
}

void TcpStack::release(const TcpConnection& connection) {
  active_.erase({connection.local(), connection.remote()});
}

std::size_t TcpStack::mss(const TcpConnection& connection) const {
  const std::size_t headers = tcp_header_bytes(family_of(connection.remote().ip));
  const std::size_t mtu = host_.mtu_towards(connection.remote().ip, connection.local().ip);
  CHECK(mtu > headers);
  return std::min<std::size_t>(mtu - headers, UINT16_MAX);
}

}  // namespace openp2p::sim
