// What a node knows of its peers beyond the server's word: kept on disk, and used while no server
// is there.

#include <algorithm>

#include "agent/node.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kStoreAfter = 5s;   ///< What changes often changes together.
constexpr Duration kStoreEvery = 60s;  ///< At most: the file may be megabytes.

}  // namespace

/// Until a server tells otherwise, the members are those of the last time; nobody says they are
/// online.
void Node::recall_peers() {
  for (const KnownPeer& known : cache_.peers()) {
    NodeRecord record;
    record.id = known.id;
    record.name = known.name;
    record.incarnation = known.incarnation;
    record.version = known.version;
    record.platform = known.platform;
    peers_.emplace(known.id, std::make_unique<PeerLink>(context_, *this, record));
  }
}

/// Where a peer outside sees this node: all that a node knows that has met no server.
std::optional<Address> Node::reflexive_by_peers() const {
  for (PeerLink* peer : connected_nodes()) {
    const auto path = peer->session()->path();
    const bool is_outside = path && !path->remote.ip.is_private();
    const path::PathFinder* paths = peer->session()->paths();
    if (is_outside && paths != nullptr && paths->reflexive_v4()) return paths->reflexive_v4();
  }
  return std::nullopt;
}

void Node::note_own_ports() {
  OwnPorts ports;
  for (const Socket& socket : sockets_) {
    (socket.local.ip.is_v4() ? ports.v4 : ports.v6) = socket.local.port;
  }
  cache_.set_own_ports(ports);
  store_peers_soon();
}

void Node::store_peers_soon() {
  if (!store_at_ && cache_.is_changed()) {
    store_at_ = std::max(context_.now + kStoreAfter, stored_at_ + kStoreEvery);
  }
}

void Node::store_peers() {
  store_at_.reset();
  if (!cache_.take_change()) return;
  stored_at_ = context_.now;
  memory_.store_peers(cache_.encode());
}

std::vector<PeerLink*> Node::connected_nodes() const {
  std::vector<PeerLink*> nodes;
  for (const auto& [id, peer] : peers_) {
    if (peer->has_direct() && peer->session() != nullptr) nodes.push_back(peer.get());
  }
  return nodes;
}

void Node::on_peer_signal(const PeerSignal& signal, ByteView bytes,
                          std::optional<Address> seen_at) {
  const auto found = peers_.find(signal.from);
  if (found == peers_.end()) return;
  cache_.on_signal(signal, bytes);
  store_peers_soon();
  found->second->on_signal(signal, seen_at);
}

void Node::on_peer_path(PeerLink& peer) {
  relaying_.on_peer_path(peer);
  cache_.set_history(endpoint_->method_history());
  store_peers_soon();
  note_path(peer);
}

/// Addresses of a path from a main socket outlive the session: the peer's main socket is there.
void Node::note_path(const PeerLink& peer) {
  if (!peer.has_direct() || peer.state() != PeerLink::State::kConnected) return;
  const auto path = peer.session()->path();
  const bool is_main =
      path && std::ranges::find(sockets_, path->socket, &Socket::id) != sockets_.end();
  if (!is_main) return;
  cache_.on_proven(peer.record().id, path->remote);
  store_peers_soon();
}

}  // namespace openp2p::agent
