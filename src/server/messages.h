#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "server/relay_messages.h"
#include "server/store.h"

/// Control messages (proto/control.proto) as the server sees them: the one place where it meets
/// protobuf. What is decoded here is bounded and safe to show; names are judged by who uses them.
namespace openp2p::server {

/// A SignedSignal with some 40 candidates: twice what a node with many interfaces sends.
constexpr std::size_t kSignalBodyBytesMax = 8'192;
constexpr std::size_t kNameWishBytesMax = 255;  ///< Longer ones are not even read.
/// Versions and platforms are for people; cut to this, so that 256 nodes fit a Welcome.
constexpr std::size_t kLabelBytesMax = 32;

struct Hello {
  Bytes join_secret;
  std::string name;
  std::string version;
  std::string platform;
  std::uint64_t incarnation = 0;
};
struct SignalRequest {
  NodeId to;
  std::uint64_t number = 0;
  Bytes body;
};
struct Ping {
  std::uint64_t number = 0;
};
struct Rename {
  std::string name;
};
struct UnknownMessage {};  ///< Of a newer client: ignored.
using ClientMessage = std::variant<UnknownMessage, Hello, SignalRequest, Ping, Rename, RelayWish,
                                   ShareOffer, SignedReceipt, CreditQuery, RelayReport>;

/// WireError::kMalformed, and kTooLong for fields over their limits; rates, round trips and counts
/// are cut to theirs (relay_messages.h). Requires at most kControlMessageBytesMax bytes.
Result<ClientMessage> decode_client_message(ByteView bytes);

struct NodeView {
  NodeId id;
  std::string name;
  bool is_online = false;
  std::uint64_t incarnation = 0;
  std::string version;
  std::string platform;
  WallTime seen_at;
};
struct Welcome {
  NetworkId network{};
  std::string network_name;
  std::string name;
  bool is_name_changed = false;
  WallTime server_time;
  std::string observed_address;
  std::vector<NodeView> nodes;  ///< At most kWelcomeNodesMax.
  std::vector<std::string> stun_servers;
  std::vector<std::string> server_addresses = {};  ///< As in new join tokens.
};
constexpr std::size_t kWelcomeNodesMax = 256;

/// The codes of Refused in proto/control.proto, in its order.
enum class RefusalCode {
  kTokenInvalid = 1,
  kTokenExpired,
  kTokenUsed,
  kNotAMember,
  kNameInvalid,
  kLimitReached,
  kUnavailable,
  kProtocol,
};
struct Refusal {
  RefusalCode code = RefusalCode::kProtocol;
  std::string text;
  std::uint32_t retry_after_s = 0;
};
enum class SignalFailure { kNoSuchNode = 1, kOffline, kTooMany };

/// A signal on its way to its addressee.
struct CarriedSignal {
  NodeId from;
  std::uint64_t number = 0;
  ByteView body;  ///< Of the request that is being handled.
  std::string sender_address;
  bool is_stranger = false;  ///< Of another network; a relay was granted.
};

Bytes encode_welcome(const Welcome& welcome);
Bytes encode_refused(const Refusal& refusal);
Bytes encode_signal(const CarriedSignal& signal);
Bytes encode_signal_failed(const NodeId& to, std::uint64_t number, SignalFailure why);
Bytes encode_node_changed(const NodeView& node);
Bytes encode_node_removed(const NodeId& id);
Bytes encode_pong(std::uint64_t number, WallTime server_time, std::string_view observed_address);
Bytes encode_relay_secret(ByteView secret);
Bytes encode_relay_grant(const RelayGrant& grant);
Bytes encode_credit(const Credit& credit);
Bytes encode_account_spent(ByteView account);

}  // namespace openp2p::server
