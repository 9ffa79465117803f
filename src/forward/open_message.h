#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

/// The first bytes of a stream that a node opens to a peer, and the answer.
///
///   request: kind (1), version (1) | for a forward: port (2), host length (1), host
///   answer:  status (1), text length (2), text
///
/// Network byte order. After a request the opener may send data at once; it reaches the destination
/// only after the answer kOpened. Everything is bounded: a decoder holds at most kRequestBytesMax
/// or kAnswerBytesMax.
namespace openp2p::forward {

enum class StreamKind : std::uint8_t {
  kTcp = 1,   ///< A forwarded TCP connection.
  kEcho = 2,  ///< What is sent comes back: measures the path that data takes.
  kUdp = 4,   ///< A UDP flow of a forward (udp_flow.h).
};

struct OpenRequest {
  static constexpr std::size_t kHostBytesMax =
      255;  ///< What the length says; is_valid_host() takes 253.
  StreamKind kind = StreamKind::kTcp;
  std::string host;
  std::uint16_t port = 0;
};

enum class OpenStatus : std::uint8_t {
  kOpened = 0,
  kDenied = 1,   ///< The destination node's policy; the text says what would allow it.
  kRefused = 2,  ///< Nothing listens there.
  kUnreachable = 3,
  kTimedOut = 4,
  kNameNotFound = 5,
  kBusy = 6,         ///< A limit of the destination node.
  kUnsupported = 7,  ///< Unknown kind or version.
  kFailed = 8,
};
std::string_view open_status_text(OpenStatus status);

struct OpenAnswer {
  static constexpr std::size_t kTextBytesMax = 512;
  OpenStatus status = OpenStatus::kOpened;
  std::string text;  ///< One sentence for the person at the other end; printable().
};

inline constexpr std::size_t kRequestBytesMax = 5 + OpenRequest::kHostBytesMax;
inline constexpr std::size_t kAnswerBytesMax = 3 + OpenAnswer::kTextBytesMax;

Bytes encode(const OpenRequest& request);
Bytes encode(const OpenAnswer& answer);  ///< A longer text is cut.

/// Collects a message that arrives in pieces. `feed` gives how many bytes of `data` it took; the
/// rest is stream data. An error is final.
template <class Message>
class OpenDecoder {
 public:
  Result<std::size_t> feed(ByteView data);
  const std::optional<Message>& message() const { return message_; }

 private:
  Bytes held_;
  std::optional<Message> message_;
};

}  // namespace openp2p::forward
