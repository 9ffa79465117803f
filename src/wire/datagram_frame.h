#pragma once

#include <cstddef>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"

/// How datagrams follow each other on a TCP connection (RFC 4571 section 2): a 2-byte length in
/// network order, and that many bytes. An empty frame says nothing and is passed over.
namespace openp2p {

constexpr std::size_t kDatagramFrameHeaderBytes = 2;
constexpr std::size_t kFramedDatagramBytesMax = 65'535;  ///< What the length can say.

/// Datagrams in a row: all of segment_bytes, but the last, which may be shorter. As UDP_SEGMENT and
/// UDP_GRO have them, so that what handles those handles these.
struct DatagramTrain {
  ByteView datagrams;
  std::size_t segment_bytes = 0;
};

/// How many bytes the frames of a train have.
std::size_t framed_bytes(const DatagramTrain& train);

/// Takes datagrams off the front of `train` and writes each with its length in front, as many whole
/// ones as `out` has room for; gives the bytes written. Requires 1 to kFramedDatagramBytesMax for
/// segment_bytes.
std::size_t write_datagram_frames(DatagramTrain& train, MutableByteView out);

/// Cuts a stream of bytes, which comes in pieces of any size, into datagrams.
///
/// Copies: a datagram that came whole is moved at most, by a few bytes within the caller's buffer,
/// so that those of equal length make a train; only one that came in pieces is copied. For those it
/// holds kKeptBytesMax from the first on, and more for bytes that came, never for a claimed length.
/// No allocation where datagrams are shorter than that. Threading: one owner.
class DatagramDeframer {
 public:
  /// What is kept for the next datagram in pieces: those of an ordinary link fit (1,500 bytes).
  static constexpr std::size_t kKeptBytesMax = 2'048;

  /// A longer datagram than `datagram_bytes_max` breaks the protocol.
  explicit DatagramDeframer(std::size_t datagram_bytes_max = kFramedDatagramBytesMax);

  /// Takes bytes off the front of `data`, which it may rearrange, and gives the next datagrams;
  /// nullopt once all of `data` is taken. The view is valid until the next call, and as long as
  /// `data` is. WireError::kTooLong: the other side breaks the protocol; all further calls fail.
  ///
  ///   for (;;) {
  ///     const auto train = deframer.take(data);
  ///     if (!train) return train.error();
  ///     if (!*train) break;
  ///     on_datagrams(**train);
  ///   }
  Result<std::optional<DatagramTrain>> take(MutableByteView& data);

  std::size_t held_bytes() const { return held_.size(); }

 private:
  bool fill(MutableByteView& data, std::size_t size);
  void forget();
  Result<std::optional<DatagramTrain>> take_held(MutableByteView& data);
  Result<std::optional<DatagramTrain>> take_whole(MutableByteView& data);

  const std::size_t datagram_bytes_max_;
  Bytes held_;             ///< A frame that is not whole yet.
  bool is_given_ = false;  ///< What is held was given out by the last call.
  bool is_broken_ = false;
};

}  // namespace openp2p
