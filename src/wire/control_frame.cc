#include "wire/control_frame.h"

#include <algorithm>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p {
namespace {

/// Memory that a decoder keeps between messages: most are smaller, and 20,000 idle sessions should
/// not each hold the largest that they ever saw.
constexpr std::size_t kKeptBytesMax = 1'024;

}  // namespace

void append_control_frame(ByteView message, Bytes& out) {
  CHECK(message.size() <= kControlMessageBytesMax);
  const std::size_t at = out.size();
  out.resize(at + kControlFrameHeaderBytes + message.size());
  Writer writer(MutableByteView(out).subspan(at));
  writer.u32(static_cast<std::uint32_t>(message.size()));
  writer.bytes(message);
  CHECK(writer.ok());
}

bool ControlFrameDecoder::fill(ByteView& data, std::size_t size) {
  if (held_.size() < size) {
    const std::size_t taken = std::min(size - held_.size(), data.size());
    held_.insert(held_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
    data = data.subspan(taken);
  }
  return held_.size() >= size;
}

Result<std::optional<ByteView>> ControlFrameDecoder::take(ByteView& data) {
  if (is_given_) {
    held_.clear();
    if (held_.capacity() > kKeptBytesMax) Bytes().swap(held_);
    is_given_ = false;
  }
  if (is_broken_) return WireError::kTooLong;
  if (!fill(data, kControlFrameHeaderBytes)) return std::optional<ByteView>();
  Reader header(held_);
  const std::size_t size = *header.u32();
  if (size > kControlMessageBytesMax) {
    is_broken_ = true;
    return WireError::kTooLong;
  }
  if (!fill(data, kControlFrameHeaderBytes + size)) return std::optional<ByteView>();
  is_given_ = true;
  return std::optional(ByteView(held_).subspan(kControlFrameHeaderBytes));
}

}  // namespace openp2p
