#include "sim/clock.h"

#include <cstdlib>

#include "base/check.h"

namespace openp2p::sim {
namespace {

constexpr std::int64_t kMillion = 1'000'000;

/// count * numerator / denominator, where the product may not fit.
std::int64_t scaled(std::int64_t count, std::int64_t numerator, std::int64_t denominator) {
  return count / denominator * numerator + count % denominator * numerator / denominator;
}

}  // namespace

Clock::Clock(const ClockOptions& options) : options_(options) {
  CHECK(options.offset >= Duration::zero());
  CHECK(std::abs(options.fast_by_ppm) <= kFastByPpmMax);
}

TimePoint Clock::at(TimePoint world) const {
  const std::int64_t elapsed = world.time_since_epoch().count();
  return world + options_.offset + Duration(scaled(elapsed, options_.fast_by_ppm, kMillion));
}

TimePoint Clock::when(TimePoint local) const {
  if (local <= at(TimePoint{})) return TimePoint{};
  const TimePoint since = local - options_.offset;
  const std::int64_t shown = since.time_since_epoch().count();
  TimePoint world =
      since - Duration(scaled(shown, options_.fast_by_ppm, kMillion + options_.fast_by_ppm));
  // Both ways are rounded: a few nanoseconds at most.
  while (at(world) < local) world += Duration(1);
  while (at(world - Duration(1)) >= local) world -= Duration(1);
  return world;
}

}  // namespace openp2p::sim
