#pragma once

#include <chrono>

#include "base/time.h"

namespace openp2p::net {

/// After so long a program has started up, and its first connections stand.
inline constexpr Duration kStartUp = std::chrono::seconds(20);

/// Takes the pages of code and constants out of this process's resident memory; the system maps
/// those that are used again on the next use, from its cache. For once after the start of a program
/// that stays: libraries that initialise and test themselves leave megabytes resident that nobody
/// uses again.
///
/// Costs some hundred minor faults afterwards. Breakpoints that a debugger has set are lost. Does
/// nothing where the system cannot.
void unmap_idle_code();

}  // namespace openp2p::net
