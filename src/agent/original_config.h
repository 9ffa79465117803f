#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/state.h"

/// What the original OpenP2P (3.24, openp2p-cn/openp2p) was configured with, so that its users can
/// move: its config.json, and its flags through the same types.
namespace openp2p::agent {

/// The largest config.json read; the original's own web console makes some 300 bytes an app.
inline constexpr std::size_t kOriginalBytesMax = 1024 * 1024;

/// A port forward of the original (an "app"), unchecked.
struct OriginalApp {
  std::string name;
  std::string protocol;   ///< "tcp" or empty, "udp".
  std::string whitelist;  ///< Who may connect; "localhost" alone also meant: listen on loopback.
  std::string peer;
  std::string host;  ///< Empty meant the peer itself.
  std::uint64_t port = 0;
  std::uint64_t source_port = 0;     ///< 0: an app in memory only, of the virtual network.
  std::string relay;                 ///< The only node that may relay it; empty: any.
  bool is_enabled = false;           ///< Absent meant off there.
  std::vector<std::string> ignored;  ///< Settings with no counterpart, by their names.
};

struct OriginalConfig {
  std::string node_name;
  std::optional<std::uint64_t> port;
  std::optional<std::uint64_t> share_mbit;
  bool has_account_token = false;
  std::vector<OriginalApp> apps;
  std::vector<std::string> problems;  ///< Entries that could not be read.
};

/// Keys are found in any case, as the original's own reader finds them.
StateResult<OriginalConfig> decode_original_config(std::string_view text, std::string_view file);

/// What this program makes of it.
struct OriginalImport {
  std::optional<std::string> node_name;
  std::optional<std::uint16_t> port;
  std::optional<unsigned> share_mbit;
  std::vector<ForwardSpec> forwards;  ///< Valid, with different names.
  /// A line for each thing taken over, changed or left behind, and why. Safe to show.
  std::vector<std::string> report;
};

/// The original listened on all interfaces unless told "localhost"; here a forward does so only
/// with `listens_on_all`, and not where a list of allowed clients would be lost.
OriginalImport import_original_config(const OriginalConfig& config, bool listens_on_all);

}  // namespace openp2p::agent
