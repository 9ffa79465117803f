#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"

/// How control messages (proto/control.proto) follow each other on a stream: a 4-byte length in
/// network order, and that many bytes.
namespace openp2p {

/// A Welcome with 256 nodes of the longest names (194 bytes each) fits; the other nodes of a larger
/// network follow as NodeChanged. A longer message ends the session.
constexpr std::size_t kControlMessageBytesMax = 65'536;
constexpr std::size_t kControlFrameHeaderBytes = 4;

/// Why the server closes a control session: the application error code of its CONNECTION_CLOSE (RFC
/// 9000 section 19.19), whose reason phrase says it to people.
enum class ControlEnd : std::uint64_t {
  kProtocol = 1,  ///< The other side broke the protocol.
  kRefused = 2,   ///< After a Refused.
  kRemoved = 3,   ///< The node was removed from its network.
  kReplaced = 4,  ///< The same node opened a newer session.
  kStopping = 5,  ///< The server stops or restarts: try again soon.
  kTooSlow = 6,   ///< The node does not read what it is sent.
  kTooMuch = 7,   ///< Over a limit.
  kNoHello = 8,   ///< Nothing was said in time.
};

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
