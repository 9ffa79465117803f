// Law: a receipt that decodes encodes to the same bytes; what is signed over checks, and not with
// any byte of the input in the signature's place.
#include <algorithm>

#include "base/check.h"
#include "relay/receipt.h"

using namespace openp2p;
using namespace openp2p::relay;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  const ByteView body = input.first(std::min(size, Receipt::kBytes));
  const auto receipt = decode_receipt(body);
  CHECK(receipt.has_value() || receipt.error() == ReceiptError::kMalformed);
  CHECK(!check_receipt(body, input.subspan(body.size())));
  if (!receipt) return 0;
  CHECK(std::ranges::equal(encode(*receipt), body));

  std::array<std::byte, IdentityKey::kSeedSize> seed{};
  const IdentityKey key(seed);
  Receipt own = *receipt;
  own.end = key.id();
  const SignedReceipt given = sign(own, key);
  const auto said = check_receipt(given.body, given.signature);
  CHECK(said && *said == own);
  return 0;
}
