// Law: what reads as a signal in an indication is written again to a datagram that gives the same
// signal; and any bytes that fit come back as they went in.
#include "nat/stun_signal.h"

#include <algorithm>

#include "base/check.h"

using namespace openp2p;

namespace {

void check_round_trip(ByteView signal) {
  Bytes out(nat::kStunBytesMax);
  const std::size_t size = nat::encode_stun_signal(nat::TransactionId(), signal, out);
  CHECK((size != 0) == (signal.size() <= nat::kStunSignalBytesMax));
  if (size == 0) return;
  const auto again = nat::decode_stun_signal(ByteView(out).first(size));
  CHECK(again && std::ranges::equal(*again, signal));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  check_round_trip(input);
  if (const auto signal = nat::decode_stun_signal(input)) check_round_trip(*signal);
  return 0;
}
