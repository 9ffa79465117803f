#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

/// Finds STOP_SENDING frames in an opened packet (RFC 9000 sections 12.4 and 19.5). ngtcp2 0.12
/// obeys such a frame without telling anyone: its callback of that name speaks of our own. Without
/// this a stream with nothing to send just now would never learn that its peer reads no more.
///
/// Hot path: a packet of bulk data is one or two steps.
namespace openp2p::quic {

class FrameScan {
 public:
  struct StopSending {
    std::int64_t stream;
    std::uint64_t code;
  };

  explicit FrameScan(ByteView payload) : rest_(payload) {}

  /// The next one; nullopt at the end, and where the payload breaks the format: ngtcp2 judges it.
  std::optional<StopSending> next();

 private:
  std::optional<std::uint64_t> number();  ///< A variable-length integer (section 16).
  bool skip_numbers(std::uint64_t count);
  bool skip_bytes(std::uint64_t count);
  bool skip_counted();
  bool skip_frame(std::uint64_t type);
  bool skip_ack(bool has_ecn);
  bool skip_stream(std::uint64_t type);

  ByteView rest_;
};

}  // namespace openp2p::quic
