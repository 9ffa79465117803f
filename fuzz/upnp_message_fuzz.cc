// Everything that a UPnP gateway may send, in one input: law: no answer makes more of itself than
// its limits, pieces do not matter, and what is taken out of it can be put into a request.
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "net/upnp_message.h"

using namespace openp2p;

namespace {

constexpr std::size_t kBodyBytesMax = 2'000;

std::optional<net::HttpReply> read(ByteView input, std::size_t piece) {
  net::HttpReplyReader reader(kBodyBytesMax);
  for (std::size_t at = 0; at < input.size(); at += piece) {
    const auto whole = reader.take(input.subspan(at, std::min(piece, input.size() - at)));
    if (!whole) return std::nullopt;
    if (*whole) return reader.reply();
  }
  const auto whole = reader.end();
  if (!whole || !*whole) return std::nullopt;
  return reader.reply();
}

void check_url(const net::UpnpUrl& url) {
  CHECK(url.path.starts_with('/') && url.server.port != 0);
  CHECK(net::http_get(url).find("\r\n") == url.path.size() + 13);  // "GET " and " HTTP/1.1".
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  const std::string text(as_text(input));
  if (const auto location = net::ssdp_location(text)) {
    if (const auto url = net::parse_upnp_url(*location, 3)) check_url(*url);
  }
  if (const auto url = net::parse_upnp_url(text, 3)) check_url(*url);

  const net::UpnpUrl at{{IpAddress::v4(192, 168, 1, 1), 80}, "/rootDesc.xml"};
  if (const auto device = net::parse_description(text, at)) {
    CHECK(device->connections.size() <= 2);
    for (const net::UpnpService& service : device->connections) check_url(service.control);
  }
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::max<std::size_t>(size, 1)}) {
    const auto reply = read(input, piece);
    if (!reply) continue;
    CHECK(reply->body.size() <= kBodyBytesMax);
    const net::SoapReply soap = net::parse_soap(*reply);
    CHECK(!net::upnp_error_text(soap.error).empty());
  }
  return 0;
}
