#include "relay/receipt.h"

#include <gtest/gtest.h>

#include "sim/seeded_secrets.h"

namespace openp2p::relay {
namespace {

struct SignedByAnEnd : testing::Test {
  sim::SeededSecrets secrets{1};
  IdentityKey key = IdentityKey::generate(secrets);
  IdentityKey other = IdentityKey::generate(secrets);
  Receipt receipt{{TicketKind::kShared, 7, AllocationId{std::byte{1}}, Account{}, {}},
                  other.id(),
                  key.id(),
                  other.id(),
                  123'456};
};
using ReceiptTest = SignedByAnEnd;

TEST_F(ReceiptTest, OfItsEndIsTaken) {
  const SignedReceipt given = sign(receipt, key);
  const auto said = check_receipt(given.body, given.signature);
  ASSERT_TRUE(said);
  EXPECT_EQ(*said, receipt);
}

TEST_F(ReceiptTest, WithAnyByteChangedIsRefused) {
  const SignedReceipt given = sign(receipt, key);
  for (std::size_t i = 0; i < given.body.size(); ++i) {
    SignedReceipt changed = given;
    changed.body[i] ^= std::byte{1};
    EXPECT_FALSE(check_receipt(changed.body, changed.signature)) << i;
  }
  SignedReceipt changed = given;
  changed.signature[10] ^= std::byte{1};
  EXPECT_EQ(check_receipt(changed.body, changed.signature).error(), ReceiptError::kBadSignature);
}

TEST_F(ReceiptTest, SignedByAnotherIsRefused) {
  Receipt theirs = receipt;
  theirs.end = other.id();
  const SignedReceipt given = sign(theirs, other);
  const auto body = encode(receipt);  // Names `key`.
  EXPECT_EQ(check_receipt(body, given.signature).error(), ReceiptError::kBadSignature);
}

TEST_F(ReceiptTest, OfAnotherSizeIsMalformed) {
  const SignedReceipt given = sign(receipt, key);
  EXPECT_EQ(check_receipt(ByteView(given.body).first(10), given.signature).error(),
            ReceiptError::kMalformed);
  EXPECT_FALSE(check_receipt(given.body, ByteView(given.signature).first(63)));
  EXPECT_FALSE(check_receipt(given.body, {}));
}

TEST_F(ReceiptTest, ProvesItsTicketToTheServer) {
  const TicketSecret secret{std::byte{3}};
  const TicketScope scope{receipt.relay, receipt.end, receipt.peer};
  EXPECT_FALSE(is_genuine(secret, scope, receipt.ticket));
  receipt.ticket = make_ticket(secret, scope, TicketKind::kShared, AllocationId{std::byte{1}},
                               Account{}, WallTime{1'000'000});
  const auto said = decode_receipt(sign(receipt, key).body);
  ASSERT_TRUE(said);
  EXPECT_TRUE(is_genuine(secret, scope, said->ticket));
}

}  // namespace
}  // namespace openp2p::relay
