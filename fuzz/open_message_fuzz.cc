// Law: however the first bytes of a stream are cut, the same message comes out of the same bytes,
// and writing what was read gives a message that reads the same.
#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/host_name.h"
#include "base/ids.h"
#include "forward/open_message.h"

using namespace openp2p;
using namespace openp2p::forward;

namespace {

bool is_same(const OpenRequest& a, const OpenRequest& b) {
  return a.kind == b.kind && a.host == b.host && a.port == b.port;
}
bool is_same(const OpenAnswer& a, const OpenAnswer& b) {
  return a.status == b.status && a.text == b.text;
}

void check_limits(const OpenRequest& request) {
  if (request.kind != StreamKind::kEcho) CHECK(request.port != 0 && is_valid_host(request.host));
  CHECK(printable(request.host, OpenRequest::kHostBytesMax) == request.host);
}
void check_limits(const OpenAnswer& answer) {
  CHECK(answer.text.size() <= OpenAnswer::kTextBytesMax);
  CHECK(printable(answer.text, OpenAnswer::kTextBytesMax) == answer.text);
}

struct Outcome {
  bool is_refused = false;
  std::size_t used = 0;
};

template <class Message>
Outcome read(OpenDecoder<Message>& decoder, ByteView stream, std::size_t piece) {
  Outcome outcome;
  while (!stream.empty() && !decoder.message()) {
    const ByteView data = stream.first(std::min(piece, stream.size()));
    const auto used = decoder.feed(data);
    if (!used) return {true, 0};
    CHECK(*used == data.size() || decoder.message());
    outcome.used += *used;
    stream = stream.subspan(*used);
  }
  return outcome;
}

template <class Message>
void check(ByteView stream, std::size_t piece) {
  OpenDecoder<Message> whole, cut;
  const Outcome at_once = read(whole, stream, stream.size());
  const Outcome in_pieces = read(cut, stream, piece);
  CHECK(at_once.is_refused == in_pieces.is_refused && at_once.used == in_pieces.used);
  CHECK(whole.message().has_value() == cut.message().has_value());
  if (!whole.message()) return;
  check_limits(*whole.message());
  CHECK(is_same(*whole.message(), *cut.message()));

  const Bytes written = encode(*whole.message());
  OpenDecoder<Message> again;
  const auto used = again.feed(written);
  CHECK(used && *used == written.size() && again.message());
  CHECK(is_same(*again.message(), *whole.message()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = 1 + data[0] % 32;
  const ByteView stream = std::as_bytes(std::span(data, size)).subspan(2);
  if (data[1] % 2 == 0) {
    check<OpenRequest>(stream, piece);
  } else {
    check<OpenAnswer>(stream, piece);
  }
  return 0;
}
