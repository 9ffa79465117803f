#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "agent/node_context.h"
#include "agent/peer_datagrams.h"
#include "agent/peer_link.h"
#include "forward/accept_policy.h"
#include "forward/flow.h"

/// What this node does for its peers: streams that they open here. A connection to a destination
/// that the policy allows, by TCP or UDP, or an echo.
namespace openp2p::agent {

class PeerServices {
 public:
  /// Streams of all peers together; a peer alone may have as many as QUIC grants it.
  static constexpr std::size_t kStreamsMax = 8'192;
  static constexpr Duration kDialTimeout = std::chrono::seconds(10);

  /// UDP flows of all peers: each has a socket.
  static constexpr std::size_t kUdpFlowsMax = 4'096;
  static constexpr Duration kIdleLookPause = std::chrono::minutes(1);

  PeerServices(NodeContext& context, forward::BufferPool& buffers, PeerDatagrams& datagrams);
  ~PeerServices();

  void set_policy(forward::AcceptPolicy policy) { policy_ = std::move(policy); }
  const forward::AcceptPolicy& policy() const { return policy_; }
  /// Takes streams that begin with forward::StreamKind::kRelay, from that byte on. nullptr:
  /// refused, and reset.
  using TakeRelay = std::function<forward::StreamUser*(session::Session&, session::StreamId)>;
  void set_relay(TakeRelay take_relay) { take_relay_ = std::move(take_relay); }
  void on_peer_stream(PeerLink& peer, session::StreamId id);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const { return idle_look_at_; }
  /// Destroys what finished; called between inputs, never from inside a callback.
  void sweep();
  std::size_t stream_count() const { return streams_.size(); }

  class IncomingStream;  ///< One stream, from its first byte to its end.

 private:
  friend class IncomingStream;
  void look_for_idle();

  NodeContext& context_;
  forward::BufferPool& buffers_;
  PeerDatagrams& datagrams_;
  forward::AcceptPolicy policy_;
  TakeRelay take_relay_;
  std::list<std::unique_ptr<IncomingStream>> streams_;
  bool has_finished_ = false;
  std::size_t udp_flows_ = 0;
  std::optional<TimePoint> idle_look_at_;
};

}  // namespace openp2p::agent
