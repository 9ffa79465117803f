#include "nat/port_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace openp2p::nat {
namespace {

/// NATs count from 1024 to 65535 and go on with 1024: neighbours on this ring.
constexpr int kRingFirst = 1024;
constexpr int kRingPorts = 65536 - kRingFirst;
constexpr unsigned kRangePorts = 1024;

/// The samples of the commonest external address, in their order.
std::vector<MappingSample> of_one_address(const std::vector<MappingSample>& samples) {
  const auto count = [&](const IpAddress& ip) {
    return std::ranges::count_if(samples, [&](const auto& s) { return s.external.ip == ip; });
  };
  std::vector<MappingSample> kept;
  if (samples.empty()) return kept;
  const auto commonest = std::ranges::max_element(
      samples, {}, [&](const MappingSample& s) { return count(s.external.ip); });
  for (const MappingSample& sample : samples) {
    if (sample.external.ip == commonest->external.ip) kept.push_back(sample);
  }
  const std::size_t extra = kept.size() - std::min(kept.size(), kPatternSamplesMax);
  kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(extra));
  return kept;
}

/// How many can stay if the others are taken out to leave `values` rising.
std::size_t longest_rise(const std::vector<int>& values) {
  std::array<std::size_t, kPatternSamplesMax> rise{};
  std::size_t longest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    rise[i] = 1;
    for (std::size_t before = 0; before < i; ++before) {
      if (values[before] < values[i]) rise[i] = std::max(rise[i], rise[before] + 1);
    }
    longest = std::max(longest, rise[i]);
  }
  return longest;
}

/// Distances from the port behind the largest hole in the ring, so that a wrap is no break.
std::vector<int> ring_distances(const std::vector<MappingSample>& samples) {
  std::vector<int> places;
  places.reserve(samples.size());
  for (const MappingSample& sample : samples) {
    places.push_back((sample.external.port - kRingFirst + 65536) % kRingPorts);
  }
  std::vector<int> sorted = places;
  std::ranges::sort(sorted);
  int start = sorted.front();
  int hole = sorted.front() + kRingPorts - sorted.back();
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i] - sorted[i - 1] <= hole) continue;
    hole = sorted[i] - sorted[i - 1];
    start = sorted[i];
  }
  for (int& place : places) place = (place - start + kRingPorts) % kRingPorts;
  return places;
}

/// The commonest small gap between neighbours; nullopt where the gaps are not those of a sequence.
std::optional<int> common_gap(std::vector<int> places) {
  std::ranges::sort(places);
  std::array<unsigned, kSequenceStepMax + 1> counts{};
  std::size_t small = 0;
  for (std::size_t i = 1; i < places.size(); ++i) {
    const int gap = places[i] - places[i - 1];
    if (gap == 0 || gap > kSequenceGapMax) return std::nullopt;
    if (gap > kSequenceStepMax) continue;
    ++counts[static_cast<std::size_t>(gap)];
    ++small;
  }
  if (small == 0 || small * 2 < places.size() - 1) return std::nullopt;
  return static_cast<int>(std::ranges::max_element(counts) - counts.begin());
}

std::optional<PortPattern> as_sequence(const std::vector<MappingSample>& samples) {
  std::vector<int> places = ring_distances(samples);
  const auto gap = common_gap(places);
  if (!gap) return std::nullopt;
  const std::size_t ordered_min = samples.size() >= 5 ? samples.size() - 1 : samples.size();
  const bool is_rising = longest_rise(places) >= ordered_min;
  const auto [low, high] = std::ranges::minmax_element(places);
  const auto newest = samples.begin() + ((is_rising ? high : low) - places.begin());
  for (int& place : places) place = -place;
  if (!is_rising && longest_rise(places) < ordered_min) return std::nullopt;
  PortPattern pattern;
  pattern.allocation = PortAllocation::kSequential;
  pattern.step = is_rising ? *gap : -*gap;
  pattern.last_port = newest->external.port;
  return pattern;
}

std::optional<PortRange> as_block(const std::vector<MappingSample>& samples) {
  const auto port = [](const MappingSample& sample) { return sample.external.port; };
  const auto [low, high] = std::ranges::minmax(samples, {}, port);
  const unsigned first = low.external.port / kRangePorts;
  const unsigned last = high.external.port / kRangePorts;
  const unsigned ranges_max = samples.size() >= 6 ? 4 : samples.size() == 5 ? 2 : 1;
  if (samples.size() < 4 || last - first + 1 > ranges_max) return std::nullopt;
  return PortRange{static_cast<std::uint16_t>(std::max(first * kRangePorts, 1U)),  // 0 is no port.
                   static_cast<std::uint16_t>(last * kRangePorts + kRangePorts - 1)};
}

}  // namespace

PortPattern infer_pattern(const std::vector<MappingSample>& all) {
  const std::vector<MappingSample> samples = of_one_address(all);
  PortPattern pattern;
  if (samples.empty()) return pattern;
  pattern.last_port = samples.back().external.port;
  const auto is_preserved = [](const MappingSample& sample) {
    return sample.external.port == sample.internal_port;
  };
  if (std::ranges::all_of(samples, is_preserved)) {
    pattern.allocation = PortAllocation::kPreserved;
    return pattern;
  }
  if (samples.size() < 2) return pattern;
  if (const auto sequence = as_sequence(samples)) return *sequence;
  if (samples.size() < 4) return pattern;
  pattern.allocation = PortAllocation::kNoPattern;
  if (const auto block = as_block(samples)) {
    pattern.allocation = PortAllocation::kBlocks;
    pattern.block = *block;
  }
  return pattern;
}

std::string describe(const PortPattern& pattern) {
  switch (pattern.allocation) {
    case PortAllocation::kUnknown:
      return "chosen in a way that so few do not tell";
    case PortAllocation::kPreserved:
      return "kept";
    case PortAllocation::kSequential:
      return fmt::format("in sequence, {:+} each, {} was the last", pattern.step,
                         pattern.last_port);
    case PortAllocation::kBlocks:
      return fmt::format("out of the block {} to {}", pattern.block.first, pattern.block.last);
    case PortAllocation::kNoPattern:
      return "without a pattern";
  }
  return "";
}

}  // namespace openp2p::nat
