// Law: however a stream is cut, the same messages come out, and writing them gives the stream
// again.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "wire/control_frame.h"

using namespace openp2p;

namespace {

/// The messages of `stream` given in pieces of `piece` bytes, framed again; false if it broke.
std::pair<Bytes, bool> reframe(ByteView stream, std::size_t piece) {
  Bytes out;
  ControlFrameDecoder decoder;
  while (!stream.empty()) {
    ByteView data = stream.first(std::min(piece, stream.size()));
    stream = stream.subspan(data.size());
    for (;;) {
      const auto message = decoder.take(data);
      if (!message) return {out, false};
      if (!*message) break;
      append_control_frame(**message, out);
    }
    CHECK(data.empty());
    CHECK(decoder.held_bytes() <= kControlFrameHeaderBytes + kControlMessageBytesMax);
  }
  return {out, true};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0];
  const ByteView stream = std::as_bytes(std::span(data, size)).subspan(1);

  const auto whole = reframe(stream, size);
  const auto cut = reframe(stream, piece);

  CHECK(whole == cut);
  CHECK(whole.first.size() <= stream.size());
  CHECK(std::equal(whole.first.begin(), whole.first.end(), stream.begin()));
  return 0;
}
