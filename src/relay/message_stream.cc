#include "relay/message_stream.h"

#include <array>

#include "relay/relay_message.h"
#include "wire/codec.h"

namespace openp2p::relay {
namespace {

constexpr std::array kHeader = {kStreamKind, kStreamVersion};

}  // namespace

MessageStream::MessageStream(Hop& hop, session::StreamId id, Side side)
    : hop_(hop), id_(id), header_bytes_(side == Side::kRelay ? kHeader.size() : 0) {
  if (side == Side::kRelay) return;
  out_.assign(kHeader.begin(), kHeader.end());
  flush();
}

bool MessageStream::send(ByteView message) {
  if (!is_open() || out_.size() + message.size() > kQueuedBytesMax) return false;
  append_control_frame(message, out_);
  flush();
  return true;
}

void MessageStream::flush() {
  if (!is_open() || out_.empty()) return;
  const std::size_t written = hop_.session()->write(id_, out_);
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(written));
  if (out_.empty()) Bytes().swap(out_);  // An idle stream holds no memory.
}

bool MessageStream::take_header(ByteView& data) {
  while (header_bytes_ > 0 && !data.empty()) {
    if (data.front() != kHeader[kHeader.size() - header_bytes_]) return false;
    data = data.subspan(1);
    --header_bytes_;
  }
  return true;
}

Result<std::optional<ByteView>> MessageStream::take(ByteView& data) {
  if (!take_header(data)) return WireError::kMalformed;
  const auto message = decoder_.take(data);
  if (message && *message && (*message)->size() > kMessageBytesMax) return WireError::kTooLong;
  return message;
}

void MessageStream::consume(std::size_t bytes) {
  if (is_open()) hop_.session()->consume(id_, bytes);
}

void MessageStream::reset(std::uint64_t code) {
  if (!is_open()) return;
  is_closed_ = true;
  Bytes().swap(out_);
  hop_.session()->stop(id_, code);
  hop_.session()->reset(id_, code);
}

}  // namespace openp2p::relay
