#include "wire/datagram_frame.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p {
namespace {

constexpr std::size_t kHeader = kDatagramFrameHeaderBytes;

/// Requires a whole header.
std::size_t claimed_bytes(ByteView frame) { return *Reader(frame).u16(); }

}  // namespace

std::size_t framed_bytes(const DatagramTrain& train) {
  CHECK(train.segment_bytes > 0);
  const std::size_t count =
      (train.datagrams.size() + train.segment_bytes - 1) / train.segment_bytes;
  return train.datagrams.size() + count * kHeader;
}

std::size_t write_datagram_frames(DatagramTrain& train, MutableByteView out) {
  CHECK(train.segment_bytes > 0 && train.segment_bytes <= kFramedDatagramBytesMax);
  Writer writer(out);
  while (!train.datagrams.empty()) {
    const std::size_t size = std::min(train.datagrams.size(), train.segment_bytes);
    if (out.size() - writer.size() < kHeader + size) break;
    writer.u16(static_cast<std::uint16_t>(size));
    writer.bytes(train.datagrams.first(size));
    train.datagrams = train.datagrams.subspan(size);
  }
  CHECK(writer.ok());
  return writer.size();
}

DatagramDeframer::DatagramDeframer(std::size_t datagram_bytes_max)
    : datagram_bytes_max_(datagram_bytes_max) {
  CHECK(datagram_bytes_max > 0 && datagram_bytes_max <= kFramedDatagramBytesMax);
}

Result<std::optional<DatagramTrain>> DatagramDeframer::take(MutableByteView& data) {
  if (is_given_) forget();
  if (is_broken_) return WireError::kTooLong;
  if (!held_.empty()) {
    auto train = take_held(data);
    // Without one, either all was taken or the frame was an empty one: the rest begins anew.
    if (!train || *train || !held_.empty()) return train;
  }
  return take_whole(data);
}

// The frame that began in an earlier piece.
Result<std::optional<DatagramTrain>> DatagramDeframer::take_held(MutableByteView& data) {
  if (!fill(data, kHeader)) return std::optional<DatagramTrain>();
  const std::size_t size = claimed_bytes(held_);
  if (size > datagram_bytes_max_) {
    is_broken_ = true;
    return WireError::kTooLong;
  }
  if (!fill(data, kHeader + size)) return std::optional<DatagramTrain>();
  if (size == 0) {
    forget();
    return std::optional<DatagramTrain>();
  }
  is_given_ = true;
  return std::optional(DatagramTrain{ByteView(held_).subspan(kHeader), size});
}

// Frames that are whole in `data`: one, and those behind it that make a train of it. They move
// together over the headers between them.
Result<std::optional<DatagramTrain>> DatagramDeframer::take_whole(MutableByteView& data) {
  std::byte* start = nullptr;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
  while (data.size() >= kHeader && bytes % std::max<std::size_t>(segment_bytes, 1) == 0) {
    const std::size_t size = claimed_bytes(data);
    const bool begins = start == nullptr;
    if (size > datagram_bytes_max_) {
      if (!begins) break;  // First what is good; the next call says it.
      is_broken_ = true;
      return WireError::kTooLong;
    }
    if (data.size() - kHeader < size || (!begins && size > segment_bytes)) break;
    const MutableByteView datagram = data.subspan(kHeader, size);
    data = data.subspan(kHeader + size);
    if (size == 0) continue;
    if (begins) {
      start = datagram.data();
      segment_bytes = size;
    } else {
      std::memmove(start + bytes, datagram.data(), size);
    }
    bytes += size;
  }
  if (start != nullptr) return std::optional(DatagramTrain{{start, bytes}, segment_bytes});
  (void)fill(data, data.size());
  return std::optional<DatagramTrain>();
}

// Takes from `data` until `size` bytes are held. False: there were not as many.
bool DatagramDeframer::fill(MutableByteView& data, std::size_t size) {
  if (held_.capacity() == 0 && !data.empty()) held_.reserve(kKeptBytesMax);
  if (held_.size() < size) {
    const std::size_t taken = std::min(size - held_.size(), data.size());
    held_.insert(held_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
    data = data.subspan(taken);
  }
  return held_.size() >= size;
}

void DatagramDeframer::forget() {
  held_.clear();
  if (held_.capacity() > kKeptBytesMax) Bytes().swap(held_);
  is_given_ = false;
}

}  // namespace openp2p
