#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/peer_datagrams.h"
#include "agent/peer_link.h"
#include "forward/flow.h"

/// This node's forwards: ports that listen here, each carried to a peer's host and port.
///
/// A port listens at once, before any peer is reachable. A connection made meanwhile waits, at most
/// kPatience, and is then reset; the forward's status says why. Datagrams wait likewise, a bounded
/// number for each program that sends them (udp_clients.h).
namespace openp2p::agent {

class Forwards {
 public:
  /// Long enough for a peer that just woke up to join and be found; shorter than what makes people
  /// think that a program hangs.
  static constexpr Duration kPatience = std::chrono::seconds(30);
  static constexpr Duration kListenRetry = std::chrono::seconds(5);
  static constexpr std::size_t kWaitingMax = 512;        ///< A forward; more are reset at once.
  static constexpr std::size_t kConnectionsMax = 4'096;  ///< A forward.

  /// Finds the link to a peer by its name or id; nullptr with a reason where there is none.
  using FindPeer = std::function<PeerLink*(const std::string& peer, std::string& reason)>;

  Forwards(NodeContext& context, forward::BufferPool& buffers, PeerDatagrams& datagrams,
           FindPeer find_peer);
  ~Forwards();

  void add(const ForwardSpec& spec);  ///< The name is not in use.
  void remove(std::string_view name);
  void set_enabled(std::string_view name, bool enabled);
  bool contains(std::string_view name) const;
  std::vector<ForwardSpec> specs() const;
  std::vector<ForwardStatus> status() const;
  std::size_t size() const { return forwards_.size(); }
  std::size_t listening_sockets() const;  ///< Of all forwards, disabled ones too.

  bool needs(const PeerLink& peer) const;  ///< An enabled forward leads to it.
  void on_session_up(PeerLink& peer);
  void on_session_down(PeerLink& peer, const std::string& reason);
  void on_batch_end(PeerLink& peer);  ///< It may grant streams that connections wait for.
  void on_peers_changed();            ///< A name may mean a peer now.
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();  ///< As PeerServices::sweep().
  void stop();

  class Forward;
  class Connection;

 private:
  friend class Forward;
  friend class Connection;
  NodeContext& context_;
  forward::BufferPool& buffers_;
  PeerDatagrams& datagrams_;
  FindPeer find_peer_;
  std::map<std::string, std::unique_ptr<Forward>, std::less<>> forwards_;
  bool has_finished_ = false;
  bool lacks_streams_ = false;  ///< A connection waits although there is a session.
};

}  // namespace openp2p::agent
