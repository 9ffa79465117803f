#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <system_error>

#include "agent/node_context.h"
#include "nat/throttle_probe.h"
#include "path/connection_handler.h"

namespace openp2p::agent {

/// A nat::ThrottleProbe on fresh sockets of the platform: a UDP one, and a TCP connection that is
/// opened first. Threading: one owner. `on_done` comes from the platform, and may not destroy this
/// from inside.
class ThrottleCheck final : private path::ConnectionHandler {
 public:
  /// For the connection; without one nothing is measured.
  static constexpr Duration kConnectPatience = std::chrono::seconds(4);

  ThrottleCheck(NodeContext& context, const Address& server, std::function<void()> on_done);
  ~ThrottleCheck() override;
  ThrottleCheck(const ThrottleCheck&) = delete;
  ThrottleCheck& operator=(const ThrottleCheck&) = delete;

  bool start();  ///< False: this machine gives no sockets.
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return is_done_; }
  /// Requires is_done(). nullopt: no connection came to be.
  std::optional<nat::ThrottleReport> report() const;

 private:
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override;
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override;
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override;
  void pump();
  void finish();

  NodeContext& context_;
  const Address server_;
  std::function<void()> on_done_;
  std::unique_ptr<Platform::DatagramSocket> udp_;
  std::unique_ptr<Platform::ConnectionPort> port_;
  std::optional<SocketId> stream_;
  std::optional<nat::ThrottleProbe> probe_;
  bool is_done_ = false;
};

}  // namespace openp2p::agent
