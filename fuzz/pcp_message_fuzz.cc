// Law: what decodes can be written again and reads as the same message; options, which we step
// over, are all that is lost.
#include <cstdint>
#include <span>

#include "base/check.h"
#include "nat/pcp_message.h"

using namespace openp2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  static_cast<void>(nat::is_pcp_version_refusal(input));
  const auto message = nat::decode_pcp(input);
  if (!message) return 0;
  CHECK(!nat::pcp_result_text(message->result).empty());

  Bytes copy(nat::kPcpMapBytes);
  const std::size_t written = nat::encode_pcp(*message, copy);
  CHECK(written != 0 && written <= input.size());
  const auto again = nat::decode_pcp(ByteView(copy).first(written));
  CHECK(again && *again == *message);
  return 0;
}
