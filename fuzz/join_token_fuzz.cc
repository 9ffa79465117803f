// Law: what parses is the same token again after writing it, in its one text.
#include <algorithm>

#include "base/check.h"
#include "base/crypto.h"
#include "wire/join_token.h"

using namespace openp2p;

namespace {

void check_law(std::string_view text) {
  const auto token = JoinToken::parse(text);
  if (!token) return;
  const std::string written = token->text();
  CHECK(text.find(written) != std::string_view::npos);  // Only spaces around it may differ.
  const auto again = JoinToken::parse(written);
  CHECK(again && again->addresses == token->addresses && again->server == token->server);
  CHECK(again->secret == token->secret && again->expires == token->expires);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  check_law(as_text(input));

  // The checksum would hide the fields from the fuzzer: give it the right one.
  Bytes sealed = to_bytes(input);
  const Digest digest = sha256(input);
  sealed.insert(sealed.end(), digest.begin(), digest.begin() + 4);
  check_law("op2p1-" + to_base64url(sealed));
  return 0;
}
