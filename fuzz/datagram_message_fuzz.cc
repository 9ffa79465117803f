// Law: what decodes encodes to the same bytes, its place lies inside its datagram, and nothing else
// is accepted.
#include <algorithm>

#include "base/check.h"
#include "forward/datagram_message.h"

using namespace openp2p;
using namespace openp2p::forward;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView payload = std::as_bytes(std::span(data, size));
  const auto message = decode_datagram(payload);
  if (!message) return 0;
  if (message->fragment) {
    const FragmentPlace& place = *message->fragment;
    CHECK(place.count >= 2 && place.count <= FragmentPlace::kCountMax);
    CHECK(place.bytes() > 0 && place.bytes() == message->data.size());
    CHECK(place.offset() + place.bytes() <= place.total_bytes);
    CHECK(place.total_bytes <= kDatagramBytesMax);
  }
  CHECK(encoded_bytes(*message) == payload.size());
  Bytes out(payload.size());
  encode_datagram(*message, out);
  CHECK(std::ranges::equal(out, payload));
  return 0;
}
