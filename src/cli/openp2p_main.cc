#include <exception>

#include "agent/agent.h"
#include "cli/command_line.h"
#include "cli/exit_code.h"
#include "cli/table.h"

int main(int count, char** arguments) {
  try {
    return openp2p::cli::run(count, arguments, openp2p::agent::run_agent);
  } catch (const std::exception& error) {  // Only start-up may throw (out of descriptors, say).
    openp2p::cli::print_error(error.what());
    return openp2p::cli::kExitFailed;
  }
}
