// Laws: however a stream is cut, the same datagrams come out; writing them gives the stream again,
// but for its empty frames and its unfinished end; memory is held only for bytes that came.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "wire/codec.h"
#include "wire/datagram_frame.h"

using namespace openp2p;

namespace {

constexpr std::size_t kDatagramBytesMax = 1'000;

/// The datagrams of `stream` given in pieces of `piece` bytes, framed again; false if it broke.
std::pair<Bytes, bool> reframe(ByteView stream, std::size_t piece) {
  Bytes out;
  DatagramDeframer deframer(kDatagramBytesMax);
  while (!stream.empty()) {
    Bytes copy = to_bytes(stream.first(std::min(piece, stream.size())));
    stream = stream.subspan(copy.size());
    MutableByteView data = copy;
    for (;;) {
      auto train = deframer.take(data);
      if (!train) return {out, false};
      if (!*train) break;
      CHECK((*train)->segment_bytes > 0 && (*train)->segment_bytes <= kDatagramBytesMax);
      const std::size_t at = out.size();
      out.resize(at + framed_bytes(**train));
      CHECK(at + write_datagram_frames(**train, MutableByteView(out).subspan(at)) == out.size());
    }
    CHECK(data.empty());
    CHECK(deframer.held_bytes() < kDatagramFrameHeaderBytes + kDatagramBytesMax);
  }
  return {out, true};
}

/// The same by the definition: one frame after the other.
std::pair<Bytes, bool> by_definition(ByteView stream) {
  Bytes out;
  Reader in(stream);
  for (;;) {
    const ByteView frame = in.rest();
    const auto size = in.u16();
    if (!size) return {out, true};
    if (*size > kDatagramBytesMax) return {out, false};
    if (!in.bytes(*size)) return {out, true};
    const ByteView whole = frame.first(kDatagramFrameHeaderBytes + *size);
    if (*size > 0) out.insert(out.end(), whole.begin(), whole.end());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0];
  const ByteView stream = std::as_bytes(std::span(data, size)).subspan(1);

  const auto expected = by_definition(stream);
  CHECK(reframe(stream, size) == expected);
  CHECK(reframe(stream, piece) == expected);
  return 0;
}
