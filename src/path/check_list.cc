#include "path/check_list.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::path {
namespace {

/// Of a datagram over a TCP connection, which segments as it likes: as over Ethernet, so that a
/// change between UDP and TCP is none of the datagram size.
constexpr std::size_t kStreamDatagramBytes = 1'472;

/// Nobody may aim our checks at these, and no peer is there.
bool is_refused(const Address& address) {
  const IpAddress& ip = address.ip;
  if (address.port == 0 || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
    return true;
  // A link-local IPv6 address means nothing without the interface.
  return ip.is_v6() && ip.is_link_local() && address.scope == 0;
}

}  // namespace

void CheckList::add_local(const Candidate& candidate, TimePoint now) {
  if (std::ranges::find(locals_, candidate) != locals_.end()) return;
  if (locals_.size() == kLocalCandidatesMax) return;
  locals_.push_back(candidate);
  std::erase_if(pairs_, [&](const auto& pair) {
    return pair->path().remote == candidate.address && pair.get() != protected_;
  });
  for (auto& pair : pairs_) {
    const Address& remote = pair->path().remote;
    if (pair->path().socket == candidate.socket) {
      pair->local = base_of(candidate.socket, remote.ip.is_v4());
    }
  }
  for (const auto& remote : remotes_) {
    if (remote->candidate.transport == Transport::kTcp) continue;  // Has its own connections.
    if (remote->candidate.address.ip.is_v4() != candidate.address.ip.is_v4()) continue;
    pair_with_socket(*remote, candidate.socket, now);
  }
}

void CheckList::remove_socket(SocketId socket, TimePoint now) {
  std::erase_if(locals_, [&](const Candidate& c) { return c.socket == socket; });
  std::erase_if(pairs_, [&](const auto& pair) { return pair->path().socket == socket; });
  std::erase_if(remotes_, [&](const auto& remote) {  // Whose socket was their only way.
    const Candidate& candidate = remote->candidate;
    const bool is_bound =
        candidate.transport == Transport::kTcp || candidate.type == CandidateType::kRelayed;
    return is_bound && !has_pairs(*remote);
  });
  // An address that was ours, and so not paired, may be the peer's now.
  for (const auto& remote : remotes_) pair_with_sockets(*remote, now);
}

RemoteCandidate* CheckList::add_remote(const Candidate& candidate, TimePoint now, bool& is_new) {
  is_new = false;
  if (is_refused(candidate.address)) return nullptr;
  if (RemoteCandidate* known = find_remote(candidate.address, candidate.transport)) {
    // What the peer itself says about its address beats what we guessed on meeting it.
    if (known->candidate.type == CandidateType::kPeerReflexive) known->candidate = candidate;
    if (candidate.type != CandidateType::kPeerReflexive) known->named_at = now;
    return known;
  }
  if (!new_addresses_.take(now)) return nullptr;
  is_new = true;
  return insert_remote(candidate, now);
}

void CheckList::pair_with_sockets(RemoteCandidate& remote, TimePoint now) {
  if (remote.candidate.transport == Transport::kTcp) return;
  if (remote.candidate.type == CandidateType::kRelayed) return;
  for (const Candidate& local : locals_) {
    if (local.address.ip.is_v4() != remote.candidate.address.ip.is_v4()) continue;
    pair_with_socket(remote, local.socket, now);
  }
}

CheckPair* CheckList::pair_with_socket(RemoteCandidate& remote, SocketId socket, TimePoint now) {
  const Address& address = remote.candidate.address;
  if (CheckPair* known = find(Path{socket, address})) return known;
  if (is_own(address)) return nullptr;
  return insert_pair(remote, socket, now);
}

CheckPair* CheckList::add_proven(const Path& path, TimePoint now) {
  if (CheckPair* known = find(path)) return known;
  RemoteCandidate* remote = find_remote(path.remote, Transport::kUdp);
  if (remote == nullptr) {
    remote = insert_remote({CandidateType::kPeerReflexive, path.remote, SocketId{}}, now);
  }
  return remote == nullptr ? nullptr : insert_pair(*remote, path.socket, now);
}

CheckPair* CheckList::add_connection(const Path& path, const Address& local, TimePoint now) {
  if (CheckPair* known = find(path)) return known;
  RemoteCandidate* remote = find_remote(path.remote, Transport::kTcp);
  if (remote == nullptr) {
    remote = insert_remote(
        {CandidateType::kPeerReflexive, path.remote, SocketId{}, Transport::kTcp}, now);
  }
  if (remote == nullptr) return nullptr;
  CheckPair* pair =
      insert_pair(*remote, {CandidateType::kHost, local, path.socket, Transport::kTcp}, now);
  if (pair != nullptr) pair->mtu.set_fixed(kStreamDatagramBytes);
  return pair;
}

CheckPair* CheckList::add_relayed(const Path& path, TimePoint now) {
  if (CheckPair* known = find(path)) return known;
  RemoteCandidate* remote = insert_remote({CandidateType::kRelayed, path.remote, SocketId{}}, now);
  if (remote == nullptr) return nullptr;
  CheckPair* pair = insert_pair(*remote, {CandidateType::kRelayed, path.remote, path.socket}, now);
  if (pair != nullptr) pair->method = Method::kRelayed;
  return pair;
}

CheckPair* CheckList::find(const Path& path) {
  const auto it = std::ranges::find_if(pairs_, [&](const auto& p) { return p->path() == path; });
  return it == pairs_.end() ? nullptr : it->get();
}

const CheckPair* CheckList::find(const Path& path) const {
  return const_cast<CheckList*>(this)->find(path);
}

CheckPair* CheckList::find(const nat::TransactionId& transaction) {
  const auto it =
      std::ranges::find_if(pairs_, [&](const auto& p) { return p->knows(transaction); });
  return it == pairs_.end() ? nullptr : it->get();
}

namespace {

/// Whether this is more probably where the peer's NAT shows it now.
bool is_before(const RemoteCandidate& a, const RemoteCandidate& b) {
  const auto rank = [](const RemoteCandidate& remote) {
    switch (remote.candidate.type) {
      case CandidateType::kServerReflexive:
        return 2;
      case CandidateType::kHost:
        return 1;
      case CandidateType::kPeerReflexive:
      case CandidateType::kMapped:
      case CandidateType::kRelayed:
        return 0;
    }
    return 0;
  };
  if (rank(a) != rank(b)) return rank(a) > rank(b);
  return rank(a) == 2 && a.named_at > b.named_at;  // A router may have begun anew.
}

}  // namespace

std::optional<Address> CheckList::find_remote_at(const IpAddress& external) const {
  const RemoteCandidate* best = nullptr;
  for (const auto& remote : remotes_) {
    const Candidate& candidate = remote->candidate;
    if (candidate.address.ip != external || candidate.transport == Transport::kTcp) continue;
    if (best == nullptr || is_before(*remote, *best)) best = remote.get();
  }
  return best == nullptr ? std::nullopt : std::optional(best->candidate.address);
}

std::optional<SocketId> CheckList::main_socket_v4() const {
  const Candidate* best = nullptr;
  for (const Candidate& local : locals_) {
    if (!local.address.ip.is_v4()) continue;
    if (local.type == CandidateType::kServerReflexive) return local.socket;
    if (best == nullptr) best = &local;
  }
  return best == nullptr ? std::nullopt : std::optional(best->socket);
}

bool CheckList::is_own(const Address& address) const {
  return std::ranges::any_of(locals_, [&](const Candidate& c) { return c.address == address; });
}

bool CheckList::has_socket(SocketId socket) const {
  return std::ranges::any_of(locals_, [&](const Candidate& c) { return c.socket == socket; });
}

RemoteCandidate* CheckList::find_remote(const Address& address, Transport transport) {
  const auto it = std::ranges::find_if(remotes_, [&](const auto& r) {
    return r->candidate.address == address && r->candidate.transport == transport;
  });
  return it == remotes_.end() ? nullptr : it->get();
}

bool CheckList::has_pairs(const RemoteCandidate& remote) const {
  return std::ranges::any_of(pairs_, [&](const auto& pair) { return &pair->remote() == &remote; });
}

bool CheckList::may_evict(const RemoteCandidate& remote) const {
  return std::ranges::none_of(pairs_, [&](const auto& pair) {
    return &pair->remote() == &remote && (pair->is_valid() || pair.get() == protected_);
  });
}

bool CheckList::make_room_for_remote() {
  if (remotes_.size() < PathFinder::kRemoteCandidatesMax) return true;
  // The oldest that answers nothing: addresses of networks that the peer has left.
  auto oldest = remotes_.end();
  for (auto it = remotes_.begin(); it != remotes_.end(); ++it) {
    if (!may_evict(**it)) continue;
    if (oldest == remotes_.end() || (*it)->added_at < (*oldest)->added_at) oldest = it;
  }
  if (oldest == remotes_.end()) return false;
  std::erase_if(pairs_, [&](const auto& pair) { return &pair->remote() == oldest->get(); });
  remotes_.erase(oldest);
  return true;
}

RemoteCandidate* CheckList::insert_remote(const Candidate& candidate, TimePoint now) {
  if (!make_room_for_remote()) return nullptr;
  auto remote = std::make_unique<RemoteCandidate>();
  remote->candidate = candidate;
  remote->added_at = now;
  remote->named_at = now;
  remotes_.push_back(std::move(remote));
  CHECK(remotes_.size() <= PathFinder::kRemoteCandidatesMax);
  return remotes_.back().get();
}

bool CheckList::make_room_for_pair(std::uint64_t priority) {
  if (pairs_.size() < PathFinder::kPairsMax) return true;
  for (auto it = pairs_.end(); it != pairs_.begin();) {
    --it;
    if ((*it)->priority >= priority) return false;
    if ((*it)->is_valid() || it->get() == protected_) continue;
    pairs_.erase(it);
    return true;
  }
  return false;
}

CheckPair* CheckList::insert_pair(RemoteCandidate& remote, SocketId socket, TimePoint now) {
  return insert_pair(remote, base_of(socket, remote.candidate.address.ip.is_v4()), now);
}

CheckPair* CheckList::insert_pair(RemoteCandidate& remote, const Candidate& local, TimePoint now) {
  const std::uint64_t priority = pair_priority(local, remote.candidate);
  if (!make_room_for_pair(priority)) return nullptr;
  const Path path{local.socket, remote.candidate.address};
  auto pair = std::make_unique<CheckPair>(path, remote, first_gap_, now);
  pair->priority = priority;
  pair->local = local;
  const auto place =
      std::ranges::find_if(pairs_, [&](const auto& other) { return other->priority < priority; });
  const auto inserted = pairs_.insert(place, std::move(pair));
  CHECK(pairs_.size() <= PathFinder::kPairsMax);
  return inserted->get();
}

Candidate CheckList::base_of(SocketId socket, bool is_v4) const {
  Candidate best{CandidateType::kHost, {is_v4 ? IpAddress::any_v4() : IpAddress::any_v6()}, socket};
  std::uint32_t best_priority = 0;
  for (const Candidate& local : locals_) {
    if (local.socket != socket || local.address.ip.is_v4() != is_v4) continue;
    if (candidate_priority(local) <= best_priority) continue;
    best = local;
    best_priority = candidate_priority(local);
  }
  return best;
}

std::uint64_t CheckList::pair_priority(const Candidate& local, const Candidate& remote) const {
  std::uint64_t controlling = candidate_priority(local);
  std::uint64_t controlled = candidate_priority(remote);
  if (role_ == IceRole::kControlled) std::swap(controlling, controlled);
  return (std::min(controlling, controlled) << 32) + 2 * std::max(controlling, controlled) +
         (controlling > controlled ? 1 : 0);
}

}  // namespace openp2p::path
