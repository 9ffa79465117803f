#include "server/relay_permits.h"

#include <gtest/gtest.h>

namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

NodeId node(std::size_t number) {
  NodeId id;
  id.key[0] = std::byte(number >> 16);
  id.key[1] = std::byte(number >> 8 & 255);
  id.key[2] = std::byte(number & 255);
  return id;
}

TEST(RelayPermits, HoldForTenMinutesBothWays) {
  RelayPermits permits;
  const TimePoint start{};
  ASSERT_TRUE(permits.add(node(1), node(2), start));

  EXPECT_TRUE(permits.has(node(2), node(1), start));
  EXPECT_TRUE(permits.has(node(1), node(2), start + RelayPermits::kLifetime - 1s));
  EXPECT_FALSE(permits.has(node(1), node(2), start + RelayPermits::kLifetime));
  EXPECT_FALSE(permits.has(node(1), node(3), start));
}

TEST(RelayPermits, LastAsLongAsTheyAreRenewed) {
  RelayPermits permits;
  TimePoint now{};
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(permits.add(node(1), node(2), now));
    now += RelayPermits::kLifetime - 1s;
    EXPECT_TRUE(permits.has(node(1), node(2), now));
    EXPECT_LE(permits.size(), 1U);
  }
  now += 1s;
  EXPECT_FALSE(permits.has(node(1), node(2), now));
}

TEST(RelayPermits, FullOnesTakeNoneAwayAndLetNewOnesInLater) {
  RelayPermits permits;
  TimePoint now{};
  for (std::size_t i = 0; i < RelayPermits::kPermitsMax; ++i) {
    ASSERT_TRUE(permits.add(node(i), node(i + 1), now));
  }
  EXPECT_FALSE(permits.add(node(1'000'000), node(2'000'000), now));
  EXPECT_TRUE(permits.add(node(0), node(1), now));  // Renewing needs no room.
  EXPECT_TRUE(permits.has(node(5), node(6), now));

  now += RelayPermits::kLifetime;
  EXPECT_TRUE(permits.add(node(1'000'000), node(2'000'000), now));
  EXPECT_EQ(permits.size(), 1U);
}

TEST(RelayPermits, EndWithTheNode) {
  RelayPermits permits;
  TimePoint now{};
  permits.add(node(1), node(2), now);
  permits.add(node(3), node(1), now);
  permits.add(node(3), node(4), now);

  permits.forget(node(1));

  EXPECT_FALSE(permits.has(node(1), node(2), now));
  EXPECT_FALSE(permits.has(node(1), node(3), now));
  EXPECT_TRUE(permits.has(node(3), node(4), now));
  EXPECT_TRUE(permits.add(node(1), node(2), now));  // And may come back.
  now += 2 * RelayPermits::kLifetime;
  permits.add(node(8), node(9), now);
  EXPECT_EQ(permits.size(), 1U);
}

}  // namespace
}  // namespace openp2p::server
