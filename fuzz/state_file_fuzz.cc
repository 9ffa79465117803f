// Law: a state file that can be read is written so that it reads the same, and writing it once more
// changes nothing.
#include "agent/state.h"
#include "base/check.h"

using namespace openp2p;
using namespace openp2p::agent;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto state = decode_state(as_text(std::as_bytes(std::span(data, size))), "state.json");
  if (!state) return 0;

  const std::string written = encode_state(*state);
  if (written.size() > kStateBytesMax) return 0;  // Indentation can make it too large to keep.
  const auto again = decode_state(written, "state.json");
  CHECK(again && again->server == state->server && again->join_secret == state->join_secret);
  CHECK(again->node_name == state->node_name && again->accepts == state->accepts);
  CHECK(again->forwards == state->forwards && again->share_mbit == state->share_mbit);
  CHECK(encode_state(*again) == written);
  return 0;
}
