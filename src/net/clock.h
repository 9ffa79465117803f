#pragma once

#include "base/time.h"

namespace openp2p::net {

/// The real clocks, for drivers only: read once per wake-up, then handed on as an argument.
TimePoint monotonic_now();  ///< CLOCK_MONOTONIC; does not jump. Timer uses the same.
WallTime wall_now();        ///< May jump when the machine's clock is set.
/// How long this machine was suspended since it booted; only differences mean something. 0 where
/// the system does not tell.
Duration suspended_so_far();

}  // namespace openp2p::net
