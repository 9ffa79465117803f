#include "server/messages.h"

#include <algorithm>

#include "base/check.h"
#include "control.pb.h"
#include "wire/codec.h"
#include "wire/control_frame.h"
#include "wire/join_token.h"

namespace openp2p::server {
namespace {

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

/// printable() adds an ellipsis of three bytes to what it cuts.
std::string label(std::string_view text) { return printable(text, kLabelBytesMax - 3); }

Bytes serialized(const control::ServerMessage& message) {
  Bytes bytes(message.ByteSizeLong());
  CHECK(bytes.size() <= kControlMessageBytesMax);
  CHECK(message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size())));
  return bytes;
}

void fill(control::Node& out, const NodeView& node) {
  out.set_id(to_string(node.id.key));
  out.set_name(node.name);
  out.set_online(node.is_online);
  out.set_incarnation(node.incarnation);
  out.set_version(node.version);
  out.set_platform(node.platform);
  out.set_seen_at_us(node.seen_at.us);
}

Result<ClientMessage> to_hello(const control::Hello& hello) {
  if (hello.join_secret().size() > JoinToken::kSecretBytes) return WireError::kTooLong;
  if (hello.name().size() > kNameWishBytesMax) return WireError::kTooLong;
  return Hello{.join_secret = to_bytes(as_bytes(hello.join_secret())),
               .name = hello.name(),
               .version = label(hello.version()),
               .platform = label(hello.platform()),
               .incarnation = hello.incarnation()};
}

Result<ClientMessage> to_signal(const control::Signal& signal) {
  const auto to = NodeId::from_bytes(as_bytes(signal.node()));
  if (!to) return WireError::kMalformed;
  if (signal.body().size() > kSignalBodyBytesMax) return WireError::kTooLong;
  return SignalRequest{
      .to = *to, .number = signal.number(), .body = to_bytes(as_bytes(signal.body()))};
}

Result<ClientMessage> to_rename(const control::Rename& rename) {
  if (rename.name().size() > kNameWishBytesMax) return WireError::kTooLong;
  return Rename{.name = rename.name()};
}

Result<std::vector<NodeId>> to_nodes(
    const google::protobuf::RepeatedPtrField<std::string>& wished) {
  if (wished.size() > static_cast<int>(kWishNodesMax)) return WireError::kTooLong;
  std::vector<NodeId> nodes;
  for (const std::string& bytes : wished) {
    const auto node = NodeId::from_bytes(as_bytes(bytes));
    if (!node) return WireError::kMalformed;
    nodes.push_back(*node);
  }
  return nodes;
}

Result<ClientMessage> to_wish(const control::RelayWish& wish) {
  const auto peer = NodeId::from_bytes(as_bytes(wish.peer()));
  if (!peer) return WireError::kMalformed;
  auto only = to_nodes(wish.only());
  if (!only) return only.error();
  auto without = to_nodes(wish.without());
  if (!without) return without.error();
  return RelayWish{.peer = *peer,
                   .number = wish.number(),
                   .only = std::move(*only),
                   .without = std::move(*without),
                   .no_strangers = wish.no_strangers()};
}

ShareOffer to_offer(const control::ShareOffer& offer) {
  return {.bits_per_second = std::min(offer.bits_per_second(), kBitsPerSecondMax),
          .used_bits_per_second = std::min(offer.used_bits_per_second(), kBitsPerSecondMax),
          .allocations = std::min(offer.allocations(), kAllocationsMax),
          .own_bits_per_second = std::min(offer.own_bits_per_second(), kBitsPerSecondMax),
          .is_reachable = offer.is_reachable()};
}

Result<ClientMessage> to_receipt(const control::Receipt& receipt) {
  if (receipt.body().size() > kReceiptBytesMax) return WireError::kTooLong;
  SignedReceipt out{.body = to_bytes(as_bytes(receipt.body()))};
  const ByteView signature = as_bytes(receipt.signature());
  if (signature.size() != out.signature.size()) return WireError::kMalformed;
  std::ranges::copy(signature, out.signature.begin());
  return out;
}

Result<ClientMessage> to_report(const control::RelayReport& report) {
  const auto relay = NodeId::from_bytes(as_bytes(report.relay()));
  if (!relay) return WireError::kMalformed;
  return RelayReport{.relay = *relay,
                     .rtt_us = std::min(report.rtt_us(), kRttMaxUs),
                     .bits_per_second = std::min(report.bits_per_second(), kBitsPerSecondMax),
                     .loss_permille = std::min<std::uint32_t>(report.loss_permille(), 1'000),
                     .is_unusable = report.is_unusable()};
}

void fill(control::Relay& out, const GrantedRelay& relay) {
  static_assert(static_cast<int>(RelayKind::kServer) == control::Relay::SERVER);
  out.set_kind(static_cast<control::Relay::Kind>(relay.kind));
  out.set_node(to_string(relay.node.key));
  out.set_name(relay.name);
  out.set_ticket(to_string(relay.ticket));
  out.set_bits_per_second(relay.bits_per_second);
  out.set_rtt_sum_us(relay.rtt_sum_us);
}

}  // namespace

Result<ClientMessage> decode_client_message(ByteView bytes) {
  CHECK(bytes.size() <= kControlMessageBytesMax);
  control::ClientMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return WireError::kMalformed;
  }
  switch (message.kind_case()) {
    case control::ClientMessage::kHello:
      return to_hello(message.hello());
    case control::ClientMessage::kSignal:
      return to_signal(message.signal());
    case control::ClientMessage::kPing:
      return Ping{.number = message.ping().number()};
    case control::ClientMessage::kRename:
      return to_rename(message.rename());
    case control::ClientMessage::kRelayWish:
      return to_wish(message.relay_wish());
    case control::ClientMessage::kShareOffer:
      return to_offer(message.share_offer());
    case control::ClientMessage::kReceipt:
      return to_receipt(message.receipt());
    case control::ClientMessage::kCreditQuery:
      return CreditQuery{.number = message.credit_query().number()};
    case control::ClientMessage::kRelayReport:
      return to_report(message.relay_report());
    case control::ClientMessage::KIND_NOT_SET:
      return UnknownMessage{};
  }
  return WireError::kMalformed;
}

Bytes encode_welcome(const Welcome& welcome) {
  CHECK(welcome.nodes.size() <= kWelcomeNodesMax);
  control::ServerMessage message;
  control::Welcome& out = *message.mutable_welcome();
  out.set_network_id(to_string(welcome.network));
  out.set_network_name(welcome.network_name);
  out.set_name(welcome.name);
  out.set_name_changed(welcome.is_name_changed);
  out.set_server_time_us(welcome.server_time.us);
  out.set_observed_address(welcome.observed_address);
  for (const NodeView& node : welcome.nodes) fill(*out.add_nodes(), node);
  for (const std::string& server : welcome.stun_servers) out.add_stun_servers(server);
  for (const std::string& address : welcome.server_addresses) out.add_server_addresses(address);
  return serialized(message);
}

Bytes encode_refused(const Refusal& refusal) {
  static_assert(static_cast<int>(RefusalCode::kProtocol) == control::Refused::PROTOCOL);
  static_assert(static_cast<int>(RefusalCode::kNotAMember) == control::Refused::NOT_A_MEMBER);
  control::ServerMessage message;
  control::Refused& out = *message.mutable_refused();
  out.set_code(static_cast<control::Refused::Code>(refusal.code));
  out.set_text(refusal.text);
  out.set_retry_after_s(refusal.retry_after_s);
  return serialized(message);
}

Bytes encode_signal(const CarriedSignal& signal) {
  control::ServerMessage message;
  control::Signal& out = *message.mutable_signal();
  out.set_node(to_string(signal.from.key));
  out.set_number(signal.number);
  out.set_body(to_string(signal.body));
  out.set_sender_address(signal.sender_address);
  out.set_is_stranger(signal.is_stranger);
  return serialized(message);
}

Bytes encode_signal_failed(const NodeId& to, std::uint64_t number, SignalFailure why) {
  static_assert(static_cast<int>(SignalFailure::kTooMany) == control::SignalFailed::TOO_MANY);
  control::ServerMessage message;
  control::SignalFailed& out = *message.mutable_signal_failed();
  out.set_node(to_string(to.key));
  out.set_number(number);
  out.set_code(static_cast<control::SignalFailed::Code>(why));
  return serialized(message);
}

Bytes encode_node_changed(const NodeView& node) {
  control::ServerMessage message;
  fill(*message.mutable_node_changed()->mutable_node(), node);
  return serialized(message);
}

Bytes encode_node_removed(const NodeId& id) {
  control::ServerMessage message;
  message.mutable_node_removed()->set_id(to_string(id.key));
  return serialized(message);
}

Bytes encode_pong(std::uint64_t number, WallTime server_time, std::string_view observed_address) {
  control::ServerMessage message;
  control::Pong& out = *message.mutable_pong();
  out.set_number(number);
  out.set_server_time_us(server_time.us);
  out.set_observed_address(std::string(observed_address));
  return serialized(message);
}

Bytes encode_relay_secret(ByteView secret) {
  control::ServerMessage message;
  message.mutable_relay_secret()->set_secret(to_string(secret));
  return serialized(message);
}

Bytes encode_relay_grant(const RelayGrant& grant) {
  CHECK(grant.relays.size() <= kGrantRelaysMax);
  control::ServerMessage message;
  control::RelayGrant& out = *message.mutable_relay_grant();
  out.set_number(grant.number);
  out.set_peer(to_string(grant.peer.key));
  for (const GrantedRelay& relay : grant.relays) fill(*out.add_relays(), relay);
  out.set_reason(grant.reason);
  out.set_reason_name(grant.reason_name);
  return serialized(message);
}

Bytes encode_credit(const Credit& credit) {
  control::ServerMessage message;
  control::Credit& out = *message.mutable_credit();
  out.set_number(credit.number);
  out.set_lent_bytes(credit.lent_bytes);
  out.set_borrowed_bytes(credit.borrowed_bytes);
  out.set_allowance_bytes(credit.allowance_bytes);
  out.set_lent_here_bytes(credit.lent_here_bytes);
  out.set_may_borrow(credit.may_borrow);
  out.set_reason(credit.reason);
  return serialized(message);
}

Bytes encode_account_spent(ByteView account) {
  control::ServerMessage message;
  message.mutable_account_spent()->set_account(to_string(account));
  return serialized(message);
}

}  // namespace openp2p::server
