#pragma once

#include <cstddef>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"

/// How control messages (proto/control.proto) follow each other on a stream: a 4-byte length in
/// network order, and that many bytes.
namespace openp2p {

/// A Welcome with 1,000 nodes of the longest names fits; a longer message ends the session.
constexpr std::size_t kControlMessageBytesMax = 65'536;
constexpr std::size_t kControlFrameHeaderBytes = 4;

/// Puts `message` with its length at the end of `out`. Requires at most kControlMessageBytesMax.
void append_control_frame(ByteView message, Bytes& out);

/// Cuts a stream of bytes, which comes in pieces of any size, into messages.
///
/// Holds at most one message that is not whole yet, and memory only for bytes that came: a length
/// that is claimed costs nothing. Threading: one owner.
class ControlFrameDecoder {
 public:
  /// Takes bytes off the front of `data` up to the end of a message and gives it; nullopt once all
  /// of `data` is taken and no message is whole. The view is valid until the next call.
  /// WireError::kTooLong: the other side breaks the protocol, and every further call fails.
  ///
  ///   for (;;) {
  ///     const auto message = decoder.take(data);
  ///     if (!message) return message.error();
  ///     if (!*message) break;
  ///     on_message(**message);
  ///   }
  Result<std::optional<ByteView>> take(ByteView& data);

  std::size_t held_bytes() const { return held_.size(); }
  /// True between messages: where a stream may end without anything being lost.
  bool is_between_messages() const { return held_.empty() || is_given_; }

 private:
  bool fill(ByteView& data, std::size_t size);

  Bytes held_;             ///< Header and body as far as they came.
  bool is_given_ = false;  ///< What is held was given out by the last call.
  bool is_broken_ = false;
};

}  // namespace openp2p
