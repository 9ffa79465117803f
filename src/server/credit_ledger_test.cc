#include "server/credit_ledger.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "relay/receipt.h"
#include "server/test_node.h"

/// Receipts as relays send them, true and false ones.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using Outcome = CreditLedger::Outcome;

constexpr WallTime kNow{1'800'000'000'000'000};

class CreditLedgerTest : public testing::Test {
 protected:
  relay::Receipt receipt(std::uint64_t bytes, int allocation = 1,
                         relay::TicketKind kind = relay::TicketKind::kShared,
                         WallTime granted_at = kNow) const {
    relay::Receipt out;
    out.relay = relay_.id();
    out.end = one_.id();
    out.peer = other_.id();
    out.bytes = bytes;
    out.ticket = relay::make_ticket(
        secrets_.of(relay_.id()), {.relay = relay_.id(), .one = one_.id(), .other = other_.id()},
        kind, {std::byte(allocation), std::byte(allocation >> 8)}, {}, granted_at);
    return out;
  }
  static SignedReceipt signed_by(const relay::Receipt& receipt, const IdentityKey& key) {
    relay::Receipt own = receipt;
    own.end = key.id();
    const relay::SignedReceipt made = relay::sign(own, key);
    SignedReceipt out;
    out.body = relay::encode(receipt) == relay::encode(own) ? to_bytes(made.body)
                                                            : to_bytes(relay::encode(receipt));
    out.signature = made.signature;
    return out;
  }
  Outcome give(const SignedReceipt& receipt, WallTime at = kNow) {
    return ledger_.on_receipt(relay_.id(), receipt, at, now_).outcome;
  }
  Outcome give(const relay::Receipt& receipt, WallTime at = kNow) {
    return give(signed_by(receipt, one_), at);
  }

  IdentityKey server_ = make_key(1);
  IdentityKey relay_ = make_key(2);
  IdentityKey one_ = make_key(3);
  IdentityKey other_ = make_key(4);
  RelaySecrets secrets_{server_};
  CreditLedger ledger_{secrets_, 1 << 30};
  TimePoint now_;
};

TEST_F(CreditLedgerTest, TakesReceiptsOfBothEndsAsOneClaim) {
  EXPECT_EQ(give(receipt(500)), Outcome::kTaken);
  relay::Receipt others = receipt(70);
  std::swap(others.end, others.peer);
  EXPECT_EQ(give(signed_by(others, other_)), Outcome::kTaken);
  EXPECT_EQ(give(receipt(400)), Outcome::kTaken);  // An older one: does nothing.

  EXPECT_TRUE(ledger_.take_batch(now_).empty());  // Not yet.
  now_ += CreditLedger::kBatchInterval;
  EXPECT_EQ(ledger_.next_timeout(), now_);
  const auto batch = ledger_.take_batch(now_);

  ASSERT_EQ(batch.size(), 1U);
  const bool is_lower = one_.id() < other_.id();
  EXPECT_EQ(batch[0].lower, std::min(one_.id(), other_.id()));
  EXPECT_EQ(batch[0].claims.lower_bytes, is_lower ? 500U : 70U);
  EXPECT_EQ(batch[0].claims.higher_bytes, is_lower ? 70U : 500U);
  EXPECT_EQ(batch[0].relay, relay_.id());
  EXPECT_EQ(batch[0].claims.step, relay::ticket_step(kNow));
}

TEST_F(CreditLedgerTest, RefusesWhatIsForged) {
  EXPECT_EQ(give(signed_by(receipt(5), other_)), Outcome::kForged);  // Another's signature.
  EXPECT_EQ(give(signed_by(receipt(5), relay_)), Outcome::kForged);  // The relay's own.

  SignedReceipt altered = signed_by(receipt(5), one_);
  altered.body.back() ^= std::byte{0x40};  // More bytes than were signed.
  EXPECT_EQ(give(altered), Outcome::kForged);
  for (std::size_t i = 1; i < altered.body.size(); i += 7) {
    SignedReceipt flipped = signed_by(receipt(5), one_);
    flipped.body[i] ^= std::byte{1};
    EXPECT_NE(give(flipped), Outcome::kTaken) << "byte " << i;
  }

  relay::Receipt ticketless = receipt(5);
  ticketless.ticket.code = {};
  EXPECT_EQ(give(ticketless), Outcome::kForged);
  relay::Receipt of_another_pair = receipt(5);
  of_another_pair.peer = server_.id();  // The ticket is for another.
  EXPECT_EQ(give(of_another_pair), Outcome::kForged);
  relay::Receipt own_kind = receipt(5, 1, relay::TicketKind::kOwn);
  EXPECT_EQ(give(own_kind), Outcome::kMalformed);
  own_kind.ticket.kind = relay::TicketKind::kShared;
  EXPECT_EQ(give(own_kind), Outcome::kForged);
  EXPECT_EQ(ledger_.pending_count(), 0U);
  EXPECT_EQ(ledger_.counters().taken, 0U);
}

TEST_F(CreditLedgerTest, RefusesReceiptsOfAnotherRelay) {
  const auto taken = ledger_.on_receipt(other_.id(), signed_by(receipt(5), one_), kNow, now_);
  EXPECT_EQ(taken.outcome, Outcome::kNotTheRelay);
}

TEST_F(CreditLedgerTest, RefusesGarbageOfAnySize) {
  for (std::size_t size = 0; size <= kReceiptBytesMax; ++size) {
    SignedReceipt garbage;
    garbage.body.assign(size, std::byte{1});
    EXPECT_NE(give(garbage), Outcome::kTaken) << size;
  }
  relay::Receipt alone = receipt(5);
  alone.peer = alone.end;
  EXPECT_EQ(give(alone), Outcome::kMalformed);
}

TEST_F(CreditLedgerTest, RefusesMoreThanTimeAllows) {
  EXPECT_EQ(give(receipt(UINT64_MAX)), Outcome::kImpossible);
  EXPECT_EQ(give(receipt(UINT64_MAX / 2)), Outcome::kImpossible);
  const std::uint64_t day_at_10_gbit = 24 * 3'600 * 10'000'000'000ULL / 8;
  EXPECT_EQ(give(receipt(day_at_10_gbit)), Outcome::kImpossible);
  const WallTime tomorrow{kNow.us + std::int64_t{24 * 3'600} * 1'000'000};
  EXPECT_EQ(give(receipt(day_at_10_gbit), tomorrow), Outcome::kTaken);
}

TEST_F(CreditLedgerTest, SurvivesClocksThatAreSet) {
  constexpr std::int64_t kTenYearsUs = std::int64_t{10 * 365} * 24 * 3'600 * 1'000'000;
  EXPECT_EQ(give(receipt(5), {kNow.us + kTenYearsUs}), Outcome::kTooOld);
  EXPECT_EQ(give(receipt(5), {kNow.us - kTenYearsUs}), Outcome::kTaken);  // Set back: still ours.
  EXPECT_EQ(give(receipt(5), {-1}), Outcome::kTaken);
  EXPECT_EQ(ledger_.terms({kNow.us}, 5).oldest_step, 0U);
  EXPECT_GT(ledger_.terms({kNow.us}, relay::ticket_step(kNow)).oldest_step, 0U);
}

TEST_F(CreditLedgerTest, LooksAtABoundedNumberOfSignatures) {
  const SignedReceipt forged = signed_by(receipt(5), other_);
  std::size_t forged_count = 0;
  for (int i = 0; i < CreditLedger::kVerifiesMax + 100; ++i) {
    forged_count += give(forged) == Outcome::kForged ? 1 : 0;
  }
  EXPECT_EQ(forged_count, static_cast<std::size_t>(CreditLedger::kVerifiesMax));
  EXPECT_EQ(give(receipt(5)), Outcome::kBusy);
  now_ += 1s;
  EXPECT_EQ(give(receipt(5)), Outcome::kTaken);
}

TEST_F(CreditLedgerTest, WritesOnceForManyReceiptsAndTriesAgainWhatFailed) {
  for (int i = 1; i <= 50; ++i)
    EXPECT_EQ(give(receipt(static_cast<std::uint64_t>(i))), Outcome::kTaken);
  now_ += CreditLedger::kBatchInterval;
  const auto batch = ledger_.take_batch(now_);
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_FALSE(ledger_.next_timeout());  // One batch at a time.
  EXPECT_EQ(give(receipt(60)), Outcome::kTaken);
  EXPECT_TRUE(ledger_.take_batch(now_ + 1h).empty());

  ledger_.on_failed(batch, now_);
  now_ += CreditLedger::kBatchInterval;
  const auto again = ledger_.take_batch(now_);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(std::max(again[0].claims.lower_bytes, again[0].claims.higher_bytes), 60U);
  ledger_.on_recorded({});
  EXPECT_TRUE(ledger_.take_batch(now_ + 1h).empty());
}

TEST_F(CreditLedgerTest, KnowsWhatNetworksOnlineMayBorrow) {
  const NetworkId network{std::byte{1}};
  EXPECT_EQ(ledger_.borrowable_by(network, kNow).total(), 1U << 30);
  ledger_.set_account(network, {.lent_bytes = 100});
  EXPECT_EQ(ledger_.borrowable_by(network, kNow).total(), (1U << 30) + 100U);
  ledger_.on_recorded({{network, {.lent_bytes = 300}}, {{std::byte{2}}, {.lent_bytes = 5}}});
  EXPECT_EQ(ledger_.borrowable_by(network, kNow).total(), (1U << 30) + 300U);
  EXPECT_EQ(ledger_.account({std::byte{2}}), nullptr);  // Not online: the store knows it.
  ledger_.forget_account(network);
  EXPECT_EQ(ledger_.account(network), nullptr);
}

TEST(ByteText, IsForPeople) {
  EXPECT_EQ(byte_text(0), "0 B");
  EXPECT_EQ(byte_text(1'023), "1023 B");
  EXPECT_EQ(byte_text(1 << 30), "1.0 GiB");
  EXPECT_EQ(byte_text(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace openp2p::server
