#include "forward/fragments.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"
#include "quic/counting_new.h"

namespace openp2p::forward {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kNow{};
constexpr FlowId kFlow{4};

Bytes random_datagram(Random& random, std::size_t size) {
  Bytes bytes(size);
  random.fill(bytes);
  return bytes;
}

std::vector<DatagramMessage> cut(const Bytes& datagram, std::uint32_t number,
                                 std::size_t data_max = 1'190, FlowId flow = kFlow) {
  const std::size_t count = fragments_of(datagram.size(), data_max);
  FragmentPlace place{number, static_cast<std::uint16_t>(datagram.size()), 0,
                      static_cast<std::uint8_t>(count)};
  std::vector<DatagramMessage> all;
  for (; place.index < count; ++place.index) {
    all.push_back({flow, place, ByteView(datagram).subspan(place.offset(), place.bytes())});
  }
  return all;
}

TEST(Fragments, MakeTheDatagramInAnyOrder) {
  Random random(1);
  Fragments fragments;
  for (const std::size_t size : {1'191U, 2'380U, 2'381U, 9'000U, 65'507U}) {
    const Bytes datagram = random_datagram(random, size);
    auto all = cut(datagram, static_cast<std::uint32_t>(size));
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(i)]);

    for (std::size_t i = 0; i + 1 < all.size(); ++i) ASSERT_FALSE(fragments.add(all[i], kNow));
    const auto whole = fragments.add(all.back(), kNow);

    ASSERT_TRUE(whole) << size;
    EXPECT_TRUE(std::ranges::equal(*whole, datagram)) << size;
  }
  EXPECT_EQ(fragments.counters().completed, 5U);
}

TEST(Fragments, OfManyDatagramsAreKeptApart) {
  Random random(2);
  Fragments fragments;
  std::vector<Bytes> datagrams;
  std::vector<std::vector<DatagramMessage>> cuts;
  for (std::uint32_t i = 0; i < Fragments::kMessagesMax; ++i) {
    datagrams.push_back(random_datagram(random, 3'000));
  }
  // The same number in two flows is not the same datagram.
  for (std::uint32_t i = 0; i < Fragments::kMessagesMax; ++i) {
    cuts.push_back(cut(datagrams[i], i / 2, 1'190, FlowId(i % 2)));
  }

  std::size_t wholes = 0;
  for (std::size_t piece = 0; piece < 3; ++piece) {
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      const auto whole = fragments.add(cuts[i][piece], kNow);
      if (!whole) continue;
      EXPECT_TRUE(std::ranges::equal(*whole, datagrams[i]));
      ++wholes;
    }
  }

  EXPECT_EQ(wholes, Fragments::kMessagesMax);
}

TEST(Fragments, AFragmentCountsOnce) {
  Random random(3);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, 3'000);
  const auto all = cut(datagram, 1);

  EXPECT_FALSE(fragments.add(all[0], kNow));
  EXPECT_FALSE(fragments.add(all[0], kNow));
  EXPECT_FALSE(fragments.add(all[1], kNow));
  EXPECT_FALSE(fragments.add(all[1], kNow));
  EXPECT_TRUE(fragments.add(all[2], kNow));

  EXPECT_EQ(fragments.counters().refused, 2U);
}

TEST(Fragments, ThatContradictTheFirstAreDropped) {
  Random random(4);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, 3'000);
  const Bytes larger = random_datagram(random, 4'000);
  const auto all = cut(datagram, 1);
  const auto lies = cut(larger, 1);

  EXPECT_FALSE(fragments.add(all[0], kNow));
  for (const auto& lie : lies) EXPECT_FALSE(fragments.add(lie, kNow));
  EXPECT_FALSE(fragments.add(all[1], kNow));
  const auto whole = fragments.add(all[2], kNow);

  ASSERT_TRUE(whole);
  EXPECT_TRUE(std::ranges::equal(*whole, datagram));
  EXPECT_EQ(fragments.counters().refused, lies.size());
}

TEST(Fragments, ThatWaitTooLongAreGivenUp) {
  Random random(5);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, 2'000);
  const auto all = cut(datagram, 1);
  EXPECT_FALSE(fragments.next_timeout());
  fragments.add(all[0], kNow);
  ASSERT_EQ(fragments.next_timeout(), kNow + Fragments::kPatience);

  fragments.on_timeout(kNow + Fragments::kPatience - 1ns);
  EXPECT_EQ(fragments.counters().given_up, 0U);
  fragments.on_timeout(kNow + Fragments::kPatience);

  EXPECT_EQ(fragments.counters().given_up, 1U);
  EXPECT_FALSE(fragments.add(all[1], kNow + Fragments::kPatience));  // Begins anew, and waits.
}

TEST(Fragments, MemoryIsBoundedAndTheOldestGoes) {
  Random random(6);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, kDatagramBytesMax);
  for (std::uint32_t number = 0; number < 10'000; ++number) {
    fragments.add(cut(datagram, number)[number % 56], kNow + number * 1us);
  }

  EXPECT_LE(fragments.held_bytes(), Fragments::kMessagesMax * kDatagramBytesMax);
  EXPECT_EQ(fragments.counters().given_up, 10'000U - Fragments::kMessagesMax);
  // The newest ones are still there.
  const auto all = cut(datagram, 9'999);
  std::size_t wholes = 0;
  for (const auto& fragment : all) wholes += fragments.add(fragment, kNow).has_value();
  EXPECT_EQ(wholes, 1U);
}

TEST(Fragments, MemoryIsGivenBackAfterAPause) {
  Random random(7);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, kDatagramBytesMax);
  for (const auto& fragment : cut(datagram, 1)) fragments.add(fragment, kNow);
  EXPECT_GE(fragments.held_bytes(), kDatagramBytesMax);

  fragments.on_timeout(kNow + Fragments::kMemoryKept);

  EXPECT_EQ(fragments.held_bytes(), 0U);
  EXPECT_FALSE(fragments.next_timeout());
}

TEST(Fragments, SteadyTrafficAllocatesNothing) {
  Random random(8);
  Fragments fragments;
  const Bytes datagram = random_datagram(random, kDatagramBytesMax);
  auto all = cut(datagram, 0);
  const auto exchange = [&](std::uint32_t number) {
    for (auto& fragment : all) {
      fragment.fragment->message = number;
      fragments.add(fragment, kNow);
    }
  };
  exchange(0);

  const std::uint64_t before = quic::allocations_so_far();
  for (std::uint32_t number = 1; number < 100; ++number) exchange(number);

  EXPECT_EQ(quic::allocations_so_far(), before);
  EXPECT_EQ(fragments.counters().completed, 100U);
}

}  // namespace
}  // namespace openp2p::forward
