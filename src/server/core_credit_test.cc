#include "server/test_relays.h"

/// Receipts on their way into the records, and what follows for who may borrow.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

/// Two nodes of one network, and what a relay of another one may carry for them.
class CoreCreditTest : public CoreRelayTest {
 protected:
  struct Loan {
    TestNode& relay;
    TestNode& one;
    TestNode& two;
    relay::Ticket ticket;
  };
  Loan lend() {
    TestNode& one = add(1, "one");
    TestNode& two = add(1, "two");
    TestNode& stranger = add(2, "stranger");
    share(stranger, 10'000'000);
    return {stranger, one, two, ticket_of(ask(one, two.id()).relays(0))};
  }
  /// What the first end of it has received, and the other one.
  void send_receipts(const Loan& loan, std::uint64_t bytes, std::uint64_t other_bytes) {
    send_receipt(loan.relay, loan.ticket, loan.one, loan.two, bytes);
    send_receipt(loan.relay, loan.ticket, loan.two, loan.one, other_bytes);
  }
};

TEST_F(CoreCreditTest, CreditsWhatBothEndsSignedAndNothingTwice) {
  const Loan loan = lend();
  constexpr std::uint64_t kMiB = 1 << 20;

  for (int copies = 0; copies < 3; ++copies) {
    send_receipts(loan, 90 * kMiB, 10 * kMiB);
    send_receipt(loan.relay, loan.ticket, loan.one, loan.two, 40 * kMiB);  // Falling: does nothing.
  }
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  auto lent = credit_of(loan.relay);
  EXPECT_EQ(lent.lent_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.lent_here_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.borrowed_bytes(), 0U);
  EXPECT_EQ(lent.allowance_bytes(), Core::kRelayAllowanceBytes + 100 * kMiB);
  EXPECT_TRUE(lent.may_borrow());
  const auto borrowed = credit_of(loan.one);
  EXPECT_EQ(borrowed.borrowed_bytes(), 100 * kMiB);
  EXPECT_EQ(borrowed.lent_bytes(), 0U);
  EXPECT_EQ(borrowed.allowance_bytes(), Core::kRelayAllowanceBytes - 100 * kMiB);

  // After a restart the same receipts are still worth nothing.
  server_.crash();
  server_.start();
  ASSERT_TRUE(run_until([&] { return loan.relay.is_closed(); }, 120s));
  loan.relay.heard.clear();
  loan.relay.come_back();
  ASSERT_TRUE(run_until([&] { return loan.relay.is_welcome(); }));
  send_receipts(loan, 90 * kMiB, 11 * kMiB);
  world_.run_for(CreditLedger::kBatchInterval + 1s);
  EXPECT_EQ(credit_of(loan.relay).lent_bytes(), 101 * kMiB);
}

TEST_F(CoreCreditTest, WhoBorrowedAllThatItMayIsToldHowToLend) {
  const Loan loan = lend();
  send_receipts(loan, Core::kRelayAllowanceBytes, 1);
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  const auto refused = ask(loan.one, loan.two.id());
  EXPECT_EQ(refused.reason_name(), "no-credit");
  EXPECT_EQ(refused.relays_size(), 0);
  EXPECT_NE(refused.reason().find("openp2p up --share"), std::string::npos);
  EXPECT_FALSE(credit_of(loan.one).may_borrow());
  EXPECT_EQ(credit_of(loan.one).allowance_bytes(), 0U);
  EXPECT_EQ(credit_of(loan.one).reason(), refused.reason());
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
  const Loan loan = lend();
  server_.records().set_full(true);
  send_receipts(loan, 1'000, 1'000);
  world_.run_for(3 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(loan.relay).lent_bytes(), 0U);

  server_.records().set_full(false);
  world_.run_for(2 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(loan.relay).lent_bytes(), 2'000U);
}

TEST_F(CoreCreditTest, AStopWritesWhatWaits) {
  const Loan loan = lend();
  send_receipts(loan, 1'000, 1'000);
  ASSERT_TRUE(run_until([&] { return server_.core().ledger().counters().taken == 2; }));

  server_.stop();

  EXPECT_EQ(server_.records().find_account({std::byte{2}})->lent_bytes, 2'000U);
}

TEST_F(CoreCreditTest, AStopWithAFullDiskEndsAll) {
  const Loan loan = lend();
  send_receipt(loan.relay, loan.ticket, loan.one, loan.two, 1'000);
  ASSERT_TRUE(run_until([&] { return server_.core().ledger().counters().taken == 1; }));
  server_.records().set_full(true);

  server_.stop();

  EXPECT_EQ(server_.records().find_account({std::byte{2}})->lent_bytes, 0U);
  EXPECT_TRUE(run_until([&] { return loan.one.is_closed() && loan.relay.is_closed(); }));
}

}  // namespace
}  // namespace openp2p::server
