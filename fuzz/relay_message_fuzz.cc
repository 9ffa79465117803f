// Law: what decodes is bounded, and encodes to a message that decodes and encodes alike.
#include <algorithm>

#include "base/check.h"
#include "relay/relay_message.h"

using namespace openp2p;
using namespace openp2p::relay;

namespace {

bool is_text(const std::string& text) {
  return text.size() <= kTextBytesMax + 8 && printable(text, kTextBytesMax + 8) == text;
}

struct Limits {
  void operator()(const UnknownMessage&) const {}
  void operator()(const AllocateMessage&) const {}
  void operator()(const ReleaseMessage& message) const { CHECK(message.channel <= kChannelMax); }
  void operator()(const ReceiptMessage& message) const { CHECK(message.channel <= kChannelMax); }
  void operator()(const LetterMessage& message) const {
    CHECK(!message.body.empty() && message.body.size() <= kLetterBytesMax);
  }
  void operator()(const AllocatedMessage& message) const { CHECK(message.channel <= kChannelMax); }
  void operator()(const RefusedMessage& message) const { CHECK(is_text(message.text)); }
  void operator()(const JoinedMessage& message) const { CHECK(message.channel <= kChannelMax); }
  void operator()(const LeftMessage& message) const { CHECK(is_text(message.text)); }
  void operator()(const ReceiptWantedMessage& message) const {
    CHECK(message.channel <= kChannelMax);
  }
  void operator()(const LetterFailedMessage&) const {}
};

template <class Message, class Decode>
void check(ByteView input, Decode decode) {
  const Result<Message> message = decode(input);
  if (!message || std::holds_alternative<UnknownMessage>(*message)) return;
  std::visit(Limits(), *message);
  const Bytes written = encode(*message);
  const Result<Message> again = decode(written);
  CHECK(again.has_value() && again->index() == message->index());
  CHECK(std::ranges::equal(encode(*again), written));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  check<EndMessage>(input, decode_end_message);
  check<RelayMessage>(input, decode_relay_message);
  return 0;
}
