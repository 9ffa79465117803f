#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "relay/hop.h"
#include "session/session.h"
#include "wire/control_frame.h"

/// The relay stream of one session, as both sides use it: two bytes that say what it is, from the
/// end only, then frames of at most kMessageBytesMax.
namespace openp2p::relay {

class MessageStream {
 public:
  /// What waits for a slow reader: 1,024 answers. Who lets more wait has its stream reset.
  static constexpr std::size_t kQueuedBytesMax = 256 << 10;
  /// Application error codes of RESET_STREAM and STOP_SENDING.
  static constexpr std::uint64_t kProtocolCode = 1;
  static constexpr std::uint64_t kRefusedCode = 2;

  enum class Side { kEnd, kRelay };
  /// At an end, the first bytes are written at once.
  MessageStream(Hop& hop, session::StreamId id, Side side);

  session::StreamId id() const { return id_; }
  /// Until reset() or close(), or the session's end.
  bool is_open() const { return !is_closed_ && hop_.session() != nullptr; }
  /// False: too much waits, or it is closed. Nothing was taken.
  bool send(ByteView message);
  void flush();
  /// Takes a message off the front of `data`, as ControlFrameDecoder::take() does.
  Result<std::optional<ByteView>> take(ByteView& data);
  void consume(std::size_t bytes);
  void reset(std::uint64_t code);
  void close() { is_closed_ = true; }  ///< It ended by itself.

 private:
  bool take_header(ByteView& data);

  Hop& hop_;
  bool is_closed_ = false;
  const session::StreamId id_;
  std::size_t header_bytes_;  ///< Still to come.
  ControlFrameDecoder decoder_;
  Bytes out_;  ///< What the stream has no room for yet.
};

}  // namespace openp2p::relay
