#pragma once

#include <time.h>

#include "base/check.h"

namespace openp2p::bench {

/// What this process has used so far.
inline double cpu_seconds() {
  timespec time{};
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace openp2p::bench
