#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"

namespace openp2p::cli {

/// The command line of `openp2p up`, as given.
struct UpOptions {
  std::string state_path;
  std::string token;  ///< Of these three at most one is given.
  std::string token_file;
  bool reads_token = false;  ///< From stdin.
  std::string name;
  std::optional<bool> accepts_lan;
  std::vector<std::string> accepts;  ///< "none" alone empties the stored list.
  std::optional<unsigned> port;
  std::optional<unsigned> share_mbit;
  std::optional<bool> avoids_strangers;
  std::optional<bool> discovers_lan;
  std::optional<bool> relays_own_nodes;
  std::vector<std::string> methods;     ///< "all" alone takes the restriction back.
  std::vector<std::string> no_methods;  ///< Of both at most one is given.
  std::string log_level = "info";
  std::string import_file;  ///< The original's config.json.
  bool listens_on_all = false;
  std::vector<agent::ForwardSpec> forwards;
};

/// How the program starts an agent; agent::run_agent, or a test's.
using RunAgent = int (*)(const agent::AgentOptions& options);

/// Checks and completes the options, then runs the agent until it is stopped. Gives the exit code.
int up(const UpOptions& options, RunAgent run_agent);

}  // namespace openp2p::cli
