#include "server/test_relays.h"

/// Receipts on their way into the records, and what follows for who may borrow.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

class CoreCreditTest : public CoreRelayTest {};

TEST_F(CoreCreditTest, CreditsWhatBothEndsSignedAndNothingTwice) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  constexpr std::uint64_t kMiB = 1 << 20;

  for (int copies = 0; copies < 3; ++copies) {
    send_receipt(stranger, ticket, one, two, 90 * kMiB);
    send_receipt(stranger, ticket, two, one, 10 * kMiB);
    send_receipt(stranger, ticket, one, two, 40 * kMiB);  // Falling: does nothing.
  }
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  auto lent = credit_of(stranger);
  EXPECT_EQ(lent.lent_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.lent_here_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.borrowed_bytes(), 0U);
  EXPECT_EQ(lent.allowance_bytes(), Core::kRelayAllowanceBytes + 100 * kMiB);
  EXPECT_TRUE(lent.may_borrow());
  const auto borrowed = credit_of(one);
  EXPECT_EQ(borrowed.borrowed_bytes(), 100 * kMiB);
  EXPECT_EQ(borrowed.lent_bytes(), 0U);
  EXPECT_EQ(borrowed.allowance_bytes(), Core::kRelayAllowanceBytes - 100 * kMiB);

  // After a restart the same receipts are still worth nothing.
  server_.crash();
  server_.start();
  ASSERT_TRUE(run_until([&] { return stranger.is_closed(); }, 120s));
  stranger.heard.clear();
  stranger.come_back();
  ASSERT_TRUE(run_until([&] { return stranger.is_welcome(); }));
  send_receipt(stranger, ticket, one, two, 90 * kMiB);
  send_receipt(stranger, ticket, two, one, 11 * kMiB);
  world_.run_for(CreditLedger::kBatchInterval + 1s);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 101 * kMiB);
}

TEST_F(CoreCreditTest, WhoBorrowedAllThatItMayIsToldHowToLend) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  send_receipt(stranger, ticket, one, two, Core::kRelayAllowanceBytes);
  send_receipt(stranger, ticket, two, one, 1);
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  const auto refused = ask(one, two.id());
  EXPECT_EQ(refused.reason_name(), "no-credit");
  EXPECT_EQ(refused.relays_size(), 0);
  EXPECT_NE(refused.reason().find("openp2p up --share"), std::string::npos);
  EXPECT_FALSE(credit_of(one).may_borrow());
  EXPECT_EQ(credit_of(one).allowance_bytes(), 0U);
  EXPECT_EQ(credit_of(one).reason(), refused.reason());
}

TEST_F(CoreCreditTest, BeyondTheAllowanceOnlyWhoSharesMayBorrow) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  {  // Network 1 has lent a lot, and has used its allowance.
    TestNode& borrower = add(2, "borrower");
    TestNode& borrower_too = add(3, "other");
    (void)borrower_too;
    share(one, 10'000'000);
    TestNode& peer = stranger;
    const auto grant = ask(borrower, peer.id());
    ASSERT_EQ(grant.relays_size(), 1) << grant.reason();
    const auto lent = ticket_of(grant.relays(0));
    ASSERT_EQ(grant.relays(0).node(), text(one.id()));
    send_receipt(one, lent, borrower, peer, 500 << 20);
    send_receipt(one, lent, peer, borrower, 1);
  }
  auto wanted = wish_for(two.id(), 1);
  wanted.add_only(text(stranger.id()));
  const auto ticket = ticket_of(ask(one, wanted).relays(0));
  send_receipt(stranger, ticket, one, two, Core::kRelayAllowanceBytes);
  send_receipt(stranger, ticket, two, one, 1);
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  wanted.set_number(2);
  EXPECT_EQ(ask(one, wanted).relays_size(), 1);  // It shares, and has credit.
  one.leave();
  ASSERT_TRUE(run_until([&] { return one.is_closed(); }));
  one.heard.clear();
  one.come_back();  // Without sharing, this time.
  ASSERT_TRUE(run_until([&] { return one.is_welcome(); }));
  wanted.set_number(3);
  const auto refused = ask(one, wanted);
  EXPECT_EQ(refused.reason_name(), "not-sharing");
  EXPECT_EQ(refused.relays_size(), 0);
}

TEST_F(CoreCreditTest, AFullDiskDelaysCreditsAndLosesNone) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  server_.records().set_full(true);
  send_receipt(stranger, ticket, one, two, 1'000);
  send_receipt(stranger, ticket, two, one, 1'000);
  world_.run_for(3 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 0U);

  server_.records().set_full(false);
  world_.run_for(2 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 2'000U);
}

TEST_F(CoreCreditTest, AStopWritesWhatWaits) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  send_receipt(stranger, ticket, one, two, 1'000);
  send_receipt(stranger, ticket, two, one, 1'000);
  ASSERT_TRUE(run_until([&] { return server_.core().ledger().counters().taken == 2; }));

  server_.stop();

  EXPECT_EQ(server_.records().find_account({std::byte{2}})->lent_bytes, 2'000U);
}

TEST_F(CoreCreditTest, AStopWithAFullDiskEndsAll) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  send_receipt(stranger, ticket, one, two, 1'000);
  ASSERT_TRUE(run_until([&] { return server_.core().ledger().counters().taken == 1; }));
  server_.records().set_full(true);

  server_.stop();

  EXPECT_EQ(server_.records().find_account({std::byte{2}})->lent_bytes, 0U);
  EXPECT_TRUE(run_until([&] { return one.is_closed() && stranger.is_closed(); }));
}

}  // namespace
}  // namespace openp2p::server
