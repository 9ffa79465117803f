#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "path/check_pair.h"
#include "path/path_finder.h"

namespace openp2p::path {

/// Who could reach whom: local candidates, the peer's candidates and the pairs of them (RFC 8445
/// section 6.1.2). All host and reflexive candidates of one socket share its base, so pairs are
/// told apart by socket and remote address only.
class CheckList {
 public:
  /// Host, reflexive and mapped addresses of a few sockets.
  static constexpr std::size_t kLocalCandidatesMax = 32;
  /// Addresses that the peer or the network may name at once, then one every kNewAddressEvery: the
  /// second half of the bound on what others can make us send (the first is RemoteCandidate's).
  static constexpr int kNewAddressesMax = 32;
  static constexpr Duration kNewAddressEvery = std::chrono::seconds(10);

  CheckList(IceRole role, Duration first_gap) : role_(role), first_gap_(first_gap) {}

  void add_local(const Candidate& candidate, TimePoint now);
  void remove_socket(SocketId socket, TimePoint now);
  /// Gives the candidate, new or known; nullptr if it is refused. `is_new` tells which.
  RemoteCandidate* add_remote(const Candidate& candidate, TimePoint now, bool& is_new);
  /// Pairs a candidate with all sockets of its family.
  void pair_with_sockets(RemoteCandidate& remote, TimePoint now);
  /// The pair of exactly this path, made if there is room. nullptr: none.
  CheckPair* pair_with_socket(RemoteCandidate& remote, SocketId socket, TimePoint now);
  /// The path of an authentic packet: taken whatever its address looks like.
  CheckPair* add_proven(const Path& path, TimePoint now);
  /// A TCP connection: its socket reaches this one address. nullptr: no room.
  CheckPair* add_connection(const Path& path, const Address& local, TimePoint now);

  /// A relayed path: the same for a socket that is none of the system's. nullptr: no room.
  CheckPair* add_relayed(const Path& path, TimePoint now);

  CheckPair* find(const Path& path);
  const CheckPair* find(const Path& path) const;
  CheckPair* find(const nat::TransactionId& transaction);
  /// The peer's own word for where its NAT maps it, at this external address.
  std::optional<Address> find_remote_at(const IpAddress& external) const;
  /// From where this party's reflexive IPv4 address was learned, or would be.
  std::optional<SocketId> main_socket_v4() const;
  bool is_own(const Address& address) const;
  bool has_socket(SocketId socket) const;
  bool has_remotes() const { return !remotes_.empty(); }
  std::span<const std::unique_ptr<CheckPair>> pairs() const { return pairs_; }
  /// Set by the owner: never evicted, whatever comes.
  void protect(const CheckPair* pair) { protected_ = pair; }

 private:
  bool has_pairs(const RemoteCandidate& remote) const;
  bool may_evict(const RemoteCandidate& remote) const;
  bool make_room_for_remote();
  bool make_room_for_pair(std::uint64_t priority);
  RemoteCandidate* find_remote(const Address& address, Transport transport);
  RemoteCandidate* insert_remote(const Candidate& candidate, TimePoint now);
  CheckPair* insert_pair(RemoteCandidate& remote, SocketId socket, TimePoint now);
  CheckPair* insert_pair(RemoteCandidate& remote, const Candidate& local, TimePoint now);
  Candidate base_of(SocketId socket, bool is_v4) const;
  std::uint64_t pair_priority(const Candidate& local, const Candidate& remote) const;

  IceRole role_;
  Duration first_gap_;
  TokenBucket new_addresses_{kNewAddressesMax, kNewAddressEvery};
  std::vector<Candidate> locals_;
  std::vector<std::unique_ptr<RemoteCandidate>> remotes_;
  std::vector<std::unique_ptr<CheckPair>> pairs_;  // Highest priority first.
  const CheckPair* protected_ = nullptr;
};

}  // namespace openp2p::path
