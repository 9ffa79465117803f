#include "path/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace openp2p::path {
namespace {

TEST(Timeline, KeepsTheLastEntries) {
  Timeline timeline;
  for (unsigned i = 0; i < 200; ++i) {
    timeline.add({.at = {}, .event = TimelineEvent::kPathSelected, .count = i});
  }
  ASSERT_EQ(timeline.entries().size(), Timeline::kEntriesMax);
  EXPECT_EQ(timeline.entries().back().count, 199u);
}

TEST(Timeline, CandidatesNeverPushOutTheRest) {
  Timeline timeline;
  timeline.add({.at = {}, .event = TimelineEvent::kPathLost});
  for (int i = 0; i < 1'000; ++i) timeline.add({.at = {}, .event = TimelineEvent::kCandidate});

  EXPECT_EQ(timeline.entries().front().event, TimelineEvent::kPathLost);
  EXPECT_EQ(timeline.entries().size(), 1 + Timeline::kCandidatesMax);
  EXPECT_EQ(timeline.entries().back().count, 1'000 - Timeline::kCandidatesMax);
}

TEST(ReasonCode, AllHaveANameOfTheirOwn) {
  std::set<std::string_view> names;
  for (int i = 0; i < kReasonCodes; ++i) {
    const auto reason = static_cast<ReasonCode>(i);
    EXPECT_FALSE(reason_text(reason).empty());
    EXPECT_TRUE(names.insert(reason_name(reason)).second);
  }
  EXPECT_EQ(reason_name(ReasonCode::kBothRandom), "both-random");
  EXPECT_EQ(reason_name(ReasonCode::kWaitingForRetry), "waiting-for-retry");
  EXPECT_TRUE(is_lasting(ReasonCode::kBothRandom));
  EXPECT_FALSE(is_lasting(ReasonCode::kSprayMissed));
  EXPECT_EQ(timeline_event_text(TimelineEvent::kFailed), "failed");
}

}  // namespace
}  // namespace openp2p::path
