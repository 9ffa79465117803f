#include "path/probe_budget.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

const IpAddress kA = IpAddress::v4(11, 0, 0, 1);
const IpAddress kB = IpAddress::v4(11, 0, 0, 2);

TEST(ProbeBudget, IsOneForAllRemotes) {
  ProbeBudget budget;
  EXPECT_EQ(budget.reserve(kA, 700, TimePoint{}), 700u);
  EXPECT_EQ(budget.reserve(kB, 700, TimePoint{}), ProbeBudget::kEntriesMax - 700);
  EXPECT_EQ(budget.reserve(kA, 1, TimePoint{}), 0u);
}

TEST(ProbeBudget, ComesBackWhenRoutersForget) {
  ProbeBudget budget;
  budget.reserve(kA, ProbeBudget::kEntriesMax, TimePoint{});
  EXPECT_EQ(budget.left(kA, TimePoint{} + ProbeBudget::kEntryLifetime), 0u);
  EXPECT_EQ(budget.left(kA, TimePoint{} + ProbeBudget::kEntryLifetime + 11s),
            ProbeBudget::kEntriesMax);
}

TEST(ProbeBudget, TakesBackWhatWasNotUsed) {
  ProbeBudget budget;
  budget.reserve(kA, 600, TimePoint{});
  budget.refund(kA, 500);
  EXPECT_EQ(budget.left(kA, TimePoint{} + 15s), ProbeBudget::kEntriesMax - 100);
}

TEST(ProbeBudget, WhatIsPromisedToOneIsLeftToNobodyElse) {
  constexpr FinderTag kFirst(1), kSecond(2);
  ProbeBudget budget;
  budget.reserve(kA, 20, TimePoint{});

  EXPECT_EQ(budget.promise(kFirst, TimePoint{}), ProbeBudget::kEntriesMax - 20);

  EXPECT_EQ(budget.promise(kSecond, TimePoint{}), 0u);
  EXPECT_EQ(budget.left(kB, TimePoint{}), 0u);
  EXPECT_EQ(budget.reserve(kB, 1, TimePoint{}), 0u);
  budget.settle(kSecond);
  EXPECT_EQ(budget.left(TimePoint{}), 0u) << "it was promised to another one";
  budget.settle(kFirst);
  EXPECT_EQ(budget.reserve(kB, 600, TimePoint{}), 600u);
}

TEST(ProbeBudget, APromiseEndsByTimeWhereNobodyAnswers) {
  ProbeBudget budget;
  budget.promise(FinderTag(1), TimePoint{});
  EXPECT_EQ(budget.left(TimePoint{} + ProbeBudget::kPromiseMax - 1ms), 0u);
  EXPECT_EQ(budget.promise(FinderTag(1), TimePoint{} + 1s), ProbeBudget::kEntriesMax);
  EXPECT_EQ(budget.left(TimePoint{} + ProbeBudget::kPromiseMax), ProbeBudget::kEntriesMax);
}

TEST(ProbeBudget, KeepsFewRemotes) {
  ProbeBudget budget;
  for (std::uint8_t i = 0; i < ProbeBudget::kRemotesMax; ++i) {
    EXPECT_EQ(budget.reserve(IpAddress::v4(11, 0, 1, i), 1, TimePoint{}), 1u);
  }
  EXPECT_EQ(budget.reserve(kA, 1, TimePoint{}), 0u);
  EXPECT_EQ(budget.reserve(kA, 1, TimePoint{} + 5min), 1u);
}

TEST(ProbeBudget, NeverGrantsMoreThanTheLimitInAnyLifetime) {
  Random random(1);
  ProbeBudget budget;
  std::vector<std::pair<TimePoint, unsigned>> granted;
  TimePoint now{};
  for (int i = 0; i < 5'000; ++i) {
    now += Duration(random.below(20'000'000'000));
    const IpAddress remote = random.chance(0.5) ? kA : kB;
    const auto wanted = static_cast<unsigned>(random.below(400));
    granted.emplace_back(now, budget.reserve(remote, wanted, now));
    unsigned sum = 0;
    for (const auto& [at, count] : granted) {
      if (now - at < ProbeBudget::kEntryLifetime) sum += count;
    }
    ASSERT_LE(sum, ProbeBudget::kEntriesMax);
  }
}

TEST(ProbeBudget, CapsPacketsASecond) {
  ProbeBudget budget;
  int sent = 0;
  for (TimePoint now{}; now < TimePoint{} + 2s; now += 100us) sent += budget.take_packet(now);
  EXPECT_LE(sent, 1'000 + ProbeBudget::kPacketBurst);
  EXPECT_GE(sent, 990);
}

}  // namespace
}  // namespace openp2p::path
