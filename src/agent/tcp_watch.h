#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "nat/nat_profile.h"
#include "nat/stun_message.h"
#include "path/socket_source.h"

namespace openp2p::agent {

/// The mapping of the node's TCP port: learned by one connection to each of a few STUN services,
/// all from that port (RFC 8489 section 6.2.2: one request, TCP repeats it), and kept alive by one
/// of them while it is held. Of a NAT that counts ports, a connection from a new port shows the
/// newest one whenever it comes to be held. With nothing measured or held it has no connection and
/// no timer.
///
/// Sockets are closed by on_timeout() alone, never from inside what the Node hands on about them.
/// Threading: one owner.
class TcpWatch {
 public:
  /// A connection and its answer: three copies of a SYN (1, 3 and 7 s, RFC 6298).
  static constexpr Duration kPatience = std::chrono::seconds(6);
  /// RFC 5382 REQ-5 grants hours, devices often minutes.
  static constexpr Duration kKeepAlive = std::chrono::minutes(2);
  static constexpr Duration kRetryFirst = std::chrono::seconds(2);
  static constexpr Duration kRetryMax = std::chrono::minutes(5);
  /// Other port, other address: as for UDP. Three mappings.
  static constexpr std::size_t kConnectionsMax = 3;
  /// Who holds a mapping waits for it: of so many SYNs one is not lost.
  static constexpr std::size_t kReopenedMax = 2;

  TcpWatch(NodeContext& context, path::SocketSource& sockets, std::function<void()> on_changed);
  ~TcpWatch();
  TcpWatch(const TcpWatch&) = delete;
  TcpWatch& operator=(const TcpWatch&) = delete;

  /// Connects to all of `servers`, from `port`, and tells on_changed soon after the first answer,
  /// and once all are answered or given up. What was open before is closed.
  void measure(const std::vector<Address>& servers, std::uint16_t port);
  void set_held(bool is_held);  ///< Whether to keep a connection open, or to open one.

  bool is_measuring() const { return is_measuring_; }
  bool is_answered() const;  ///< By the measurement that goes on, or the last one.
  const nat::NatProfile& profile() const { return profile_; }  ///< By as many as have answered.
  /// Of the held connection: the mapping that lives now.
  std::optional<Address> mapped() const;
  std::vector<std::string> evidence() const;

  bool on_connected(SocketId socket);
  bool on_disconnected(SocketId socket);
  bool on_stun(SocketId socket, const Address& from, ByteView datagram);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

 private:
  enum class Stage { kConnecting, kAsked, kAnswered, kFailed };
  struct Connection {
    Address remote;
    std::optional<SocketId> socket;
    Stage stage = Stage::kConnecting;
    nat::TransactionId asked;
    std::optional<Address> mapped;
    TimePoint due_at;  ///< Given up, or asked again to keep it alive.
  };

  void begin();
  Connection connect(const Address& remote, std::uint16_t port);
  Connection* find(SocketId socket);
  Connection* live();
  const Connection* live() const;
  void ask(Connection& connection);
  void fail(Connection& connection);
  void drop(Connection& connection);
  bool is_settled() const;
  void settle();
  void tell_early();
  void conclude();
  void keep_or_drop();
  void take_newest(const Address& mapped);
  bool is_counted() const;  ///< The NAT takes ports one after another: only its newest one counts.
  void reopen();

  NodeContext& context_;
  path::SocketSource& sockets_;
  std::function<void()> on_changed_;
  std::vector<Address> servers_;
  std::uint16_t port_ = 0;
  std::vector<Connection> connections_;
  std::vector<SocketId> closing_;
  bool is_measuring_ = false;
  bool is_begun_ = false;  ///< The measurement: once what was open before is closed.
  bool is_held_ = false;
  std::optional<TimePoint> tell_at_;  ///< What has answered until then is told.
  TimePoint begun_at_;
  std::optional<TimePoint> reopen_at_;
  Duration retry_{};
  std::size_t next_server_ = 0;
  nat::NatProfile profile_;
  std::vector<Connection> measured_;  ///< As they were when last told of, or ended.
};

}  // namespace openp2p::agent
