#include "relay/relay_message.h"

#include <algorithm>

#include "base/check.h"
#include "relay.pb.h"
#include "wire/codec.h"

namespace openp2p::relay {
namespace {

static_assert(static_cast<int>(RefusalCode::kRelayedHop) == proto::Refused::RELAYED_HOP);

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

template <class Message>
Status parse(ByteView bytes, Message& message) {
  if (bytes.size() > kMessageBytesMax) return WireError::kTooLong;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return WireError::kMalformed;
  }
  return boost::system::in_place_value;
}

/// All messages that say no more than a channel.
template <class To, class Message, class Said>
Result<Message> to_channel_message(const Said& said) {
  if (said.channel() > kChannelMax) return WireError::kMalformed;
  return Message(To{said.channel()});
}

template <class Message>
Result<Message> to_letter(const proto::Letter& letter) {
  const auto node = NodeId::from_bytes(as_bytes(letter.node()));
  if (!node || letter.body().empty()) return WireError::kMalformed;
  if (letter.body().size() > kLetterBytesMax) return WireError::kTooLong;
  return Message(LetterMessage{*node, to_bytes(as_bytes(letter.body()))});
}

Result<EndMessage> to_allocate(const proto::Allocate& allocate) {
  const auto peer = NodeId::from_bytes(as_bytes(allocate.peer()));
  if (!peer) return WireError::kMalformed;
  AllocateMessage out{allocate.number(), *peer, std::nullopt};
  if (!allocate.ticket().empty()) {
    const auto ticket = decode_ticket(as_bytes(allocate.ticket()));
    if (!ticket) return WireError::kMalformed;
    out.ticket = *ticket;
  }
  return EndMessage(out);
}

Result<EndMessage> to_receipt(const proto::Receipt& receipt) {
  ReceiptMessage out;
  out.channel = receipt.channel();
  const ByteView body = as_bytes(receipt.body());
  const ByteView signature = as_bytes(receipt.signature());
  if (out.channel > kChannelMax || body.size() != out.receipt.body.size() ||
      signature.size() != out.receipt.signature.size()) {
    return WireError::kMalformed;
  }
  std::ranges::copy(body, out.receipt.body.begin());
  std::ranges::copy(signature, out.receipt.signature.begin());
  return EndMessage(out);
}

Result<RelayMessage> to_allocated(const proto::Allocated& allocated) {
  if (allocated.channel() > kChannelMax) return WireError::kMalformed;
  return RelayMessage(AllocatedMessage{allocated.number(), allocated.channel(),
                                       allocated.bits_per_second(), allocated.is_peer_there()});
}

Result<RelayMessage> to_refused(const proto::Refused& refused) {
  const int code = refused.code();  // Of a newer relay: its text says more.
  return RelayMessage(RefusedMessage{
      refused.number(),
      proto::Refused::Code_IsValid(code) ? static_cast<RefusalCode>(code) : RefusalCode::kUnknown,
      printable(refused.text(), kTextBytesMax)});
}

Result<RelayMessage> to_left(const proto::Left& left) {
  if (left.channel() > kChannelMax) return WireError::kMalformed;
  return RelayMessage(LeftMessage{left.channel(), printable(left.text(), kTextBytesMax)});
}

Result<RelayMessage> to_letter_failed(const proto::LetterFailed& failed) {
  const auto node = NodeId::from_bytes(as_bytes(failed.node()));
  if (!node) return WireError::kMalformed;
  return RelayMessage(LetterFailedMessage{*node});
}

void fill(proto::Letter& out, const LetterMessage& letter) {
  CHECK(letter.body.size() <= kLetterBytesMax);
  out.set_node(to_string(letter.node.key));
  out.set_body(to_string(letter.body));
}

/// Puts each kind of message of ours into the protobuf one.
struct EndFiller {
  proto::EndMessage& out;

  void operator()(const UnknownMessage&) const { CHECK(false); }
  void operator()(const AllocateMessage& message) const {
    proto::Allocate& allocate = *out.mutable_allocate();
    allocate.set_number(message.number);
    allocate.set_peer(to_string(message.peer.key));
    if (message.ticket) allocate.set_ticket(to_string(encode(*message.ticket)));
  }
  void operator()(const ReleaseMessage& message) const {
    out.mutable_release()->set_channel(message.channel);
  }
  void operator()(const ReceiptMessage& message) const {
    proto::Receipt& receipt = *out.mutable_receipt();
    receipt.set_channel(message.channel);
    receipt.set_body(to_string(message.receipt.body));
    receipt.set_signature(to_string(message.receipt.signature));
  }
  void operator()(const LetterMessage& message) const { fill(*out.mutable_letter(), message); }
};

struct RelayFiller {
  proto::RelayMessage& out;

  void operator()(const UnknownMessage&) const { CHECK(false); }
  void operator()(const AllocatedMessage& message) const {
    proto::Allocated& allocated = *out.mutable_allocated();
    allocated.set_number(message.number);
    allocated.set_channel(message.channel);
    allocated.set_bits_per_second(message.bits_per_second);
    allocated.set_is_peer_there(message.is_peer_there);
  }
  void operator()(const RefusedMessage& message) const {
    proto::Refused& refused = *out.mutable_refused();
    refused.set_number(message.number);
    refused.set_code(static_cast<proto::Refused::Code>(message.code));
    refused.set_text(printable(message.text, kTextBytesMax));
  }
  void operator()(const JoinedMessage& message) const {
    out.mutable_joined()->set_channel(message.channel);
  }
  void operator()(const LeftMessage& message) const {
    out.mutable_left()->set_channel(message.channel);
    out.mutable_left()->set_text(printable(message.text, kTextBytesMax));
  }
  void operator()(const ReceiptWantedMessage& message) const {
    out.mutable_receipt_wanted()->set_channel(message.channel);
  }
  void operator()(const LetterMessage& message) const { fill(*out.mutable_letter(), message); }
  void operator()(const LetterFailedMessage& message) const {
    out.mutable_letter_failed()->set_node(to_string(message.node.key));
  }
};

template <class Proto, class Filler, class Message>
Bytes serialized(const Message& message) {
  Proto out;
  std::visit(Filler{out}, message);
  Bytes bytes = to_bytes(as_bytes(out.SerializeAsString()));
  CHECK(bytes.size() <= kMessageBytesMax);
  return bytes;
}

}  // namespace

Result<EndMessage> decode_end_message(ByteView bytes) {
  proto::EndMessage message;
  if (const auto parsed = parse(bytes, message); !parsed) return parsed.error();
  switch (message.kind_case()) {
    case proto::EndMessage::kAllocate:
      return to_allocate(message.allocate());
    case proto::EndMessage::kRelease:
      return to_channel_message<ReleaseMessage, EndMessage>(message.release());
    case proto::EndMessage::kReceipt:
      return to_receipt(message.receipt());
    case proto::EndMessage::kLetter:
      return to_letter<EndMessage>(message.letter());
    case proto::EndMessage::KIND_NOT_SET:
      break;
  }
  EndMessage unknown;  // g++ 12 warns of parts of a temporary that are not there.
  return unknown;
}

Result<RelayMessage> decode_relay_message(ByteView bytes) {
  proto::RelayMessage message;
  if (const auto parsed = parse(bytes, message); !parsed) return parsed.error();
  switch (message.kind_case()) {
    case proto::RelayMessage::kAllocated:
      return to_allocated(message.allocated());
    case proto::RelayMessage::kRefused:
      return to_refused(message.refused());
    case proto::RelayMessage::kJoined:
      return to_channel_message<JoinedMessage, RelayMessage>(message.joined());
    case proto::RelayMessage::kLeft:
      return to_left(message.left());
    case proto::RelayMessage::kReceiptWanted:
      return to_channel_message<ReceiptWantedMessage, RelayMessage>(message.receipt_wanted());
    case proto::RelayMessage::kLetter:
      return to_letter<RelayMessage>(message.letter());
    case proto::RelayMessage::kLetterFailed:
      return to_letter_failed(message.letter_failed());
    case proto::RelayMessage::KIND_NOT_SET:
      break;
  }
  RelayMessage unknown;  // As above.
  return unknown;
}

Bytes encode(const EndMessage& message) {
  return serialized<proto::EndMessage, EndFiller>(message);
}
Bytes encode(const RelayMessage& message) {
  return serialized<proto::RelayMessage, RelayFiller>(message);
}

}  // namespace openp2p::relay
