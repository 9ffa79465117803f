#include "agent/server_message.h"

#include <algorithm>
#include <cstring>

#include "control.pb.h"
#include "wire/codec.h"

namespace openp2p::agent {
namespace {

constexpr int kWelcomePartMax = 256;  // What fits; a larger network's others follow.
constexpr std::size_t kStunServersMax = 8;
constexpr std::size_t kReasonBytesMax = 400;
constexpr std::uint32_t kRetryAfterMax = 300;    // Seconds; a hostile server gains no more.
constexpr std::int64_t kTimeMax = 1LL << 57;     // Microseconds: the year 6537.
constexpr std::uint32_t kRttMax = 10'000'000;    // Microseconds: no such relay is of use.
constexpr std::uint64_t kBytesMax = 1ULL << 62;  // Sums of such still fit.

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

WallTime to_time(std::int64_t us) { return {std::clamp<std::int64_t>(us, 0, kTimeMax)}; }

std::optional<NodeRecord> to_record(const control::Node& node) {
  const auto id = NodeId::from_bytes(as_bytes(node.id()));
  if (!id || !is_valid_name(node.name())) return std::nullopt;
  return NodeRecord{*id,
                    node.name(),
                    node.online(),
                    node.incarnation(),
                    printable(node.version(), 40),
                    printable(node.platform(), 40),
                    node.seen_at_us()};
}

Welcome to_welcome(const control::Welcome& message) {
  Welcome welcome;
  welcome.network_name = printable(message.network_name());
  welcome.name = is_valid_name(message.name()) ? message.name() : "";
  welcome.name_changed = message.name_changed();
  welcome.observed = Address::parse(message.observed_address());
  welcome.server_time = to_time(message.server_time_us());
  welcome.has_all_nodes = message.nodes_size() < kWelcomePartMax;
  for (const control::Node& node : message.nodes()) {
    if (welcome.nodes.size() == kWelcomeNodesMax) break;
    if (auto record = to_record(node)) welcome.nodes.push_back(std::move(*record));
  }
  for (const std::string& server : message.stun_servers()) {
    if (welcome.stun_servers.size() < kStunServersMax) {
      welcome.stun_servers.push_back(printable(server));
    }
  }
  for (const std::string& address : message.server_addresses()) {
    if (welcome.server_addresses.size() == kServerAddressesMax) break;
    if (JoinToken::is_valid_address(address)) welcome.server_addresses.push_back(address);
  }
  return welcome;
}

/// Nothing but a person can change these.
bool is_final(control::Refused::Code code) {
  switch (code) {
    case control::Refused::TOKEN_INVALID:
    case control::Refused::TOKEN_EXPIRED:
    case control::Refused::TOKEN_USED:
    case control::Refused::NOT_A_MEMBER:
    case control::Refused::NAME_INVALID:
    case control::Refused::PROTOCOL:
      return true;
    default:
      return false;
  }
}

Refusal to_refusal(const control::Refused& message) {
  const auto wait = std::min(message.retry_after_s(), kRetryAfterMax);
  return {printable(message.text(), kReasonBytesMax), is_final(message.code()),
          std::chrono::seconds(wait)};
}

SignalFailure to_failure(control::SignalFailed::Code code) {
  if (code == control::SignalFailed::OFFLINE) return SignalFailure::kOffline;
  if (code == control::SignalFailed::NO_SUCH_NODE) return SignalFailure::kNoSuchNode;
  return SignalFailure::kTooMany;  // Or unknown to this version: it passes, or the attempt ends.
}

ServerMessage to_signal(const control::Signal& message) {
  const auto from = NodeId::from_bytes(as_bytes(message.node()));
  if (!from) return UnknownServerMessage{};
  return CarriedSignal{*from, to_bytes(as_bytes(message.body())),
                       Address::parse(message.sender_address()), message.is_stranger()};
}

ServerMessage to_failed_signal(const control::SignalFailed& message) {
  const auto to = NodeId::from_bytes(as_bytes(message.node()));
  if (!to) return UnknownServerMessage{};
  return FailedSignal{*to, message.number(), to_failure(message.code())};
}

ServerMessage to_secret(const control::RelaySecret& message) {
  RelaySecretKey secret;
  if (message.secret().size() != secret.size()) return UnknownServerMessage{};
  std::memcpy(secret.data(), message.secret().data(), secret.size());
  return secret;
}

std::optional<RelayKind> to_kind(control::Relay::Kind kind) {
  if (kind == control::Relay::OWN) return RelayKind::kOwn;
  if (kind == control::Relay::SHARED) return RelayKind::kShared;
  if (kind == control::Relay::SERVER) return RelayKind::kServer;
  return std::nullopt;
}

std::optional<GrantedRelay> to_relay(const control::Relay& message) {
  const auto id = NodeId::from_bytes(as_bytes(message.node()));
  const auto kind = to_kind(message.kind());
  if (!id || !kind || message.ticket().size() > kTicketBytesMax) return std::nullopt;
  GrantedRelay relay;
  relay.kind = *kind;
  relay.id = *id;
  if (is_valid_name(message.name())) relay.name = message.name();
  relay.ticket = to_bytes(as_bytes(message.ticket()));
  relay.bits_per_second = std::min(message.bits_per_second(), kBytesMax);
  relay.rtt_sum = std::chrono::microseconds(std::min(message.rtt_sum_us(), kRttMax));
  return relay;
}

ServerMessage to_grant(const control::RelayGrant& message) {
  const auto peer = NodeId::from_bytes(as_bytes(message.peer()));
  if (!peer) return UnknownServerMessage{};
  RelayGrant grant;
  grant.number = message.number();
  grant.peer = *peer;
  grant.reason = printable(message.reason(), kReasonBytesMax);
  grant.reason_name = printable(message.reason_name(), 40);
  for (const control::Relay& each : message.relays()) {
    if (grant.relays.size() == kGrantRelaysMax) break;
    if (auto relay = to_relay(each)) grant.relays.push_back(std::move(*relay));
  }
  return grant;
}

Credit to_credit(const control::Credit& message) {
  Credit credit;
  credit.number = message.number();
  credit.lent_bytes = std::min(message.lent_bytes(), kBytesMax);
  credit.borrowed_bytes = std::min(message.borrowed_bytes(), kBytesMax);
  credit.allowance_bytes = std::min(message.allowance_bytes(), kBytesMax);
  credit.lent_here_bytes = std::min(message.lent_here_bytes(), kBytesMax);
  credit.may_borrow = message.may_borrow();
  credit.reason = printable(message.reason(), kReasonBytesMax);
  return credit;
}

ServerMessage to_account_spent(const control::AccountSpent& message) {
  AccountSpent spent;
  if (message.account().size() != spent.account.size()) return UnknownServerMessage{};
  std::memcpy(spent.account.data(), message.account().data(), spent.account.size());
  return spent;
}

ServerMessage to_record_or_nothing(const control::Node& node) {
  if (auto record = to_record(node)) return std::move(*record);
  return UnknownServerMessage{};
}

ServerMessage to_node_gone(const std::string& bytes) {
  if (const auto id = NodeId::from_bytes(as_bytes(bytes))) return NodeGone{*id};
  return UnknownServerMessage{};
}

Bytes bytes_of(const control::ClientMessage& message) {
  return to_bytes(as_bytes(message.SerializeAsString()));
}

std::uint32_t microseconds(Duration duration) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(us, 0, kRttMax));
}

}  // namespace

Result<ServerMessage> decode_server_message(ByteView bytes) {
  control::ServerMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return WireError::kMalformed;
  }
  using Kind = control::ServerMessage;
  switch (message.kind_case()) {
    case Kind::kWelcome:
      return ServerMessage(to_welcome(message.welcome()));
    case Kind::kRefused:
      return ServerMessage(to_refusal(message.refused()));
    case Kind::kSignal:
      return to_signal(message.signal());
    case Kind::kSignalFailed:
      return to_failed_signal(message.signal_failed());
    case Kind::kNodeChanged:
      return to_record_or_nothing(message.node_changed().node());
    case Kind::kNodeRemoved:
      return to_node_gone(message.node_removed().id());
    case Kind::kPong:
      return ServerMessage(Pong{to_time(message.pong().server_time_us()),
                                Address::parse(message.pong().observed_address())});
    case Kind::kRelaySecret:
      return to_secret(message.relay_secret());
    case Kind::kRelayGrant:
      return to_grant(message.relay_grant());
    case Kind::kCredit:
      return ServerMessage(to_credit(message.credit()));
    case Kind::kAccountSpent:
      return to_account_spent(message.account_spent());
    case Kind::KIND_NOT_SET:
      return ServerMessage(UnknownServerMessage{});
  }
  return ServerMessage(UnknownServerMessage{});
}

Bytes encode_hello(const HelloWords& words) {
  control::ClientMessage message;
  control::Hello& hello = *message.mutable_hello();
  hello.set_join_secret(to_string(words.join_secret));
  hello.set_name(std::string(words.name));
  hello.set_version(std::string(words.version));
  hello.set_platform(std::string(words.platform));
  hello.set_incarnation(words.incarnation);
  return bytes_of(message);
}

Bytes encode_signal_request(const NodeId& to, ByteView body, std::uint64_t number) {
  control::ClientMessage message;
  control::Signal& signal = *message.mutable_signal();
  signal.set_node(to_string(to.key));
  signal.set_body(to_string(body));
  signal.set_number(number);
  return bytes_of(message);
}

Bytes encode_ping(std::uint64_t number) {
  control::ClientMessage message;
  message.mutable_ping()->set_number(number);
  return bytes_of(message);
}

Bytes encode_relay_wish(const RelayWish& wish) {
  control::ClientMessage message;
  control::RelayWish& out = *message.mutable_relay_wish();
  out.set_peer(to_string(wish.peer.key));
  out.set_number(wish.number);
  for (const NodeId& id : wish.only) out.add_only(to_string(id.key));
  for (const NodeId& id : wish.without) out.add_without(to_string(id.key));
  out.set_no_strangers(wish.no_strangers);
  return bytes_of(message);
}

Bytes encode_share_offer(const ShareOffer& offer) {
  control::ClientMessage message;
  control::ShareOffer& out = *message.mutable_share_offer();
  out.set_bits_per_second(offer.bits_per_second);
  out.set_used_bits_per_second(offer.used_bits_per_second);
  out.set_allocations(offer.allocations);
  out.set_own_bits_per_second(offer.own_bits_per_second);
  out.set_is_reachable(offer.is_reachable);
  return bytes_of(message);
}

Bytes encode_receipt(ByteView body, ByteView signature) {
  control::ClientMessage message;
  message.mutable_receipt()->set_body(to_string(body));
  message.mutable_receipt()->set_signature(to_string(signature));
  return bytes_of(message);
}

Bytes encode_relay_report(const RelayReport& report) {
  control::ClientMessage message;
  control::RelayReport& out = *message.mutable_relay_report();
  out.set_relay(to_string(report.relay.key));
  out.set_rtt_us(microseconds(report.rtt));
  out.set_bits_per_second(report.bits_per_second);
  out.set_loss_permille(std::min(report.loss_permille, 1'000U));
  out.set_is_unusable(report.is_unusable);
  return bytes_of(message);
}

Bytes encode_credit_query(std::uint64_t number) {
  control::ClientMessage message;
  message.mutable_credit_query()->set_number(number);
  return bytes_of(message);
}

}  // namespace openp2p::agent
