#include "quic/frame_scan.h"

namespace openp2p::quic {
namespace {

// Frame types, RFC 9000 section 19.
constexpr std::uint64_t kStopSending = 0x05;
constexpr std::uint64_t kStreamFirst = 0x08;
constexpr std::uint64_t kStreamLast = 0x0f;
constexpr std::uint64_t kStreamHasLength = 0x02;
constexpr std::uint64_t kStreamHasOffset = 0x04;

}  // namespace

std::optional<FrameScan::StopSending> FrameScan::next() {
  while (!rest_.empty()) {
    const auto type = number();
    if (!type) return std::nullopt;
    if (*type == kStopSending) {
      const auto stream = number();
      const auto code = number();
      if (!stream || !code) return std::nullopt;
      return StopSending{static_cast<std::int64_t>(*stream), *code};
    }
    if (!skip_frame(*type)) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> FrameScan::number() {
  if (rest_.empty()) return std::nullopt;
  const auto first = std::to_integer<std::uint64_t>(rest_[0]);
  const std::size_t size = std::size_t{1} << (first >> 6);
  if (rest_.size() < size) return std::nullopt;
  std::uint64_t value = first & 0x3f;
  for (std::size_t i = 1; i < size; ++i) {
    value = value << 8 | std::to_integer<std::uint64_t>(rest_[i]);
  }
  rest_ = rest_.subspan(size);
  return value;
}

bool FrameScan::skip_numbers(std::uint64_t count) {
  for (; count > 0; --count) {
    if (!number()) return false;  // Each takes a byte at least: the payload bounds the loop.
  }
  return true;
}

bool FrameScan::skip_bytes(std::uint64_t count) {
  if (count > rest_.size()) return false;
  rest_ = rest_.subspan(static_cast<std::size_t>(count));
  return true;
}

bool FrameScan::skip_counted() {
  const auto size = number();
  return size && skip_bytes(*size);
}

bool FrameScan::skip_frame(std::uint64_t type) {
  if (type >= kStreamFirst && type <= kStreamLast) return skip_stream(type);
  switch (type) {
    case 0x00:  // PADDING
    case 0x01:  // PING
    case 0x1e:  // HANDSHAKE_DONE
      return true;
    case 0x02:  // ACK
    case 0x03:
      return skip_ack(/*has_ecn=*/type == 0x03);
    case 0x04:  // RESET_STREAM
      return skip_numbers(3);
    case 0x06:  // CRYPTO
      return skip_numbers(1) && skip_counted();
    case 0x07:  // NEW_TOKEN
      return skip_counted();
    case 0x11:  // MAX_STREAM_DATA
    case 0x15:  // STREAM_DATA_BLOCKED
      return skip_numbers(2);
    case 0x10:  // MAX_DATA
    case 0x12:  // MAX_STREAMS
    case 0x13:
    case 0x14:  // DATA_BLOCKED
    case 0x16:  // STREAMS_BLOCKED
    case 0x17:
    case 0x19:  // RETIRE_CONNECTION_ID
      return skip_numbers(1);
    case 0x18:  // NEW_CONNECTION_ID: two numbers, a counted id (its size is below 64), a token
                // of 16.
      return skip_numbers(2) && skip_counted() && skip_bytes(16);
    case 0x1a:  // PATH_CHALLENGE
    case 0x1b:  // PATH_RESPONSE
      return skip_bytes(8);
    default:  // CONNECTION_CLOSE, after which nothing matters, or nothing we asked for.
      return false;
  }
}

bool FrameScan::skip_ack(bool has_ecn) {
  if (!skip_numbers(2)) return false;
  const auto ranges = number();
  if (!ranges || *ranges > rest_.size()) return false;
  return skip_numbers(1 + 2 * *ranges + (has_ecn ? 3 : 0));
}

bool FrameScan::skip_stream(std::uint64_t type) {
  if (!skip_numbers((type & kStreamHasOffset) != 0 ? 2 : 1)) return false;
  if ((type & kStreamHasLength) != 0) return skip_counted();
  rest_ = {};  // It reaches to the packet's end.
  return true;
}

}  // namespace openp2p::quic
