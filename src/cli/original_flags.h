#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/up.h"

namespace openp2p::cli {

/// Is `argument` a flag of the original program, such as "-node" or "-sharebandwidth=10"?
bool is_original_flag(std::string_view argument);

/// Runs the agent as the original's command line says: `arguments` begin with the program's name
/// and hold its flags only. Says on stderr what each flag became. Gives the exit code.
int run_original(const std::vector<std::string>& arguments, RunAgent run_agent);

}  // namespace openp2p::cli
