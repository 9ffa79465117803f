#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "wire/join_token.h"

/// Control messages (proto/control.proto) as a node sees them: what the server said, bounded and
/// safe to show, and the bytes of what the node says. The one place where the two meet protobuf.
namespace openp2p::agent {

inline constexpr std::size_t kWelcomeNodesMax = 10'000;  ///< As many as a network may have.
/// The server names 3; more would be tried for minutes.
inline constexpr std::size_t kGrantRelaysMax = 8;
/// As many as a join token names; each costs attempts when the server is dialled.
inline constexpr std::size_t kServerAddressesMax = JoinToken::kAddressesMax;
inline constexpr std::size_t kTicketBytesMax = 256;  ///< Twice what relay/ticket.h needs.

/// Another node of the network, as the server says.
struct NodeRecord {
  NodeId id;
  std::string name;
  bool is_online = false;
  std::uint64_t incarnation = 0;
  std::string version;
  std::string platform;
  std::int64_t seen_at_us = 0;
};

struct Welcome {
  std::string network_name;
  std::string name;
  bool name_changed = false;
  std::optional<Address> observed;
  WallTime server_time;
  std::vector<NodeRecord> nodes;
  bool has_all_nodes = true;  ///< Else the others follow, each by on_node_changed().
  std::vector<std::string> stun_servers;
  std::vector<std::string> server_addresses;  ///< "host:port"; empty: the server does not say.
};

/// Why the server turned this node away. `is_final`: trying again with the same token or key cannot
/// help; a person must act.
struct Refusal {
  std::string text;
  bool is_final = false;
  Duration retry_after{};
};

enum class SignalFailure { kNoSuchNode, kOffline, kTooMany };

struct CarriedSignal {
  NodeId from;
  Bytes body;
  std::optional<Address> seen_at;  ///< Where the server sees the sender.
  bool is_stranger = false;        ///< Of another network; a relay was granted.
};
struct FailedSignal {
  NodeId to;
  std::uint64_t number = 0;
  SignalFailure why = SignalFailure::kTooMany;
};
struct NodeGone {
  NodeId id;
};
struct Pong {
  WallTime server_time;
  std::optional<Address> observed;
};

/// What proves tickets to this node as a relay.
using RelaySecretKey = std::array<std::byte, 32>;

enum class RelayKind : std::uint8_t { kOwn, kShared, kServer };

/// A relay between this node and a peer.
struct GrantedRelay {
  RelayKind kind = RelayKind::kOwn;
  NodeId id;
  std::string name;  ///< Of own nodes only.
  Bytes ticket;
  std::uint64_t bits_per_second = 0;  ///< What it lends in all; 0: no cap.
  Duration rtt_sum{};                 ///< End to end, as the server estimates; zero: not known.
};
struct RelayGrant {
  std::uint64_t number = 0;  ///< Of the wish; 0: the peer asked.
  NodeId peer;
  std::vector<GrantedRelay> relays;  ///< Best first.
  std::string reason;                ///< For people, where relays are missing.
  std::string reason_name;           ///< For machines.
};

/// What this node's user lent and borrowed, as receipts prove.
struct Credit {
  std::uint64_t number = 0;
  std::uint64_t lent_bytes = 0;
  std::uint64_t borrowed_bytes = 0;
  std::uint64_t allowance_bytes = 0;  ///< What may still be borrowed.
  std::uint64_t lent_here_bytes = 0;  ///< By this node.
  bool may_borrow = false;
  std::string reason;
};

/// To a relay: who pays for this account owes too much, and nothing more is credited.
struct AccountSpent {
  std::array<std::byte, 8> account{};
};

struct UnknownServerMessage {};  ///< Of a newer server, or without a sense: ignored.
using ServerMessage =
    std::variant<UnknownServerMessage, Welcome, Refusal, CarriedSignal, FailedSignal, NodeRecord,
                 NodeGone, Pong, RelaySecretKey, RelayGrant, Credit, AccountSpent>;

/// WireError::kMalformed where it is no message at all.
Result<ServerMessage> decode_server_message(ByteView bytes);

struct HelloWords {
  ByteView join_secret;
  std::string_view name;
  std::string_view version;
  std::string_view platform;
  std::uint64_t incarnation = 0;
};
struct RelayWish {
  NodeId peer;
  std::uint64_t number = 0;
  std::vector<NodeId> only;  ///< Empty: any.
  std::vector<NodeId> without;
  bool no_strangers = false;
};
struct ShareOffer {
  std::uint64_t bits_per_second = 0;  ///< 0: neither lends nor borrows.
  std::uint64_t used_bits_per_second = 0;
  std::uint32_t allocations = 0;
  std::uint64_t own_bits_per_second = 0;
  bool is_reachable = false;  ///< Without help of the other side.
  friend bool operator==(const ShareOffer&, const ShareOffer&) = default;
};
struct RelayReport {
  NodeId relay;
  Duration rtt{};                     ///< From this node to it.
  std::uint64_t bits_per_second = 0;  ///< Goodput; 0: not measured.
  unsigned loss_permille = 0;
  bool is_unusable = false;
};

Bytes encode_hello(const HelloWords& hello);
Bytes encode_signal_request(const NodeId& to, ByteView body, std::uint64_t number);
Bytes encode_ping(std::uint64_t number);
Bytes encode_relay_wish(const RelayWish& wish);
Bytes encode_share_offer(const ShareOffer& offer);
Bytes encode_receipt(ByteView body, ByteView signature);
Bytes encode_relay_report(const RelayReport& report);
Bytes encode_credit_query(std::uint64_t number);

}  // namespace openp2p::agent
