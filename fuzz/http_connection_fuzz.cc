// Law: whatever a client sends, in whatever pieces, a connection asks for one request at a time,
// keeps its limits, and ends once its client is silent.
#include "base/check.h"
#include "net/http_connection.h"

using namespace openp2p;
using namespace openp2p::net;

namespace {

void answer(HttpConnection& http, const HttpRequest& request) {
  CHECK(request.body.size() <= kHttpRequestBodyMax && request.target.starts_with('/'));
  switch (request.body.size() % 3) {
    case 0:
      return http.send(200, "text/plain", "hello");
    case 1:
      http.start(200, "text/plain");
      http.write("hello");
      return http.finish();
    default:
      return http.abandon();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const TimePoint now{};
  HttpConnection http(now);
  ByteView rest = std::as_bytes(std::span(data, size)).subspan(1);
  const std::size_t piece = data[0] + std::size_t{1};
  while (!rest.empty() && http.wants_input()) {
    const ByteView part = rest.first(std::min(piece, rest.size()));
    http.on_input(part, now);
    rest = rest.subspan(part.size());
    for (bool is_busy = true; is_busy;) {
      const auto request = http.poll_request();
      if (request) answer(http, *request);
      CHECK(!http.poll_request() || !request);
      is_busy = request || !http.output().empty();
      http.on_written(http.output().size(), now);
    }
  }
  if (!http.is_over()) {
    CHECK(http.next_timeout());
    http.on_timeout(*http.next_timeout());
  }
  CHECK(http.is_over());
  return 0;
}
