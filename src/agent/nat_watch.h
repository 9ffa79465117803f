#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "path/candidate.h"
#include "path/method.h"
#include "path/socket_source.h"

namespace openp2p::agent {

class StunLookup;
class TcpWatch;
class UdpSurvey;

/// Knows how the NAT in front of this node behaves, for UDP and TCP over IPv4, and keeps knowing
/// it: measures when it learns the STUN services, when the network changed, and when the server
/// sees this node at another address than the measurement did. What it says is never final: a NAT
/// may treat the next destination differently.
///
/// UDP: a MappingSurvey on a few fresh sockets (two round trips) gives mapping and ports; then, in
/// the background, BehaviourDiscovery on another one gives filtering and whether unsolicited
/// datagrams spoil mappings. TCP: connections from the node's TCP port to the same services, each
/// with one Binding request. Where TCP is answered and UDP is not, UDP is blocked.
/// At most 20 mappings in all. When nothing is measured or held it has no timer and sends nothing.
/// Threading: one owner, the Node; callbacks come from inside its calls and the platform's.
class NatWatch {
 public:
  struct Options {
    path::SocketSource* sockets = nullptr;  ///< For TCP; nullptr: there is none. Outlives this.
    std::function<void()> on_changed;       ///< profile() or tcp_reflexive() are others now.
  };
  NatWatch(NodeContext& context, Options options);
  ~NatWatch();

  /// "address:port" or "name:port", as the server told them. Measures if they are new.
  void set_stun_servers(const std::vector<std::string>& stun_servers);
  /// Of SocketSource::listen_tcp(): outgoing connections leave from it. 0: no TCP.
  void set_tcp_port(std::uint16_t port);
  /// This node's address as the server sees the session with it, over `transport`.
  void on_observed(const Address& address, path::Transport transport);
  /// The session with the server has come to a path of this kind.
  void on_server_path(path::Transport transport);
  void on_network_changed();

  const path::SideProfile& profile() const { return profile_; }  ///< `methods`: all.
  bool is_measuring() const;
  /// Makes last_port of a sequential NAT fresh, in one round trip; `done` comes from inside where
  /// there is nothing to refresh, and after kRefreshMax where nothing answers.
  void refresh(std::function<void()> done);
  /// What is known may be wrong: measures again, unless it did within kGapMin.
  void doubt();
  static constexpr Duration kRefreshMax = std::chrono::milliseconds(600);
  /// So many wait for one answer; more are told at once, with what is known.
  static constexpr std::size_t kRefreshesMax = 64;

  /// While at least one holder needs TCP, and while UDP is blocked, a connection keeps the mapping
  /// of the TCP port; tcp_reflexive() has it as soon as it is known.
  void hold_tcp();
  void release_tcp();  ///< Once for each hold_tcp().
  std::vector<path::Candidate> tcp_reflexive() const;

  // What the Node gets for sockets; true: it was this one's.
  bool on_connected(SocketId socket, const Address& remote);
  bool on_disconnected(SocketId socket);
  bool on_stun(SocketId socket, const Address& from, ByteView datagram);

  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  std::vector<std::string> evidence() const;  ///< Of the last measurements, a line each.

 private:
  /// Interfaces come up in several steps, which are one change: after the last, but not for ever.
  static constexpr Duration kSettleTime = std::chrono::milliseconds(150);
  static constexpr Duration kSettleMax = std::chrono::milliseconds(400);
  /// Between measurements for any reason but that: a server that reports other addresses all the
  /// time costs some 25 datagrams each time.
  static constexpr Duration kGapMin = std::chrono::seconds(5);
  /// An attempt that begins later than this has it measured again, in parallel.
  static constexpr Duration kStaleAfter = std::chrono::minutes(10);
  static constexpr Duration kStaleAfterFailure = std::chrono::seconds(30);

  void measure_soon(Duration delay);
  void measure_if_stale();
  void measure_if_older(Duration age);
  void begin();
  void on_servers_found(std::vector<Address> found);
  void conclude();
  void take_udp(path::SideProfile& next);
  bool is_udp_overdue() const;
  bool is_tcp_answered() const;
  void on_refreshed();
  void finish_refresh();
  void retire(std::unique_ptr<UdpSurvey>& survey);
  void update_hold();

  NodeContext& context_;
  const Options options_;
  std::vector<std::string> stun_servers_;
  std::vector<Address> servers_;  ///< Found under them: IPv4.
  std::uint16_t tcp_port_ = 0;
  path::SideProfile profile_;
  std::vector<path::Candidate> told_tcp_;  ///< tcp_reflexive() when on_changed was called last.
  std::optional<Address> observed_udp_;
  bool is_udp_proven_ = false;  ///< The server's session goes over it.
  bool is_server_over_tcp_ = false;
  std::optional<TimePoint> measure_at_;
  std::optional<TimePoint> begun_at_;
  std::optional<TimePoint> moved_at_;  ///< The network changed, for the first time in a while.
  bool is_looking_up_ = false;
  bool is_udp_silent_ = false;  ///< The last survey had no answer.
  std::vector<std::string> udp_evidence_;
  std::unique_ptr<StunLookup> lookup_;
  std::unique_ptr<UdpSurvey> udp_;
  std::unique_ptr<UdpSurvey> refreshing_;
  std::vector<std::unique_ptr<UdpSurvey>> retired_;  ///< Until none of their callbacks runs.
  std::unique_ptr<TcpWatch> tcp_;
  std::vector<std::function<void()>> refreshes_;
  TimePoint refreshed_by_;
  unsigned holders_ = 0;
};

}  // namespace openp2p::agent
