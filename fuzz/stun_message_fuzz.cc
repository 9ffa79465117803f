// Law: what decodes can be written again, and reads as the same message; with the key of the test
// vectors it verifies. Verification itself may be asked about any bytes.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "nat/stun_message.h"

using namespace openp2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  const ByteView key = as_bytes("VOkJxbRl1RmTxUk/WvJxBt");
  const bool is_signed = nat::verify_integrity(input, key);
  const bool is_signed_sha256 = nat::verify_integrity_sha256(input, key);
  const auto message = nat::decode_stun(input);
  if (!message) return 0;
  CHECK(nat::looks_like_stun(input));
  CHECK(message->has_integrity || !is_signed);
  CHECK(message->has_integrity_sha256 || !is_signed_sha256);

  nat::StunMessage plain = *message;
  plain.has_integrity = false;
  plain.has_integrity_sha256 = false;
  plain.unknown_attribute = 0;  // What was not understood is not written again.
  plain.not_understood = {};
  Bytes copy(2 * nat::kStunBytesMax);
  const std::size_t written = nat::encode_stun(plain, {}, copy);
  // Only the reason phrase, ours instead of a shorter one, can make a message outgrow the limit.
  CHECK(written != 0 || plain.error_code != 0);
  if (written == 0) return 0;
  const auto again = nat::decode_stun(ByteView(copy).first(written));
  CHECK(again && *again == plain);
  return 0;
}
