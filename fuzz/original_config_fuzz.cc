// Law: whatever config.json holds, what is taken from it can be stored and read again, and what is
// said about it can be shown.
#include "agent/original_config.h"
#include "base/check.h"
#include "base/ids.h"

using namespace openp2p;
using namespace openp2p::agent;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto text = as_text(std::as_bytes(std::span(data, size)));
  const auto config = decode_original_config(text.substr(1), "config.json");
  if (!config) return 0;

  const OriginalImport import =
      import_original_config(*config, /*listens_on_all=*/data[0] % 2 == 1);
  for (const std::string& line : import.report) CHECK(printable(line, line.size()) == line);
  AgentState state;
  state.node_name = import.node_name.value_or("");
  state.port = import.port.value_or(0);
  state.share_mbit = import.share_mbit;
  state.forwards = import.forwards;
  const auto read = decode_state(encode_state(state), "state.json");
  CHECK(read && read->forwards == import.forwards && read->node_name == state.node_name);
  return 0;
}
