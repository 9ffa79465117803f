#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "agent/node_context.h"
#include "agent/peer_link.h"
#include "forward/accept_policy.h"
#include "forward/flow.h"

/// What this node does for its peers: streams that they open here. A connection to a destination
/// that the policy allows, or an echo.
namespace openp2p::agent {

class PeerServices {
 public:
  /// Streams of all peers together; a peer alone may have as many as QUIC grants it.
  static constexpr std::size_t kStreamsMax = 8'192;
  static constexpr Duration kDialTimeout = std::chrono::seconds(10);

  PeerServices(NodeContext& context, forward::BufferPool& buffers);
  ~PeerServices();

  void set_policy(forward::AcceptPolicy policy) { policy_ = std::move(policy); }
  const forward::AcceptPolicy& policy() const { return policy_; }
  void on_peer_stream(PeerLink& peer, session::StreamId id);
  /// Destroys what finished; called between inputs, never from inside a callback.
  void sweep();
  std::size_t stream_count() const { return streams_.size(); }

  class IncomingStream;  ///< One stream, from its first byte to its end.

 private:
  friend class IncomingStream;
  NodeContext& context_;
  forward::BufferPool& buffers_;
  forward::AcceptPolicy policy_;
  std::list<std::unique_ptr<IncomingStream>> streams_;
  bool has_finished_ = false;
};

}  // namespace openp2p::agent
