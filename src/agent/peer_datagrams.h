#pragma once

#include <map>
#include <memory>
#include <optional>

#include "agent/node_context.h"
#include "agent/peer_link.h"
#include "base/ids.h"
#include "forward/sealed_flows.h"

namespace openp2p::agent {

/// The UDP flows of all peers: of each session those that this node opened, and those that the peer
/// opened here. Threading: one owner, the Node, which tells of sessions before anybody uses them.
class PeerDatagrams {
 public:
  explicit PeerDatagrams(NodeContext& context) : context_(context) {}

  void on_session_up(PeerLink& peer);
  void on_session_down(const PeerLink& peer);  ///< After the streams' users have heard of it.
  void on_batch_end(const PeerLink& peer);
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  /// nullptr: there is no session.
  forward::SealedFlows* of(const PeerLink& peer);

 private:
  NodeContext& context_;
  std::map<NodeId, std::unique_ptr<forward::SealedFlows>> sessions_;
};

}  // namespace openp2p::agent
