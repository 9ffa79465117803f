#include "agent/peer_datagrams.h"

namespace openp2p::agent {

void PeerDatagrams::on_session_up(PeerLink& peer) {
  sessions_[peer.record().id] = std::make_unique<forward::SealedFlows>(*peer.session());
}

void PeerDatagrams::on_session_down(const PeerLink& peer) { sessions_.erase(peer.record().id); }

void PeerDatagrams::on_batch_end(const PeerLink& peer) {
  if (forward::SealedFlows* flows = of(peer)) flows->on_batch_end();
}

void PeerDatagrams::on_timeout() {
  for (auto& [id, flows] : sessions_) flows->on_timeout(context_.now);
}

std::optional<TimePoint> PeerDatagrams::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [id, flows] : sessions_) next = earlier(next, flows->next_timeout());
  return next;
}

forward::SealedFlows* PeerDatagrams::of(const PeerLink& peer) {
  const auto found = sessions_.find(peer.record().id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

}  // namespace openp2p::agent
