#include "path/port_series.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <numeric>

#include "base/check.h"
#include "base/random.h"
#include "path/nat_class.h"

namespace openp2p::path {
namespace {

constexpr int kPorts = 65536 - kPortMin;

/// Sequences go round within the ports that are not privileged.
std::uint16_t wrapped(int port) {
  const int offset = ((port - kPortMin) % kPorts + kPorts) % kPorts;
  return static_cast<std::uint16_t>(kPortMin + offset);
}

}  // namespace

PortSeries::PortSeries(const PortRule& rule, std::uint64_t seed) : rule_(rule) {
  if (rule.kind != PortRule::Kind::kRange) {
    CHECK(rule.step != 0 && rule.step <= kPortStepMax && rule.step >= -kPortStepMax);
    const auto step = static_cast<unsigned>(std::abs(rule.step));
    size_ = kPorts / std::gcd(static_cast<unsigned>(kPorts), step);
    return;
  }
  CHECK(rule.range.first >= kPortMin && rule.range.first <= rule.range.last);
  size_ = rule.range.size();
  Random random(seed);
  start_ = static_cast<unsigned>(random.below(size_));
  stride_ = std::max(1U, static_cast<unsigned>(std::lround(size_ / std::numbers::phi)));
  // Steps that share no factor with the number of ports visit each of them once.
  while (std::gcd(stride_, size_) != 1) ++stride_;
}

std::uint16_t PortSeries::at(unsigned index) const {
  const int ahead = static_cast<int>(index % size_) + 1;
  switch (rule_.kind) {
    case PortRule::Kind::kAhead:
      return wrapped(rule_.last + rule_.step * ahead);
    case PortRule::Kind::kCatchUp: {
      const int guess = static_cast<int>(index % size_ / kSameGuess);
      return wrapped(rule_.last + rule_.step * (ahead + guess));
    }
    case PortRule::Kind::kRange: {
      const std::uint64_t place = start_ + std::uint64_t{index} * stride_;
      return static_cast<std::uint16_t>(rule_.range.first + place % size_);
    }
  }
  return rule_.last;
}

}  // namespace openp2p::path
