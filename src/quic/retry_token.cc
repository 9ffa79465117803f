#include "quic/retry_token.h"

#include <algorithm>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::quic {
namespace {

std::uint64_t to_number(TimePoint time) {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

}  // namespace

RetryTokens::RetryTokens(SecretSource& secrets) { secrets.fill(key_); }

RetryTokens::~RetryTokens() { wipe(key_); }

Digest RetryTokens::authenticate(ByteView content, ByteView client, ByteView retry_id) const {
  // Sizes first, so that no two different triples give the same bytes.
  Bytes message(3);
  message[0] = static_cast<std::byte>(content.size());
  message[1] = static_cast<std::byte>(client.size());
  message[2] = static_cast<std::byte>(retry_id.size());
  for (const ByteView part : {content, client, retry_id}) {
    CHECK(part.size() <= 255);
    message.insert(message.end(), part.begin(), part.end());
  }
  return hmac_sha256(key_, message);
}

RetryTokens::Token RetryTokens::make(ByteView client, ByteView retry_id, ByteView original_id,
                                     TimePoint now) const {
  CHECK(original_id.size() <= kConnectionIdBytesMax);
  Token token;
  Writer out(token.bytes);
  out.u64(to_number(now));
  out.u8(static_cast<std::uint8_t>(original_id.size()));
  out.bytes(original_id);
  out.bytes(authenticate(out.written(), client, retry_id));
  CHECK(out.ok());
  token.size = out.size();
  return token;
}

std::optional<RetryTokens::OriginalId> RetryTokens::check(ByteView token, ByteView client,
                                                          ByteView retry_id, TimePoint now) const {
  if (token.size() < sizeof(Digest) || token.size() > kTokenBytesMax) return std::nullopt;
  const ByteView content = token.first(token.size() - sizeof(Digest));
  const Digest expected = authenticate(content, client, retry_id);
  if (!equal_constant_time(expected, token.last(sizeof(Digest)))) return std::nullopt;

  Reader in(content);
  const auto made = in.u64();
  const auto size = in.u8();
  if (!made || !size || *size != in.rest().size()) return std::nullopt;
  if (*made > to_number(now)) return std::nullopt;
  if (to_number(now) - *made > static_cast<std::uint64_t>(kAgeMax.count())) return std::nullopt;
  OriginalId id;
  id.size = *size;
  std::ranges::copy(in.rest(), id.bytes.begin());
  return id;
}

}  // namespace openp2p::quic
