#pragma once

namespace openp2p::cli {

/// What the programs end with; scripts depend on the numbers.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;      ///< What was asked for did not work; stderr says why.
inline constexpr int kExitUsage = 2;       ///< The command line is wrong; nothing was tried.
inline constexpr int kExitNotRunning = 3;  ///< No agent runs with that state folder.

}  // namespace openp2p::cli
