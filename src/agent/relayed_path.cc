// One relay for one peer: from a grant to a path of the peer's session, and its end.

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/relays.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

/// A session with a relay costs both sides a handshake, and routers entries: not where a direct
/// path comes by itself within this.
constexpr Duration kDirectFirst = 500ms;
constexpr Duration kReachPatience = 12s;  ///< As an attempt's.
constexpr Duration kAnswerPatience = 5s;
constexpr Duration kPeerPatience = 20s;  ///< The other end may have to reach the relay first.
/// A ticket is good for two steps of 30 s; older ones are left.
constexpr Duration kGrantLifetime = 50s;
/// The server learns what a relay is worth soon; then relayed_path_watch.cc says when.
constexpr Duration kReportFirst = 10s;
constexpr std::size_t kShunnedMax = 16;  ///< As many as a wish may name.

/// Discard-only addresses (RFC 6666): of a relayed path, which no socket ever sends to.
Address synthetic_address(const NodeId& relay, relay::Channel channel) {
  std::array<std::uint8_t, 16> bytes{0x01, 0x00};
  std::memcpy(bytes.data() + 8, relay.key.data(), 8);
  return {IpAddress::v6(bytes), static_cast<std::uint16_t>(1 + channel % 65'535)};
}

}  // namespace

bool Relays::may_use(const Peer& peer, const GrantedRelay& relay, const RelayRule& rule) const {
  if (rule.is_forbidden || (rule.no_strangers && relay.kind == RelayKind::kShared)) return false;
  const bool is_named = std::ranges::find(rule.only, relay.id) != rule.only.end();
  if (rule.is_pinned && !is_named) return false;
  return relay.id != peer.link->record().id && relay.id != context_.identity.id();
}

/// Whether that relay is used for the peer already. Another ticket means that one of both ends
/// asked anew, perhaps since the other had not heard of the last one: what carries nothing gives
/// way to it. Both are told of tickets in one order, so both end up with the same one.
bool Relays::has_good(Peer& peer, const GrantedRelay& relay) {
  for (RelayedPath& path : peer.paths) {
    if (path.peer == nullptr || path.relay.id != relay.id) continue;
    if (path.state == State::kWaiting || path.state == State::kReaching) {
      path.relay.ticket = relay.ticket;
      return true;
    }
    const bool carries = path.state == State::kJoined && is_in_use(path);
    if (carries || path.relay.ticket == relay.ticket) return true;
    end(path, /*is_failure=*/false);
  }
  return false;
}

/// Places are filled from what is granted, best first.
void Relays::use_spare(Peer& peer) {
  if (context_.now > peer.granted_at + kGrantLifetime) peer.spare.clear();
  if (peer.spare.empty()) return;
  const RelayRule rule = host_.relay_rule(*peer.link);
  while (!peer.spare.empty() && peer.paths.size() < places(peer)) {
    GrantedRelay relay = std::move(peer.spare.front());
    peer.spare.erase(peer.spare.begin());
    if (!may_use(peer, relay, rule) || has_good(peer, relay)) continue;
    RelayedPath& path = peer.paths.emplace_back();
    path.peer = &peer;
    path.relay = std::move(relay);
    path.since = context_.now;
    const bool waits = peer.link->has_direct() || !host_.is_hard_to_reach();
    path.deadline = peer.granted_at + (waits ? kDirectFirst : Duration::zero());
  }
}

/// Until one carries, more are tried: which of them both ends reach at once nobody knows
/// beforehand. Beside one that became slow there is room for another.
std::size_t Relays::places(const Peer& peer) const {
  const auto is_joined = [](const RelayedPath& path) { return path.state == State::kJoined; };
  if (std::ranges::none_of(peer.paths, is_joined)) return kTriedMax;
  const auto doubted = std::ranges::count_if(peer.paths, [](const RelayedPath& path) {
    return path.is_doubted || path.leave_by || path.peer == nullptr;
  });
  return kPathsMax + static_cast<std::size_t>(doubted);
}

/// Makes the next step of a path that has one to make.
void Relays::advance(RelayedPath& path) {
  if (path.peer == nullptr) return;
  if (path.state == State::kJoined) {
    if (context_.now >= path.report_at) judge(path);
    return;
  }
  const bool is_late = context_.now >= path.deadline;
  if (path.state == State::kAllocating || path.state == State::kAlone) {
    if (is_late) end(path, /*is_failure=*/true);
    return;
  }
  if (session::Session* session = session_with(path.relay)) return allocate(path, *session);
  if (path.relay.kind == RelayKind::kServer) return end(path, /*is_failure=*/false);
  if (!is_late) return;
  if (path.state == State::kReaching) return end(path, /*is_failure=*/true);
  // It comes if it is needed: on_peer_path().
  if (path.peer->link->has_direct()) return end(path, /*is_failure=*/false);
  path.state = State::kReaching;
  path.deadline = context_.now + kReachPatience;
  if (host_.reach_relay(path.relay, path.deadline) == nullptr) end(path, /*is_failure=*/true);
}

session::Session* Relays::session_with(const GrantedRelay& relay) const {
  if (relay.kind == RelayKind::kServer) {
    return relay.id == server_.server_id() ? server_.session() : nullptr;
  }
  PeerLink* link =
      relay.kind == RelayKind::kOwn ? host_.own_node(relay.id) : host_.known_stranger(relay.id);
  return link != nullptr && link->has_direct() ? link->session() : nullptr;
}

relay::RelayClient* Relays::client_of(PeerLink& relay) {
  GrantedRelay own;
  own.id = relay.record().id;
  session::Session* session = session_with(own);
  return session == nullptr ? nullptr : hops_.client_of(*session, router_of(own));
}

RelayHops::Use Relays::router_of(const GrantedRelay& relay) const {
  if (relay.kind == RelayKind::kServer) {
    return [this](session::StreamId id, forward::StreamUser* user) { server_.use(id, user); };
  }
  PeerLink* link =
      relay.kind == RelayKind::kOwn ? host_.own_node(relay.id) : host_.known_stranger(relay.id);
  return [link](session::StreamId id, forward::StreamUser* user) { link->use(id, user); };
}

void Relays::allocate(RelayedPath& path, session::Session& session) {
  path.client = hops_.client_of(session, router_of(path.relay));
  if (path.client == nullptr) return end(path, /*is_failure=*/true);
  std::optional<relay::Ticket> ticket;
  if (!path.relay.ticket.empty()) {
    const auto decoded = relay::decode_ticket(path.relay.ticket);
    if (!decoded) return end(path, /*is_failure=*/true);
    ticket = *decoded;
  }
  const auto number = path.client->allocate(path.peer->link->record().id, ticket);
  if (!number) return end(path, /*is_failure=*/true);
  path.number = *number;
  path.state = State::kAllocating;
  path.deadline = context_.now + kAnswerPatience;
}

Relays::RelayedPath* Relays::find_asked(const relay::RelayClient& client, std::uint64_t number) {
  for (auto& [id, peer] : peers_) {
    for (RelayedPath& path : peer.paths) {
      const bool is_asked = path.client == &client && path.state == State::kAllocating;
      if (is_asked && path.number == number) return &path;
    }
  }
  return nullptr;
}

Relays::RelayedPath* Relays::find(const relay::RelayClient& client, relay::Channel channel) {
  const auto found = by_channel_.find({&client, channel});
  return found == by_channel_.end() ? nullptr : found->second;
}

void Relays::on_allocated(relay::RelayClient& client, std::uint64_t number,
                          const relay::AllocatedMessage& allocated) {
  RelayedPath* path = find_asked(client, number);
  if (path == nullptr) return client.release(allocated.channel);  // Given up meanwhile.
  path->channel = allocated.channel;
  path->state = State::kAlone;
  path->deadline = context_.now + kPeerPatience;
  by_channel_[{&client, allocated.channel}] = path;
  if (allocated.is_peer_there) join(*path);
}

void Relays::on_joined(relay::RelayClient& client, relay::Channel channel) {
  RelayedPath* path = find(client, channel);
  if (path != nullptr && path->state == State::kAlone) join(*path);
}

void Relays::join(RelayedPath& path) {
  path.state = State::kJoined;
  path.peer->wishes = 0;
  path.peer->wish_at.reset();
  if (next_socket_ < path::kRelayedSocketFirst) next_socket_ = path::kRelayedSocketFirst;
  while (by_socket_.contains(SocketId(next_socket_))) ++next_socket_;
  path.path = {SocketId(next_socket_++), synthetic_address(path.relay.id, path.channel)};
  by_socket_[path.path.socket] = &path;
  path.second_began_at = context_.now;
  path.report_at = context_.now + kReportFirst;
  context_.log.info(context_.now, "relay.joined peer={} relay={} kind={}",
                    path.peer->link->record().id.brief(), path.relay.id.brief(),
                    static_cast<int>(path.relay.kind));
  put_in(path);
}

/// Into the peer's session, if there is one: before the first datagram, or the finder would think
/// that the peer was met by chance.
void Relays::put_in(RelayedPath& path) {
  session::Session* session = path.peer->link->any_session();
  if (session == nullptr || session->paths() == nullptr) return;
  const auto rank = static_cast<unsigned>(path.relay.kind);  // Own nodes first, the server last.
  session->paths()->add_relayed(path.path, context_.now, rank);
  context_.endpoint->touch(*session);
  context_.wake();
}

void Relays::on_refused(relay::RelayClient& client, const relay::RefusedMessage& refused) {
  RelayedPath* path = find_asked(client, refused.number);
  if (path == nullptr) return;
  context_.log.info(context_.now, "relay.refused relay={} why=\"{}\"", path->relay.id.brief(),
                    refused.text);
  Peer& peer = *path->peer;
  peer.reason = "a relay refused: " + refused.text;
  end(*path, /*is_failure=*/true);
  clear_ended(peer);
  tend(peer);
}

void Relays::on_left(relay::RelayClient& client, relay::Channel channel, std::string_view why) {
  RelayedPath* path = find(client, channel);
  if (path == nullptr) return;
  context_.log.info(context_.now, "relay.left relay={} why=\"{}\"", path->relay.id.brief(), why);
  by_channel_.erase({&client, channel});
  path->client = nullptr;  // Nothing is to be released.
  Peer& peer = *path->peer;
  const bool was_joined = path->state == State::kJoined;
  end(*path, /*is_failure=*/!was_joined);
  clear_ended(peer);
  if (was_joined && peer.link->any_session() != nullptr) wish_soon(peer, kDirectFirst);
  tend(peer);
}

void Relays::on_relay_lost(relay::RelayClient& client) {
  hops_.on_client_lost(client);
  for (auto& [id, peer] : peers_) {
    bool is_hit = false;
    for (RelayedPath& path : peer.paths) {
      if (path.client != &client) continue;
      by_channel_.erase({&client, path.channel});
      path.client = nullptr;
      end(path, /*is_failure=*/false);  // Its session ended: it may be back at once.
      is_hit = true;
    }
    if (!is_hit) continue;
    clear_ended(peer);
    if (peer.paths.empty() && peer.link->any_session() != nullptr) {
      wish_soon(peer, Duration::zero());
    }
  }
}

void Relays::shun(Peer& peer, const NodeId& relay, TimePoint until) {
  if (peer.shunned.size() < kShunnedMax) peer.shunned.push_back({relay, until});
}

/// The path is over, whoever ended it; clear_ended() takes it off the list.
void Relays::end(RelayedPath& path, bool is_failure) {
  if (path.peer == nullptr) return;
  Peer& peer = *std::exchange(path.peer, nullptr);
  if (is_failure) {
    tell_report(path, /*is_unusable=*/true);
    shun(peer, path.relay.id, context_.now + kShunFor);
  }
  if (path.client != nullptr) {
    by_channel_.erase({path.client, path.channel});
    const bool is_allocated = path.state == State::kAlone || path.state == State::kJoined;
    if (is_allocated) path.client->release(path.channel);
  }
  if (path.state != State::kJoined) return;
  by_socket_.erase(path.path.socket);
  context_.endpoint->remove_socket(path.path.socket, context_.now);
  context_.wake();
}

void Relays::clear_ended(Peer& peer) {
  std::erase_if(peer.paths, [](const RelayedPath& path) { return path.peer == nullptr; });
}

bool Relays::is_in_use(const RelayedPath& path) const {
  if (path.peer == nullptr) return false;
  session::Session* session = path.peer->link->any_session();
  const path::PathFinder* paths = session == nullptr ? nullptr : session->paths();
  if (path.state != State::kJoined || paths == nullptr) return false;
  return paths->selected() != nullptr && paths->selected()->socket == path.path.socket;
}

}  // namespace openp2p::agent
