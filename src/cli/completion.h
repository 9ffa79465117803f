#pragma once

#include <string>

namespace openp2p::cli {

/// Prints the completion script for "bash", "zsh" or "fish". Gives the exit code.
int print_completion(const std::string& shell);

}  // namespace openp2p::cli
