#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "agent/node_context.h"
#include "agent/offer_guard.h"
#include "agent/peer_signal.h"
#include "nat/source_limit.h"
#include "nat/stun_signal.h"
#include "path/token_bucket.h"

/// Signals sent straight to where a peer was last, in STUN indications, while no server carries
/// them.
///
/// A datagram: sender (32 bytes), the first 8 bytes of the addressee, and the signed signal. Taken
/// is what a member signed for this node: an offer that answers a challenge (offer_guard.h), or a
/// part of the attempt that both are in. Who is no member gets no answer to anything; a member's
/// offer gets one shorter than itself. Who was heard is answered there. Sans-I/O. No timers:
/// PeerLink repeats itself. Threading: one owner.
namespace openp2p::agent {

class DirectSignalHost {
 public:
  virtual ~DirectSignalHost() = default;
  virtual bool is_member(const NodeId& id) const = 0;
  /// Where it was last, the likeliest first.
  virtual std::vector<Address> known_addresses(const NodeId& id) const = 0;
  /// This node and the peer are in that attempt.
  virtual bool is_attempt(const NodeId& peer, const AttemptId& attempt) const = 0;
  /// `bytes`: as the peer signed it. `signal` has the source among its candidates.
  virtual void on_direct_signal(const PeerSignal& signal, ByteView bytes,
                                const Address& source) = 0;
};

/// Where nodes on one LAN hear each other, if told to: administratively scoped (RFC 2365), and sent
/// with a hop limit of 1.
inline Address lan_group() { return {IpAddress::v4(239, 255, 112, 50), 27'184}; }

class DirectSignals {
 public:
  static constexpr std::size_t kHeadBytes = NodeId::kSize + 8;
  static constexpr std::size_t kSignalBytesMax = nat::kStunSignalBytesMax - kHeadBytes;
  /// So long a peer's answers go to where it was heard.
  static constexpr Duration kHeardFor = std::chrono::seconds(30);
  /// Peers heard lately; more than that are answered like others, at their last addresses.
  static constexpr std::size_t kHeardMax = 256;

  DirectSignals(NodeContext& context, DirectSignalHost& host, std::uint64_t seed);

  void add_socket(SocketId socket, const Address& local);
  /// `number`: counts the signals of an attempt. The first three go out, then ever fewer; those to
  /// a peer that was heard all do, within limits. False: nothing was sent.
  bool send(const NodeId& to, ByteView body, std::uint64_t number);
  bool has_heard(const NodeId& peer) const;
  /// True: it was a signal, or pretended to be one.
  bool on_stun(SocketId socket, const Address& from, ByteView datagram);
  /// One to all on the LAN, who hear it where they are told to listen.
  bool on_lan(const Address& from, ByteView datagram);
  void set_lan(bool is_used) { uses_lan_ = is_used; }
  void on_network_changed() { heard_.clear(); }

  struct Counters {
    std::uint64_t sent = 0;  ///< Datagrams.
    std::uint64_t taken = 0;
    std::uint64_t challenged = 0;
    std::uint64_t limited = 0;   ///< Too many from one source, or in all.
    std::uint64_t stranger = 0;  ///< Not to this node, or from nobody it knows.
    std::uint64_t forged = 0;    ///< Garbled, or not signed by whom it names.
    std::uint64_t stale = 0;     ///< Of no attempt that goes on.
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Socket {
    SocketId id;
    bool is_v4 = false;
  };
  struct Place {
    Path path;
    TimePoint at;
  };
  bool may_verify(const NodeId& from, const Address& source);
  void take(PeerSignal signal, ByteView bytes, const Path& source);
  void note(const NodeId& peer, const Path& source);
  bool transmit(const Path& path, const NodeId& to, ByteView body);
  bool transmit_to_known(const NodeId& to, ByteView body);

  NodeContext& context_;
  DirectSignalHost& host_;
  OfferGuard guard_;
  std::vector<Socket> sockets_;
  bool uses_lan_ = false;
  std::map<NodeId, Place> heard_;
  nat::SourceLimit per_source_;
  path::TokenBucket from_known_;
  path::TokenBucket from_others_;
  path::TokenBucket out_;
  Counters counters_;
};

}  // namespace openp2p::agent
