#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "session/session.h"

/// What a sealed datagram of a UDP forward carries:
///
///   whole:    flow (4), 0 (1) | data
///   fragment: flow (4), 1 (1), message (4), total bytes (2), index (1), count (1) | data
///
/// Network byte order. A datagram that is larger than the path's payload travels in fragments of
/// equal size, the last one what is left: total and count give each fragment's place and length, so
/// fragments cannot overlap and need no offsets. Messages are counted in 32 bits, since 16 would
/// come round at today's speeds while a fragment still waits for its others (RFC 4963).
namespace openp2p::forward {

/// Names a UDP flow within its session: the low 32 bits of its stream's id.
using FlowId = Strong<struct FlowIdTag, std::uint32_t>;
inline FlowId flow_id_of(session::StreamId stream) {
  return FlowId(static_cast<std::uint32_t>(stream.value()));
}

/// The largest UDP payload over IPv4 (RFC 768, RFC 791): 65,535 without both headers.
inline constexpr std::size_t kDatagramBytesMax = 65'507;

inline constexpr std::size_t kWholeHeaderBytes = 4 + 1;
inline constexpr std::size_t kFragmentHeaderBytes = 4 + 1 + 4 + 2 + 1 + 1;

/// One fragment's place in its datagram.
struct FragmentPlace {
  /// kDatagramBytesMax in sealed datagrams of the smallest payload makes 57; a bit each in a word.
  static constexpr std::size_t kCountMax = 64;

  std::uint32_t message = 0;
  std::uint16_t total_bytes = 0;
  std::uint8_t index = 0;
  std::uint8_t count = 0;

  /// Of all fragments but the last.
  std::size_t piece_bytes() const { return (std::size_t{total_bytes} + count - 1) / count; }
  std::size_t offset() const { return index * piece_bytes(); }
  std::size_t bytes() const { return index + 1U == count ? total_bytes - offset() : piece_bytes(); }
  friend bool operator==(const FragmentPlace&, const FragmentPlace&) = default;
};

struct DatagramMessage {
  FlowId flow;
  std::optional<FragmentPlace> fragment;  ///< nullopt: a whole datagram.
  ByteView data;                          ///< In what was decoded.
};

/// WireError::kMalformed also where a fragment's length is not what its place says.
Result<DatagramMessage> decode_datagram(ByteView payload);

/// How many fragments a datagram makes where each carries at most `data_bytes_max`.
std::size_t fragments_of(std::size_t datagram_bytes, std::size_t data_bytes_max);

/// `out` has just the room for header and data.
void encode_datagram(const DatagramMessage& message, MutableByteView out);
std::size_t encoded_bytes(const DatagramMessage& message);

}  // namespace openp2p::forward
