#include "agent/forwards.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/forward_impl.h"

namespace openp2p::agent {

Forwards::Forwards(NodeContext& context, forward::BufferPool& buffers, PeerDatagrams& datagrams,
                   FindPeer find_peer)
    : context_(context),
      buffers_(buffers),
      datagrams_(datagrams),
      find_peer_(std::move(find_peer)) {}

Forwards::~Forwards() = default;

void Forwards::add(const ForwardSpec& spec) {
  const auto [added, is_new] = forwards_.emplace(spec.name, std::make_unique<Forward>(*this, spec));
  if (is_new && spec.is_enabled) added->second->enable();
}

void Forwards::remove(std::string_view name) {
  const auto found = forwards_.find(name);
  if (found == forwards_.end()) return;
  found->second->disable();
  forwards_.erase(found);
}

void Forwards::set_enabled(std::string_view name, bool enabled) {
  const auto found = forwards_.find(name);
  if (found == forwards_.end() || found->second->spec_.is_enabled == enabled) return;
  enabled ? found->second->enable() : found->second->disable();
}

bool Forwards::contains(std::string_view name) const { return forwards_.contains(name); }

std::vector<ForwardSpec> Forwards::specs() const {
  std::vector<ForwardSpec> specs;
  for (const auto& [name, forward] : forwards_) specs.push_back(forward->spec_);
  return specs;
}

std::vector<ForwardStatus> Forwards::status() const {
  std::vector<ForwardStatus> all;
  for (const auto& [name, forward] : forwards_) all.push_back(forward->status());
  return all;
}

std::size_t Forwards::listening_sockets() const {
  std::size_t sockets = 0;
  for (const auto& [name, forward] : forwards_) sockets += forward->spec_.listening_sockets();
  return sockets;
}

bool Forwards::needs(const PeerLink& peer) const {
  std::string ignored;
  return std::ranges::any_of(forwards_, [&](const auto& entry) {
    return entry.second->spec_.is_enabled && entry.second->find_peer(ignored) == &peer;
  });
}

void Forwards::on_session_up(PeerLink& peer) {
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (!forward->spec_.is_enabled || forward->find_peer(ignored) != &peer) continue;
    forward->on_session_up(peer);
  }
}

void Forwards::on_session_down(PeerLink& peer, const std::string&) {
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (forward->spec_.is_enabled && forward->find_peer(ignored) == &peer) forward->call_peer();
  }
}

void Forwards::on_batch_end(PeerLink& peer) {
  if (!std::exchange(lacks_streams_, false)) return;
  std::string ignored;
  for (auto& [name, forward] : forwards_) {
    if (!forward->spec_.is_enabled) continue;
    PeerLink* const found = forward->find_peer(ignored);
    if (found == &peer) {
      forward->start_waiting(peer);
    } else if (found != nullptr && found->session() != nullptr && forward->has_waiting()) {
      lacks_streams_ = true;
    }
  }
}

void Forwards::on_peers_changed() {
  for (auto& [name, forward] : forwards_) {
    if (forward->spec_.is_enabled && forward->is_listening()) forward->call_peer();
  }
}

void Forwards::on_timeout() {
  for (auto& [name, forward] : forwards_) forward->on_timeout();
}

std::optional<TimePoint> Forwards::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [name, forward] : forwards_) next = earlier(next, forward->next_timeout());
  return next;
}

void Forwards::sweep() {
  if (!std::exchange(has_finished_, false)) return;
  for (auto& [name, forward] : forwards_) forward->sweep();
}

void Forwards::stop() {
  for (auto& [name, forward] : forwards_) forward->disable();
}

}  // namespace openp2p::agent
