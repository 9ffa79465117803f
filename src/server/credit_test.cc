#include "server/credit.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "server/memory_records.h"

/// Who is credited and who pays, whatever comes in whatever order.
namespace openp2p::server {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr CreditTerms kTerms{.allowance_bytes = 1'000 * kMiB, .month = 24'000, .oldest_step = 0};

NodeId node(int number) {
  NodeId id;
  id.key[0] = std::byte(number);
  return id;
}
NetworkId network(int number) {
  NetworkId id{};
  id[0] = std::byte(number);
  return id;
}

/// Nodes 1 and 2 are of network 1, node 3 of network 2 relays for them.
class CreditTest : public testing::Test {
 protected:
  CreditTest() {
    for (int of = 1; of <= 3; ++of) {
      const std::string email = "u" + std::to_string(of) + "@example.org";
      EXPECT_TRUE(records_.create_user({.email = email,
                                        .password_hash = {},
                                        .network = network(of),
                                        .network_name = {},
                                        .created_at = {}}));
      EXPECT_TRUE(records_.new_token({.secret_hash = {std::byte(of)},
                                      .email = email,
                                      .is_reusable = true,
                                      .created_at = {},
                                      .expires_at = {}}));
    }
    join(1, 1);
    join(2, 1);
    join(3, 2);
  }
  void join(int number, int of) {
    EXPECT_TRUE(records_.join({.secret_hash = {std::byte(of)},
                               .node = node(number),
                               .name = "n" + std::to_string(number),
                               .version = {},
                               .platform = {},
                               .now = {}}));
  }
  static ReceiptClaim claim(std::uint64_t lower, std::uint64_t higher, int allocation = 1,
                            int relay = 3) {
    return {.allocation = {std::byte(allocation)},
            .relay = node(relay),
            .lower = node(1),
            .higher = node(2),
            .claims = {.step = 5, .lower_bytes = lower, .higher_bytes = higher}};
  }
  void credit(const ReceiptClaim& claim, const CreditTerms& terms = kTerms) {
    EXPECT_TRUE(records_.credit({&claim, 1}, terms));
  }
  std::uint64_t lent(int of) { return records_.find_account(network(of))->lent_bytes; }
  std::uint64_t borrowed(int of) { return records_.find_account(network(of))->borrowed_bytes; }

  MemoryRecords records_;
};

TEST_F(CreditTest, CountsWhatBothEndsSigned) {
  credit(claim(100 * kMiB, 0));
  EXPECT_EQ(lent(2), 0U);  // One end alone proves nothing.
  credit(claim(0, 3 * kMiB));

  EXPECT_EQ(lent(2), 103 * kMiB);
  EXPECT_EQ(borrowed(1), 103 * kMiB);
  EXPECT_EQ(*records_.lent_by(node(3)), 103 * kMiB);
  EXPECT_EQ(*records_.lent_by(node(1)), 0U);
}

TEST_F(CreditTest, CountsRepeatedAndFallingReceiptsOnce) {
  for (const std::uint64_t bytes : {10, 10, 4, 10, 1}) credit(claim(bytes * kMiB, bytes * kMiB));
  EXPECT_EQ(lent(2), 20 * kMiB);
  credit(claim(11 * kMiB, 10 * kMiB));
  EXPECT_EQ(lent(2), 21 * kMiB);
  EXPECT_EQ(borrowed(1), 21 * kMiB);
}

TEST_F(CreditTest, AnyOrderOfReceiptsGivesTheSame) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const std::uint64_t before = lent(2);
    std::vector<ReceiptClaim> claims;
    const int allocation = static_cast<int>(seed) + 10;
    for (std::uint64_t i = 1; i <= 6; ++i) {
      claims.push_back(claim(i * 1'000, 0, allocation));
      claims.push_back(claim(0, i * 100, allocation));
    }
    for (std::size_t i = claims.size(); i > 1; --i) {
      std::swap(claims[i - 1], claims[random.below(i)]);
    }
    while (!claims.empty()) {  // In batches of any size.
      const std::size_t size = 1 + random.below(claims.size());
      EXPECT_TRUE(records_.credit(std::span(claims).first(size), kTerms));
      claims.erase(claims.begin(), claims.begin() + static_cast<std::ptrdiff_t>(size));
    }
    EXPECT_EQ(lent(2) - before, 6'600U);
  }
}

TEST_F(CreditTest, RelayingForOnesOwnNetworkIsWorthNothing) {
  join(4, 1);
  credit(claim(kMiB, kMiB, 1, /*relay=*/4));
  EXPECT_EQ(lent(1), 0U);
  EXPECT_EQ(borrowed(1), 0U);
}

TEST_F(CreditTest, EndsOfTwoNetworksOrUnknownNodesCountNothing) {
  join(2, 3);  // It left network 1.
  credit(claim(kMiB, kMiB));
  credit(claim(kMiB, kMiB, 2, /*relay=*/9));
  EXPECT_EQ(lent(2), 0U);
  EXPECT_EQ(borrowed(1) + borrowed(3), 0U);
  EXPECT_EQ(records_.allocation_count(), 0U);
}

TEST_F(CreditTest, WhatARemovedNodeDidStillCounts) {
  ASSERT_TRUE(records_.remove(node(3), {}));
  credit(claim(kMiB, kMiB));
  EXPECT_EQ(lent(2), 2 * kMiB);
}

TEST_F(CreditTest, TheAllowanceIsUsedFirstAndNewEachMonth) {
  credit(claim(600 * kMiB, 200 * kMiB));
  EXPECT_EQ(borrowable(*records_.find_account(network(1)), kTerms).total(), 200 * kMiB);

  CreditTerms next = kTerms;
  ++next.month;
  EXPECT_EQ(borrowable(*records_.find_account(network(1)), next).total(), 1'000 * kMiB);
  credit(claim(700 * kMiB, 200 * kMiB), next);
  EXPECT_EQ(borrowable(*records_.find_account(network(1)), next).total(), 900 * kMiB);
  EXPECT_EQ(borrowed(1), 900 * kMiB);
  EXPECT_EQ(records_.find_account(network(1))->paid_bytes, 0U);
}

TEST_F(CreditTest, WhoLendsMayBorrowAsMuch) {
  credit(claim(300 * kMiB, 0));
  credit(claim(0, 100 * kMiB));
  EXPECT_EQ(borrowable(*records_.find_account(network(2)), kTerms).total(), 1'400 * kMiB);
  const Borrowable free_of_allowance = borrowable(*records_.find_account(network(2)), {});
  EXPECT_EQ(free_of_allowance.total(), 400 * kMiB);
  EXPECT_EQ(free_of_allowance.earned_bytes, 400 * kMiB);
}

TEST_F(CreditTest, ADebtIsKeptAndRelaysAreCreditedUpToIt) {
  credit(claim(5'000 * kMiB, 5'000 * kMiB));

  // The allowance and the debt limit: two accounts of one person cannot mint more.
  EXPECT_EQ(lent(2), kTerms.allowance_bytes + kDebtMaxBytes);
  EXPECT_EQ(borrowed(1), 10'000 * kMiB);
  EXPECT_EQ(borrowable(*records_.find_account(network(1)), kTerms).total(), 0U);
  credit(claim(6'000 * kMiB, 6'000 * kMiB));
  EXPECT_EQ(lent(2), kTerms.allowance_bytes + kDebtMaxBytes);

  CreditTerms next = kTerms;
  ++next.month;
  EXPECT_EQ(borrowable(*records_.find_account(network(1)), next).total(), 0U);
}

TEST_F(CreditTest, HugeNumbersEndAtTheLimit) {
  credit(claim(UINT64_MAX, UINT64_MAX),
         {.allowance_bytes = UINT64_MAX, .month = 1, .oldest_step = 0});
  credit(claim(UINT64_MAX, UINT64_MAX, 2),
         {.allowance_bytes = UINT64_MAX, .month = 1, .oldest_step = 0});
  EXPECT_LE(lent(2), kCreditBytesMax);
  EXPECT_EQ(borrowed(1), kCreditBytesMax);
}

TEST_F(CreditTest, AllocationsTooOldAreForgotten) {
  credit(claim(kMiB, kMiB));
  ASSERT_EQ(records_.allocation_count(), 1U);
  CreditTerms later = kTerms;
  later.oldest_step = 6;
  EXPECT_TRUE(records_.credit({}, later));
  EXPECT_EQ(records_.allocation_count(), 0U);
}

TEST(CreditMonth, IsTheCalendarsInUtc) {
  EXPECT_EQ(month_of({0}), 1970 * 12);
  EXPECT_EQ(month_of({1'800'000'000'000'000}), 2027 * 12);  // 2027-01-15
  EXPECT_EQ(month_of({1'801'440'000'000'000 - 1}), 2027 * 12);
  EXPECT_EQ(month_of({1'801'440'000'000'000}), 2027 * 12 + 1);
  EXPECT_EQ(month_of({-1}), 1969 * 12 + 11);
}

}  // namespace
}  // namespace openp2p::server
