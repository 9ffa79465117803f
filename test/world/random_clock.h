#pragma once

#include "base/random.h"
#include "sim/host.h"

namespace openp2p::test {

/// A clock as machines have them: up for some time within ten days, and up to 500 ppm off; one in
/// four by up to 2 %.
inline sim::ClockOptions random_clock(Random& random) {
  const std::int64_t ppm_max = random.chance(0.25) ? 20'000 : 500;
  const auto span = static_cast<std::uint64_t>(2 * ppm_max + 1);
  return {.offset = std::chrono::milliseconds(random.below(864'000'000)),
          .fast_by_ppm = static_cast<std::int64_t>(random.below(span)) - ppm_max};
}

/// Gives the host such a clock before anything on it runs.
inline sim::Host& with_random_clock(sim::Host& host, Random& random) {
  host.set_clock(random_clock(random));
  return host;
}

}  // namespace openp2p::test
