#include "relay/spent_tickets.h"

#include <gtest/gtest.h>

#include "relay/test_ids.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;
using Outcome = SpentTickets::Outcome;

constexpr TimePoint kStart{};

Ticket numbered(std::uint32_t number, std::uint64_t step) {
  Ticket ticket;
  ticket.step = step;
  for (std::size_t i = 0; i < 4; ++i) {
    ticket.allocation[i] = static_cast<std::byte>(number >> (8 * i));
  }
  return ticket;
}

TEST(SpentTickets, LetEachEndInOnce) {
  SpentTickets spent;
  const Ticket ticket = numbered(1, 100);
  EXPECT_EQ(spent.spend(ticket, node(1), 100, kStart), Outcome::kFresh);
  EXPECT_EQ(spent.spend(ticket, node(2), 100, kStart), Outcome::kFresh);
  EXPECT_EQ(spent.spend(ticket, node(1), 101, kStart), Outcome::kSpent);
  EXPECT_EQ(spent.spend(numbered(2, 100), node(1), 101, kStart), Outcome::kFresh);
}

TEST(SpentTickets, AreRememberedWhenTheServersClockIsSetBack) {
  SpentTickets spent;
  const Ticket ticket = numbered(1, 100);
  ASSERT_EQ(spent.spend(ticket, node(1), 100, kStart), Outcome::kFresh);
  ASSERT_EQ(spent.spend(numbered(2, 110), node(1), 110, kStart + 5min), Outcome::kFresh);
  EXPECT_EQ(spent.spend(ticket, node(1), 100, kStart + 6min), Outcome::kSpent);
}

TEST(SpentTickets, OfAClockTenYearsAheadDoNotLastForTenYears) {
  SpentTickets spent;
  ASSERT_EQ(spent.spend(numbered(1, 10'000'000), node(1), 10'000'000, kStart), Outcome::kFresh);
  EXPECT_EQ(spent.spend(numbered(2, 100), node(1), 100, kStart + 1min), Outcome::kFresh);
  EXPECT_EQ(spent.spend(numbered(3, 220), node(1), 220, kStart + 60min), Outcome::kFresh);
  EXPECT_EQ(spent.size(), 2u);
}

TEST(SpentTickets, AreForgottenOnceTooOldToBeTaken) {
  SpentTickets spent;
  for (std::uint32_t i = 0; i < 1'000; ++i) {
    ASSERT_EQ(spent.spend(numbered(i, 100), node(1), 100, kStart), Outcome::kFresh);
  }
  ASSERT_EQ(spent.spend(numbered(5'000, 230), node(1), 230, kStart + 65min), Outcome::kFresh);
  EXPECT_EQ(spent.size(), 1u);
}

TEST(SpentTickets, RefuseWhenFullInsteadOfForgettingAGoodOne) {
  SpentTickets spent;
  for (std::uint32_t i = 0; i < SpentTickets::kEntriesMax; ++i) {
    ASSERT_EQ(spent.spend(numbered(i, 100), node(1), 100, kStart), Outcome::kFresh);
  }
  EXPECT_EQ(spent.spend(numbered(70'000, 100), node(1), 100, kStart), Outcome::kFull);
  EXPECT_EQ(spent.spend(numbered(0, 100), node(1), 100, kStart), Outcome::kSpent);
  EXPECT_EQ(spent.spend(numbered(70'000, 103), node(1), 103, kStart + 90s), Outcome::kFresh);
  EXPECT_EQ(spent.size(), SpentTickets::kEntriesMax);
}

}  // namespace
}  // namespace openp2p::relay
