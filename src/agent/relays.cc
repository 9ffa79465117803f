// Which relays are asked for, for which peer, and when; what happens to their datagrams.

#include "agent/relays.h"

#include <algorithm>
#include <utility>

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kWishRetryFirst = 5s;  ///< Where a wish brought nothing.
constexpr Duration kWishRetryMax = 5min;
constexpr unsigned kDoublingsMax = 6;
/// After the session with a peer, relays stay for an attempt to have it again.
constexpr Duration kReleaseAfter = 30s;
/// A silent path gets so long to answer again.
constexpr Duration kDoubtFor = 3s;
/// The peer answers later than that: when the grant was given it was not there, and has not got it.
constexpr Duration kGrantHeardFor = 1s;
/// A direct path that lasted so long is likely to stay.
constexpr Duration kTrimAfter = 60s;

}  // namespace

Relays::Relays(NodeContext& context, ServerLink& server, RelayHops& hops, RelaysHost& host)
    : context_(context), server_(server), hops_(hops), host_(host) {}

Relays::~Relays() = default;

Relays::Peer* Relays::find(const PeerLink& link) {
  const auto found = peers_.find(link.record().id);
  return found == peers_.end() ? nullptr : &found->second;
}

Relays::Peer* Relays::take_on(PeerLink& link) {
  if (Peer* known = find(link)) {
    known->release_at.reset();
    return known;
  }
  if (peers_.size() >= kPeersMax) return nullptr;
  Peer& peer = peers_[link.record().id];
  peer.link = &link;
  return &peer;
}

/// Who is only reached to be a relay is reached directly or not at all.
void Relays::on_attempt(PeerLink& link) {
  if (!host_.is_wanted_for_itself(link)) return;
  Peer* peer = take_on(link);
  if (peer == nullptr) return;
  const bool has_one = std::ranges::any_of(
      peer->paths, [](const RelayedPath& path) { return path.state == State::kJoined; });
  if (!has_one) wish(*peer);
}

void Relays::on_meeting(PeerLink& link) {
  Peer* peer = find(link);
  const bool is_server_away = server_.session() == nullptr;
  if (is_server_away && !link.is_asking() && !needs(link.record().id)) {
    peer = take_on(link);
    if (peer != nullptr) grant_own(*peer);
  }
  if (peer == nullptr) return;
  peer->release_at.reset();
  bool has_one = false;
  for (RelayedPath& path : peer->paths) {
    if (path.state != State::kJoined) continue;
    has_one = true;
    put_in(path);
  }
  const bool is_old = context_.now > peer->granted_at + kGrantHeardFor;
  if (!has_one && is_old && link.is_asking()) wish(*peer);
}

/// Without a direct path every relay that was spared is wanted after all.
void Relays::on_peer_path(PeerLink& link) {
  Peer* peer = find(link);
  if (peer != nullptr && link.has_direct()) {
    peer->wishes = 0;
    peer->wish_at.reset();
    if (!peer->trim_at) peer->trim_at = context_.now + kTrimAfter;
    return;
  }
  if (peer != nullptr) peer->trim_at.reset();
  if (link.has_path()) {
    if (peer != nullptr) trust(*peer);
    return;
  }
  if (peer == nullptr && link.is_asking() && host_.is_wanted_for_itself(link)) {
    peer = take_on(link);
  }
  if (peer == nullptr) return;
  wish_soon(*peer, Duration::zero());
  for (RelayedPath& path : peer->paths) {
    if (path.state == State::kWaiting) path.deadline = context_.now;
    if (path.state != State::kJoined) continue;
    path.is_doubted = true;  // None of them carries. It ends if that stays so.
    path.report_at = context_.now + kDoubtFor;
  }
}

void Relays::trust(Peer& peer) {
  // Those that are dead although another one carries are found by judge().
  for (RelayedPath& path : peer.paths) path.is_doubted = false;
}

void Relays::on_session_down(PeerLink& link) {
  Peer* peer = find(link);
  if (peer == nullptr) return;
  peer->wish_at.reset();
  if (!peer->release_at) peer->release_at = context_.now + kReleaseAfter;
}

void Relays::on_peer_gone(PeerLink& link) {
  Peer* peer = find(link);
  if (peer == nullptr) return;
  drop(*peer);
  peers_.erase(link.record().id);
}

void Relays::drop(Peer& peer) {
  for (RelayedPath& path : peer.paths) end(path, /*is_failure=*/false);
  peer.paths.clear();
  peer.spare.clear();
}

/// Both ends are told the same; what this one may not use it leaves, and so there is no path.
void Relays::on_grant(const RelayGrant& grant) {
  PeerLink* link = host_.own_node(grant.peer);
  if (link == nullptr) return;
  const bool is_known = find(*link) != nullptr;
  Peer* peer = take_on(*link);
  if (peer == nullptr) return;
  const bool is_idle = link->any_session() == nullptr && !link->is_connecting();
  if (!is_known && is_idle) peer->release_at = context_.now + kReleaseAfter;  // The offer follows.
  peer->reason = grant.relays.empty() ? grant.reason : "";
  context_.log.debug(context_.now, "relay.granted peer={} relays={} reason={}", grant.peer.brief(),
                     grant.relays.size(), grant.reason_name);
  peer->spare = grant.relays;
  peer->granted_at = context_.now;
  tend(*peer);
}

void Relays::wish(Peer& peer) {
  peer.wish_at.reset();
  const RelayRule rule = host_.relay_rule(*peer.link);
  if (rule.is_forbidden) {
    peer.reason = rule.reason;
    return;
  }
  RelayWish wish;
  wish.peer = peer.link->record().id;
  wish.number = next_wish_++;
  wish.only = rule.only;
  wish.no_strangers = rule.no_strangers;
  for (const Shunned& shunned : peer.shunned) wish.without.push_back(shunned.relay);
  const bool is_sent = server_.send_relay_wish(wish);
  context_.log.debug(context_.now, "relay.wish peer={} without={} sent={}", wish.peer.brief(),
                     wish.without.size(), is_sent);
  if (!is_sent) {
    peer.reason = "the server, which names relays, is not connected";
    grant_own(peer);
  }
  const Duration wait = kWishRetryFirst * (1 << std::min(peer.wishes++, kDoublingsMax));
  wish_soon(peer, std::min<Duration>(wait, kWishRetryMax));
}

/// While no server names relays, both ends try the nodes of their network that they are connected
/// to. Where both are connected to one, it carries.
void Relays::grant_own(Peer& peer) {
  RelayGrant grant;
  grant.peer = peer.link->record().id;
  for (PeerLink* node : host_.connected_nodes()) {
    if (grant.relays.size() == kGrantRelaysMax) break;
    if (node == peer.link) continue;
    GrantedRelay& relay = grant.relays.emplace_back();
    relay.id = node->record().id;
    relay.name = node->record().name;
  }
  if (!grant.relays.empty()) on_grant(grant);
}

void Relays::wish_soon(Peer& peer, Duration wait) {
  if (peer.link->is_asking()) peer.wish_at = context_.now + wait;
}

void Relays::on_server_connected() {
  for (auto& [id, peer] : peers_) {
    const bool is_lost = peer.link->any_session() != nullptr && !peer.link->has_path();
    if (is_lost) wish_soon(peer, Duration::zero());
    if (peer.wish_at && !peer.link->has_direct()) peer.wish_at = context_.now;
    tend(peer);
  }
}

void Relays::sweep() {
  if (!std::exchange(is_due_, false)) return;
  for (auto& [id, peer] : peers_) tend(peer);
}

void Relays::on_rule_changed() {
  for (auto& [id, peer] : peers_) {
    const RelayRule rule = host_.relay_rule(*peer.link);
    for (RelayedPath& path : peer.paths) {
      if (!may_use(peer, path.relay, rule)) end(path, /*is_failure=*/false);
    }
    clear_ended(peer);
    const bool lacks_one = peer.paths.empty() && peer.link->is_asking();
    if (lacks_one && !peer.link->has_direct()) wish(peer);
  }
}

bool Relays::needs(const NodeId& relay) const {
  return std::ranges::any_of(peers_, [&](const auto& entry) {
    return std::ranges::any_of(entry.second.paths, [&](const RelayedPath& path) {
      return path.state != State::kWaiting && path.relay.id == relay;
    });
  });
}

/// What one peer's relays need now: places are filled, steps made, what failed is cleared away.
void Relays::tend(Peer& peer) {
  std::erase_if(peer.shunned, [&](const Shunned& s) { return context_.now >= s.until; });
  use_spare(peer);
  for (RelayedPath& path : peer.paths) advance(path);
  clear_ended(peer);
  if (!peer.spare.empty() && peer.paths.size() < places(peer)) {
    use_spare(peer);
    for (RelayedPath& path : peer.paths) advance(path);
    clear_ended(peer);
  }
  const bool has_any =
      std::ranges::any_of(peer.paths, [](const RelayedPath& path) { return !path.is_doubted; });
  if (has_any && peer.link->has_path()) peer.wish_at.reset();
  const bool is_lacking = !has_any && !peer.wish_at && !peer.release_at &&
                          !peer.link->has_direct() && peer.link->any_session() != nullptr;
  if (is_lacking) {
    const Duration wait = kWishRetryFirst * (1 << std::min(peer.wishes, kDoublingsMax));
    wish_soon(peer, std::min<Duration>(wait, kWishRetryMax));
  }
}

/// Beside a direct path one relay is kept, to fall back on at once.
void Relays::trim(Peer& peer) {
  peer.trim_at.reset();
  bool has_one = false;
  for (RelayedPath& path : peer.paths) {
    if (path.state == State::kJoined && !std::exchange(has_one, true)) continue;
    end(path, /*is_failure=*/false);
  }
  peer.spare.clear();
  clear_ended(peer);
}

void Relays::on_timeout() {
  for (auto it = peers_.begin(); it != peers_.end();) {
    Peer& peer = it->second;
    const bool is_over = peer.release_at && context_.now >= *peer.release_at;
    if (is_over && peer.link->any_session() == nullptr) {
      drop(peer);
      it = peers_.erase(it);
      continue;
    }
    if (is_over) peer.release_at.reset();
    if (peer.wish_at && context_.now >= *peer.wish_at) wish(peer);
    if (peer.trim_at && context_.now >= *peer.trim_at) trim(peer);
    const auto deadline = deadline_of(peer);
    if (deadline && context_.now >= *deadline) tend(peer);
    ++it;
  }
}

std::optional<TimePoint> Relays::deadline_of(const Peer& peer) const {
  std::optional<TimePoint> next;
  for (const RelayedPath& path : peer.paths) {
    next = earlier(next, path.state == State::kJoined ? path.report_at : path.deadline);
  }
  return next;
}

std::optional<TimePoint> Relays::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& [id, peer] : peers_) {
    next = earlier(next, earlier(peer.wish_at, earlier(peer.release_at, peer.trim_at)));
    next = earlier(next, deadline_of(peer));
  }
  return next;
}

void Relays::stop() {
  for (auto& [id, peer] : peers_) drop(peer);
  peers_.clear();
}

bool Relays::carry(const session::Transmit& transmit, ByteView bytes) {
  if (!path::is_relayed(transmit.socket)) return false;
  const auto found = by_socket_.find(transmit.socket);
  if (found == by_socket_.end()) return true;  // Its allocation has ended: as if lost.
  RelayedPath& path = *found->second;
  const session::Session* hop = path.client->hop().session();
  const auto hop_path = hop == nullptr ? std::nullopt : hop->path();
  if (!hop_path || path::is_relayed(hop_path->socket)) return true;  // No relay over a relay.
  path.client->send(path.channel, bytes, transmit.segment_bytes);
  path.bytes_sent += bytes.size();
  count(path, bytes.size());
  return true;
}

void Relays::on_relayed(relay::RelayClient& client, relay::Channel channel,
                        MutableByteView datagram, TimePoint) {
  RelayedPath* path = find(client, channel);
  if (path == nullptr) return;
  if (path->state == State::kAlone) join(*path);  // The datagram has overtaken the news.
  if (path->state != State::kJoined) return;
  path->bytes_received += datagram.size();
  count(*path, datagram.size());
  inbox_.add(path->path, datagram);
}

void Relays::deliver() {
  if (inbox_.is_empty()) return;
  inbox_.deliver([this](const RelayInbox::Train& train, ByteView bytes) {
    if (!by_socket_.contains(train.from.socket)) return;
    context_.endpoint->on_datagrams(train.from.socket, train.from.remote, bytes,
                                    train.segment_bytes, context_.now);
  });
}

std::optional<Relays::Via> Relays::via(SocketId socket) const {
  const auto found = by_socket_.find(socket);
  if (found == by_socket_.end()) return std::nullopt;
  return Via{found->second->relay.kind, found->second->relay.id};
}

std::string Relays::reason(const PeerLink& peer) const {
  const auto found = peers_.find(peer.record().id);
  return found == peers_.end() || !found->second.paths.empty() ? "" : found->second.reason;
}

std::vector<Relays::PathReport> Relays::report() const {
  std::vector<PathReport> lines;
  for (const auto& [id, peer] : peers_) {
    for (const RelayedPath& path : peer.paths) {
      lines.push_back({id,
                       {path.relay.kind, path.relay.id},
                       path.state == State::kJoined,
                       is_in_use(path),
                       path.bytes_sent,
                       path.bytes_received,
                       context_.now - path.since});
    }
  }
  return lines;
}

}  // namespace openp2p::agent
