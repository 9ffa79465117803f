#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "path/socket_source.h"

namespace openp2p::session {

/// A TCP connection that carries datagrams.
struct Connection {
  Path path;
  Address local;
  bool is_incoming = false;
};

/// Who has which socket beyond the endpoint's main ones: those that a session asked for, and the
/// TCP connections that came in.
///
/// A connection that came in is a stranger: it belongs to nobody until an authentic datagram of a
/// session arrives over it. What a stranger can cost is a place in this book for a few seconds.
/// One that this party has answered (a node that asks for its TCP mapping by STUN) is a guest, and
/// may stay for as long as it asks; guests take no place of other strangers'.
/// What a session has is closed when the session ends.
class SocketLedger {
 public:
  using Serial = std::uint64_t;
  static constexpr Serial kNobody = 0;

  /// All nodes of a network that come to a server at once after its restart; more are closed on
  /// arrival, so that a flood costs no memory.
  static constexpr std::size_t kStrangersMax = 1'024;
  /// A household or office behind one address (IPv6: one /64), and no more of a flood than this.
  static constexpr std::size_t kStrangersPerAddressMax = 64;
  /// A claimed one, a standby, and a few around a change of network. One more closes the oldest
  /// that is not in use.
  static constexpr std::size_t kIncomingPerSessionMax = 8;
  /// As long as a QUIC handshake may take.
  static constexpr Duration kStrangerPatience = std::chrono::seconds(10);
  /// Nodes whose UDP is blocked keep one; with more, further ones stay strangers.
  static constexpr std::size_t kGuestsMax = 4'096;
  static constexpr std::size_t kGuestsPerAddressMax = 64;
  /// A node asks again after 2 min, and TCP may repeat itself for a while.
  static constexpr Duration kGuestPatience = std::chrono::seconds(150);
  /// Sockets of a session that ended: its last datagram may still be on the way to the system.
  static constexpr Duration kLinger = std::chrono::seconds(1);

  /// `source` may be nullptr where there are no such sockets.
  explicit SocketLedger(path::SocketSource* source) : source_(source) {}
  SocketLedger(const SocketLedger&) = delete;
  SocketLedger& operator=(const SocketLedger&) = delete;

  /// What one session gets in place of the source; nullptr: there is none. The ledger outlives it.
  std::unique_ptr<path::SocketSource> source_for(Serial owner);

  /// Gives the session that asked for it, or kNobody: a stranger, or one too many.
  Serial on_connected(const Connection& connection, TimePoint now);
  Serial on_disconnected(SocketId socket);  ///< Gives whose it was, and forgets it.
  bool is_stranger(SocketId socket) const;
  void on_answered(SocketId socket, TimePoint now);  ///< A stranger got an answer from this party.
  /// An authentic datagram of that session came over it. nullptr: it is no stranger.
  const Connection* claim(SocketId socket, Serial owner, const std::optional<Path>& in_use);
  /// Those of a session that are up.
  std::vector<Connection> connections_of(Serial owner) const;
  void release_all(Serial owner, TimePoint now);  ///< The session ended.

  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::size_t strangers() const { return strangers_.total; }
  std::size_t guests() const { return guests_.total; }
  std::size_t size() const { return entries_.size(); }

 private:
  class OwnSource;
  struct Entry {
    Serial owner = kNobody;
    Connection connection;
    bool is_up = false;  ///< A connection; the others are UDP sockets or not there yet.
    bool is_stranger = false;
    bool is_guest = false;  // Which is still a stranger, counted elsewhere.
    std::optional<TimePoint> expires_at;
  };

  /// Connections that belong to nobody yet.
  struct Crowd {
    std::size_t total = 0;
    std::map<IpAddress, std::size_t> per_prefix;

    bool has_room(const IpAddress& from, std::size_t max, std::size_t per_prefix_max) const;
    void enter(const IpAddress& from);
    void leave(const IpAddress& from);
  };

  Crowd& crowd_of(const Entry& entry) { return entry.is_guest ? guests_ : strangers_; }
  void add_owned(SocketId socket, Serial owner);
  void close(SocketId socket);
  void forget(SocketId socket);
  void leave_strangers(Entry& entry);
  void make_room_for_incoming(Serial owner, const std::optional<Path>& in_use);

  path::SocketSource* source_;
  std::unordered_map<SocketId, Entry> entries_;
  std::map<Serial, std::vector<SocketId>> by_owner_;  // Oldest first.
  Crowd strangers_;                                   // Without guests.
  Crowd guests_;
  std::set<std::pair<TimePoint, SocketId>> expiries_;
};

}  // namespace openp2p::session
