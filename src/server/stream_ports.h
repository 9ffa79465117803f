#pragma once

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <vector>

#include "nat/stun_service.h"
#include "path/socket_source.h"

namespace openp2p::server {

/// Beside which UDP socket each TCP connection stands: the one of the port it came to. The STUN
/// service answers over a connection as it would have over that socket.
///
/// Passes the endpoint's wishes on to the driver, so that it sees connections go however they end.
/// Threading: one owner.
class StreamPorts final : public path::SocketSource {
 public:
  /// `driver` may be nullptr: then no connection ever comes. It outlives this object.
  StreamPorts(path::SocketSource* driver, std::vector<nat::StunSocket> sockets)
      : driver_(driver), sockets_(std::move(sockets)) {}

  void add(SocketId stream, const Address& local) {
    const auto serves = [&local](const nat::StunSocket& socket) {
      return socket.address.port == local.port && socket.address.ip.is_v4() == local.ip.is_v4() &&
             (socket.address.ip.is_unspecified() || socket.address.ip == local.ip);
    };
    const auto found = std::ranges::find_if(sockets_, serves);
    if (found != sockets_.end()) beside_.emplace(stream, found->id);
  }
  void remove(SocketId stream) { beside_.erase(stream); }
  std::optional<SocketId> find(SocketId stream) const {
    const auto found = beside_.find(stream);
    if (found == beside_.end()) return std::nullopt;
    return found->second;
  }
  path::SocketSource* source() { return driver_ == nullptr ? nullptr : this; }
  std::size_t size() const { return beside_.size(); }

  std::optional<Opened> open_udp(bool is_v4) override { return driver_->open_udp(is_v4); }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override {
    return driver_->connect_tcp(remote, local_port, timeout);
  }
  std::uint16_t listen_tcp() override { return driver_->listen_tcp(); }
  void close(SocketId socket) override {
    remove(socket);
    driver_->close(socket);
  }

 private:
  path::SocketSource* const driver_;
  const std::vector<nat::StunSocket> sockets_;
  std::unordered_map<SocketId, SocketId> beside_;
};

}  // namespace openp2p::server
