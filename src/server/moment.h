#pragma once

#include "base/time.h"

namespace openp2p::server {

/// Both clocks, read once per wake-up.
struct Moment {
  TimePoint mono;
  WallTime wall;
};

}  // namespace openp2p::server
