#include "relay/receipt_watch.h"

#include <gtest/gtest.h>

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;
using Verdict = ReceiptWatch::Verdict;

constexpr TimePoint kStart{};
constexpr std::uint64_t kMiB = 1 << 20;

/// 100 MiB were handed on, and a receipt was asked for.
ReceiptWatch asked_at_100_mib() {
  ReceiptWatch watch;
  watch.on_delivered(100 * kMiB, kStart);
  watch.asked(kStart);
  return watch;
}

TEST(ReceiptWatch, AsksAfter4MibButNotEachInstant) {
  ReceiptWatch watch;
  EXPECT_FALSE(watch.on_delivered(4 * kMiB - 1, kStart));
  EXPECT_TRUE(watch.on_delivered(1, kStart));
  watch.asked(kStart);
  EXPECT_FALSE(watch.on_delivered(10 * kMiB, kStart + 1s));
  EXPECT_TRUE(watch.on_delivered(1, kStart + 2s));
}

TEST(ReceiptWatch, AsksAfter60SecondsOfUse) {
  ReceiptWatch watch;
  EXPECT_FALSE(watch.is_wanted(kStart + 1h));
  watch.on_delivered(100'000, kStart + 1h);
  EXPECT_FALSE(watch.is_wanted(kStart + 1h + 59s));
  EXPECT_TRUE(watch.is_wanted(kStart + 1h + 60s));
  watch.asked(kStart + 1h + 60s);
  EXPECT_FALSE(watch.is_wanted(kStart + 5h));
}

TEST(ReceiptWatch, DoesNotAskForChecksThatKeepAPathWarm) {
  ReceiptWatch watch;
  for (int i = 0; i < 100; ++i) watch.on_delivered(120, kStart + i * 25s);
  EXPECT_FALSE(watch.is_wanted(kStart + 2h));
}

TEST(ReceiptWatch, TakesWhatGrows) {
  ReceiptWatch watch = asked_at_100_mib();
  EXPECT_EQ(watch.on_receipt(99 * kMiB), Verdict::kTaken);
  EXPECT_EQ(watch.on_receipt(99 * kMiB), Verdict::kRepeated);
  EXPECT_EQ(watch.on_receipt(98 * kMiB), Verdict::kFallen);
  EXPECT_EQ(watch.on_receipt(100 * kMiB), Verdict::kTaken);
  EXPECT_EQ(watch.proven(), 100 * kMiB);
}

TEST(ReceiptWatch, TakesNoClaimOfMoreThanWasHandedOn) {
  ReceiptWatch watch = asked_at_100_mib();
  EXPECT_EQ(watch.on_receipt(100 * kMiB + 1), Verdict::kTooHigh);
  EXPECT_EQ(watch.on_receipt(UINT64_MAX), Verdict::kTooHigh);
  EXPECT_EQ(watch.proven(), 0u);
}

TEST(ReceiptWatch, BearsTheLossOfAFifthAndNoMore) {
  EXPECT_EQ(asked_at_100_mib().on_receipt(79 * kMiB), Verdict::kTaken);
  EXPECT_EQ(asked_at_100_mib().on_receipt(79 * kMiB - 1), Verdict::kTooLow);
  EXPECT_EQ(asked_at_100_mib().on_receipt(0), Verdict::kTooLow);
}

TEST(ReceiptWatch, DoesNotMissWhatWasHandedOnAfterTheQuestion) {
  ReceiptWatch watch = asked_at_100_mib();
  watch.on_delivered(50 * kMiB, kStart + 1s);
  EXPECT_EQ(watch.on_receipt(100 * kMiB), Verdict::kTaken);
  EXPECT_FALSE(watch.is_overdue(kStart + 1h)) << "nothing was asked since";
}

TEST(ReceiptWatch, IsOverdueAfter3MinutesOrWith16MibUnproven) {
  ReceiptWatch watch = asked_at_100_mib();
  EXPECT_FALSE(watch.is_overdue(kStart + 9s)) << "an answer takes a while";
  EXPECT_TRUE(watch.is_overdue(kStart + 10s));

  ReceiptWatch slow;
  slow.on_delivered(100'000, kStart);
  slow.asked(kStart + 60s);
  EXPECT_FALSE(slow.is_overdue(kStart + 60s + 179s));
  EXPECT_TRUE(slow.is_overdue(kStart + 60s + 180s));
  slow.asked(kStart + 200s);
  EXPECT_TRUE(slow.is_overdue(kStart + 60s + 180s)) << "asking again is no new patience";
}

TEST(ReceiptWatch, IsNotOverdueOnceAnswered) {
  ReceiptWatch watch = asked_at_100_mib();
  ASSERT_EQ(watch.on_receipt(100 * kMiB), Verdict::kTaken);
  EXPECT_FALSE(watch.is_overdue(kStart + 10h));
}

}  // namespace
}  // namespace openp2p::relay
