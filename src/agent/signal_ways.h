#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "agent/direct_signal.h"
#include "agent/node_context.h"
#include "agent/offer_guard.h"
#include "agent/peer_cache.h"
#include "agent/peer_link.h"
#include "agent/server_link.h"
#include "path/token_bucket.h"
#include "relay/relay_client.h"

/// How signals get to a peer: through the server, or, while it is away, as letters through nodes of
/// this network that both have sessions with, and straight to where the peer was last.
///
/// While the server is there, nodes tell each other where they are, so that all have an address of
/// all. A node whose server is away is reached by letters only where it has a session with some
/// node that others have one with too. So each then looks for a few that can be reached from
/// anywhere, in the same order everywhere: these become meeting points. Sans-I/O. Threading: one
/// owner.
namespace openp2p::agent {

class SignalWaysHost {
 public:
  virtual ~SignalWaysHost() = default;
  virtual PeerLink* own_node(const NodeId& id) const = 0;
  /// Nodes of this network with a session over a direct path.
  virtual std::vector<PeerLink*> connected_nodes() const = 0;
  /// This node's end at that node as a relay; nullptr: it cannot be one now.
  virtual relay::RelayClient* relay_client(PeerLink& relay) = 0;
  /// As ServerLinkHandler::on_signal().
  virtual void on_peer_signal(const PeerSignal& signal, ByteView bytes,
                              std::optional<Address> seen_at) = 0;
  virtual std::vector<path::Candidate> local_candidates() const = 0;
};

class SignalWays final : private DirectSignalHost {
 public:
  /// A larger network's meeting points would have more sessions than a small machine likes, and
  /// there would be as many tellings as pairs.
  static constexpr std::size_t kMeetingNetworkMax = 256;
  static constexpr std::size_t kMeetingsMin = 2;  ///< One may go.
  static constexpr std::size_t kMeetingsMax = 8;  ///< Looked for, where the first are not there.
  static constexpr std::size_t kLettersMax = 8;   ///< Nodes that one signal is sent through.

  SignalWays(NodeContext& context, ServerLink& server, PeerCache& cache, SignalWaysHost& host);

  void add_socket(SocketId socket, const Address& local) { direct_.add_socket(socket, local); }
  /// Also by multicast on the LAN. After the sockets are there, before start().
  void use_lan();
  void start();  ///< The server is away until on_server_connected().
  void on_server_connected();
  void on_peer_online(const NodeId& id);  ///< As the server says.
  void on_candidates_changed();           ///< This node's own.
  void on_server_lost() { start(); }
  void on_session_up(PeerLink& peer);
  void on_network_changed();

  /// As PeerLinkHandler::send_signal(). False: nobody carries it.
  bool send(const NodeId& to, ByteView body, std::uint64_t number);
  /// Of the signal that send() took last, for people.
  std::string_view last_way() const;
  void on_letter(const NodeId& relay, const NodeId& from, ByteView body);
  bool on_stun(SocketId socket, const Address& from, ByteView datagram) {
    return direct_.on_stun(socket, from, datagram);
  }
  void on_timeout();
  std::optional<TimePoint> next_timeout() const { return earlier(look_at_, tell_at_); }

  struct Counters {
    std::uint64_t letters_sent = 0;
    std::uint64_t letters_taken = 0;
    std::uint64_t letters_challenged = 0;  ///< Offers whose sender had to prove that they are new.
    std::uint64_t letters_refused = 0;     ///< Forged, old, too many.
  };
  const Counters& counters() const { return counters_; }
  const DirectSignals::Counters& direct() const { return direct_.counters(); }

 private:
  // DirectSignalHost
  bool is_member(const NodeId& id) const override { return host_.own_node(id) != nullptr; }
  std::vector<Address> known_addresses(const NodeId& id) const override {
    return cache_.addresses(id);
  }
  bool is_attempt(const NodeId& peer, const AttemptId& attempt) const override;
  void on_direct_signal(const PeerSignal& signal, ByteView bytes, const Address& source) override;

  bool is_server_there() const { return server_.state() == ServerLink::State::kConnected; }
  bool has_letter_from(const NodeId& peer) const;
  bool send_letters(const NodeId& to, ByteView body);
  void be_reachable();
  void look_for_meetings();
  void tell_one();
  void tell_soon(Duration wait);

  NodeContext& context_;
  ServerLink& server_;
  PeerCache& cache_;
  SignalWaysHost& host_;
  DirectSignals direct_;
  OfferGuard guard_;
  std::map<NodeId, TimePoint> letters_from_;  ///< When a peer's last letter came.
  path::TokenBucket letters_in_;
  std::optional<TimePoint> look_at_;  ///< The server is away.
  std::size_t meetings_wanted_ = kMeetingsMin;
  struct Ways {
    bool server = false, letters = false, direct = false;
  };
  Ways last_ways_;
  bool uses_lan_ = false;
  std::unique_ptr<Platform::Pending> lan_ear_;
  std::set<NodeId> untold_;  ///< Who does not know where this node is now.
  std::optional<TimePoint> tell_at_;
  Counters counters_;
};

}  // namespace openp2p::agent
