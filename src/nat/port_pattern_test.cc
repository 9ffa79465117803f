#include "nat/port_pattern.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace openp2p::nat {
namespace {

const IpAddress kExternal = IpAddress::v4(198, 51, 100, 1);

std::vector<MappingSample> seen(const std::vector<int>& ports) {
  std::vector<MappingSample> samples;
  for (const int port : ports) {
    const auto internal = static_cast<std::uint16_t>(40'000 + samples.size() * 7);
    samples.push_back({internal, {kExternal, static_cast<std::uint16_t>(port)}});
  }
  return samples;
}

TEST(PortPattern, KnowsNothingWithoutSamples) { EXPECT_EQ(infer_pattern({}), PortPattern()); }

TEST(PortPattern, SeesPortsThatAreKept) {
  std::vector<MappingSample> samples;
  for (const std::uint16_t port : {50'000, 40'001, 33'000}) {
    samples.push_back({port, {kExternal, port}});
  }

  const PortPattern pattern = infer_pattern(samples);

  EXPECT_EQ(pattern.allocation, PortAllocation::kPreserved);
  EXPECT_EQ(pattern.last_port, 33'000);
}

struct Sequence {
  std::vector<int> ports;
  int step;
  int last;
};

TEST(PortPattern, SeesSequencesWithStepAndNewestPort) {
  const Sequence cases[] = {
      {{2000, 2001}, 1, 2001},
      {{2000, 2001, 2002, 2003}, 1, 2003},
      {{2006, 2004, 2002, 2000}, -2, 2000},
      {{2000, 2001, 2005, 2006, 2007}, 1, 2007},        // Neighbours took three.
      {{2000, 2002, 2004, 2040, 2042, 2044}, 2, 2044},  // .. and many.
      {{2000, 2006, 2001, 2002, 2003, 2004}, 1, 2006},  // The second was sent again.
      {{65'533, 65'534, 65'535, 1024, 1025}, 1, 1025},  // The end of all ports.
      {{1025, 1024, 65'535, 65'534, 65'533}, -1, 65'533},
  };
  for (const Sequence& expected : cases) {
    SCOPED_TRACE(expected.ports.back());

    const PortPattern pattern = infer_pattern(seen(expected.ports));

    EXPECT_EQ(pattern.allocation, PortAllocation::kSequential);
    EXPECT_EQ(pattern.step, expected.step);
    EXPECT_EQ(pattern.last_port, expected.last);
  }
}

TEST(PortPattern, TakesTheSmallestRunOfRangesForTheBlock) {
  const PortPattern one = infer_pattern(seen({5600, 5130, 5900, 5333}));
  EXPECT_EQ(one.allocation, PortAllocation::kBlocks);
  EXPECT_EQ(one.block, (PortRange{5120, 6143}));

  const PortPattern two = infer_pattern(seen({6600, 5130, 5900, 5333, 6999}));
  EXPECT_EQ(two.allocation, PortAllocation::kBlocks);
  EXPECT_EQ(two.block, (PortRange{5120, 7167}));

  // Four out of two ranges could be chance.
  EXPECT_EQ(infer_pattern(seen({6600, 5130, 5900, 5333})).allocation, PortAllocation::kNoPattern);
  EXPECT_EQ(infer_pattern(seen({65'535, 64'600, 65'000, 64'512})).block,
            (PortRange{64'512, 65'535}));
  EXPECT_EQ(infer_pattern(seen({700, 20, 300, 511})).block, (PortRange{1, 1'023})) << "0: no port";
}

TEST(PortPattern, LeavesOpenWhatThreeSamplesCannotTell) {
  EXPECT_EQ(infer_pattern(seen({5600})).allocation, PortAllocation::kUnknown);
  EXPECT_EQ(infer_pattern(seen({5600, 9000})).allocation, PortAllocation::kUnknown);
  EXPECT_EQ(infer_pattern(seen({5600, 5130, 5900})).allocation, PortAllocation::kUnknown);
}

TEST(PortPattern, ComparesPortsOfOneAddressOnly) {
  auto samples = seen({2000, 60'000, 2001, 2002, 2003});
  samples[1].external.ip = IpAddress::v4(198, 51, 100, 2);

  const PortPattern pattern = infer_pattern(samples);

  EXPECT_EQ(pattern.allocation, PortAllocation::kSequential);
  EXPECT_EQ(pattern.last_port, 2003);
}

TEST(PortPattern, LooksAtTheNewestSamplesOnly) {
  std::vector<int> ports;
  ports.reserve(1000 + kPatternSamplesMax);
  for (int i = 0; i < 1000; ++i) ports.push_back(1024 + i * 61);
  for (int i = 0; i < static_cast<int>(kPatternSamplesMax); ++i) ports.push_back(63'000 + i);

  EXPECT_EQ(infer_pattern(seen(ports)).allocation, PortAllocation::kSequential);
}

/// The header's numbers: how often ports drawn by lot are taken for something else.
TEST(PortPattern, IsRarelyFooledByChance) {
  Random random(1);
  int wrong_of_all = 0, wrong_of_block = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::vector<int> spread, block;
    for (int i = 0; i < 6; ++i) spread.push_back(1024 + static_cast<int>(random.below(64'512)));
    for (int i = 0; i < 5; ++i) block.push_back(5120 + static_cast<int>(random.below(1'024)));
    wrong_of_all += infer_pattern(seen(spread)).allocation != PortAllocation::kNoPattern;
    wrong_of_block += infer_pattern(seen(block)).allocation != PortAllocation::kBlocks;
  }

  EXPECT_LE(wrong_of_all, 3);     // Expected: 0.2
  EXPECT_LE(wrong_of_block, 50);  // Expected: 2, and as many more with two equal ports.
}

}  // namespace
}  // namespace openp2p::nat
