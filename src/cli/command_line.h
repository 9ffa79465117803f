#pragma once

#include "cli/up.h"

namespace openp2p::cli {

/// The program `openp2p`: reads the command line, does what it says, gives the exit code
/// (cli/exit_code.h). `arguments` are main()'s; a join token in them is overwritten at once, since
/// other users can see them in the process list.
int run(int count, char** arguments, RunAgent run_agent);

}  // namespace openp2p::cli
