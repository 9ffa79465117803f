#include "path/mtu_search.h"

#include <gtest/gtest.h>

#include <vector>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRtt = 20ms;

/// Runs all probes that are due until `end`; sizes up to `mtu` are answered at once.
std::vector<std::size_t> run(MtuSearch& search, TimePoint& now, TimePoint end, std::size_t mtu) {
  std::vector<std::size_t> probes;
  while (search.next_probe_at() && *search.next_probe_at() <= end) {
    now = std::max(now, *search.next_probe_at());
    while (const std::size_t bytes = search.poll_probe(now, kRtt)) {
      probes.push_back(bytes);
      if (bytes <= mtu) search.on_answer(bytes);
    }
  }
  now = end;
  return probes;
}

TEST(MtuSearch, AsksOnceWhereTheLargestFits) {
  MtuSearch search(/*is_v4=*/true);
  TimePoint now{};
  EXPECT_EQ(search.datagram_bytes(), MtuSearch::kBaseBytes);

  search.restart(now);

  EXPECT_EQ(run(search, now, now + 1min, 1472), std::vector<std::size_t>{1472});
  EXPECT_EQ(search.datagram_bytes(), 1472u);
  EXPECT_FALSE(search.next_probe_at());
}

TEST(MtuSearch, SettlesBelowWhatIsLostAndEnds) {
  MtuSearch search(/*is_v4=*/true);
  TimePoint now{};
  search.restart(now);

  const auto probes = run(search, now, now + 1min, 1420);

  EXPECT_EQ(search.datagram_bytes(), 1392u);
  EXPECT_LE(probes.size(), 4u + 3u + 3u);
  EXPECT_FALSE(search.next_probe_at());
}

TEST(MtuSearch, StaysAtTheBaseWhereNothingLargerFits) {
  MtuSearch search(/*is_v4=*/false);
  TimePoint now{};
  search.restart(now);

  const auto probes = run(search, now, now + 1h, 0);

  EXPECT_EQ(probes.size(), MtuSearch::kSizesMax * MtuSearch::kRoundsMax);
  EXPECT_TRUE(search.is_too_narrow());
  EXPECT_EQ(search.datagram_bytes(), MtuSearch::kBaseBytes);
  EXPECT_FALSE(search.next_probe_at());
}

TEST(MtuSearch, OneLostConfirmationChangesNothing) {
  MtuSearch search(/*is_v4=*/true);
  TimePoint now{};
  search.restart(now);
  run(search, now, now + 1s, 1472);

  search.on_consent(now);
  EXPECT_EQ(search.poll_probe(now, kRtt), 1472u);  // Lost.
  search.on_consent(now + 5s);
  now += 5s;
  run(search, now, now + 5s, 1472);

  EXPECT_EQ(search.datagram_bytes(), 1472u);
}

TEST(MtuSearch, ABlackHoleIsSteppedAroundAndLeftLater) {
  MtuSearch search(/*is_v4=*/true);
  TimePoint now{};
  search.restart(now);
  run(search, now, now + 1s, 1472);

  search.doubt(now);
  const TimePoint doubted_at = now;
  run(search, now, doubted_at + 1s, 1300);
  EXPECT_EQ(search.datagram_bytes(), 1252u) << "three misses, then a new search";
  now += MtuSearch::kRaiseAfter;
  search.on_consent(now);
  run(search, now, now + 1s, 1472);

  EXPECT_EQ(search.datagram_bytes(), 1472u);
}

TEST(MtuSearch, AFixedSizeIsNeverAsked) {
  MtuSearch search(/*is_v4=*/true);
  search.set_fixed(1'472);
  TimePoint now{};

  for (int i = 0; i < 1'000; ++i, now += 5s) {
    if (i % 10 == 0) search.restart(now);
    search.on_consent(now);
    search.doubt(now);
    EXPECT_FALSE(search.next_probe_at());
    EXPECT_EQ(search.poll_probe(now, 10ms), 0U);
  }
  EXPECT_EQ(search.datagram_bytes(), 1'472U);
}

}  // namespace
}  // namespace openp2p::path
