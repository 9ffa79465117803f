#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/original_config.h"
#include "cli/up.h"

namespace openp2p::cli {

/// Works the original's config.json into `out`: the file given with --import, or else, at the first
/// start, a config.json in the state folder or the current folder that is one of the original's and
/// belongs to this user. What the command line says wins. Reports to stderr what became of what.
/// False where the given file cannot be used.
bool import_original(const UpOptions& options, agent::AgentOptions& out);

/// The same for apps that were given otherwise.
void take_import(const agent::OriginalImport& import, agent::AgentOptions& out);

bool has_state(const std::string& state_path);  ///< An agent was started in this folder before.

}  // namespace openp2p::cli
