#pragma once

#include <string>
#include <vector>

namespace openp2p::cli {

/// Copies main()'s arguments and overwrites the values of --token and -token in the originals,
/// which every user of the machine can read in /proc/PID/cmdline.
std::vector<std::string> take_arguments(int count, char** arguments);

}  // namespace openp2p::cli
