#include "server/messages.h"

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

Bytes encode_signal(const NodeId& from, std::uint64_t number, ByteView body,
                    std::string_view sender_address) {
  control::ServerMessage message;
  control::Signal& out = *message.mutable_signal();
  out.set_node(to_string(from.key));
  out.set_number(number);
  out.set_body(to_string(body));
  out.set_sender_address(std::string(sender_address));
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

}  // namespace openp2p::server
