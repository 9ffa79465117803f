#include "quic/retry_token.h"

#include <gtest/gtest.h>

namespace openp2p::quic {
namespace {

using namespace std::chrono_literals;

class RetryTokensTest : public testing::Test {
 protected:
  SystemSecrets secrets;
  RetryTokens tokens{secrets};
  const TimePoint now{1h};
  const ByteView client = as_bytes("192.0.2.1:5");
  const ByteView retry_id = as_bytes("retry-id");
  const ByteView original_id = as_bytes("original-id");
};

TEST_F(RetryTokensTest, GivesBackTheOriginalId) {
  const auto token = tokens.make(client, retry_id, original_id, now);

  const auto checked = tokens.check(token.view(), client, retry_id, now + 1s);

  ASSERT_TRUE(checked);
  EXPECT_EQ(as_text(checked->view()), "original-id");
}

TEST_F(RetryTokensTest, RefusesOldOnesAndThoseFromTheFuture) {
  const auto token = tokens.make(client, retry_id, original_id, now);

  EXPECT_TRUE(tokens.check(token.view(), client, retry_id, now + RetryTokens::kAgeMax));
  EXPECT_FALSE(tokens.check(token.view(), client, retry_id, now + RetryTokens::kAgeMax + 1ns));
  EXPECT_FALSE(tokens.check(token.view(), client, retry_id, now - 1ns));
}

TEST_F(RetryTokensTest, RefusesAnotherClientsOrAnotherConnectionsToken) {
  const auto token = tokens.make(client, retry_id, original_id, now);

  EXPECT_FALSE(tokens.check(token.view(), as_bytes("192.0.2.2:5"), retry_id, now));
  EXPECT_FALSE(tokens.check(token.view(), client, as_bytes("other-id"), now));
  EXPECT_FALSE(RetryTokens(secrets).check(token.view(), client, retry_id, now));
}

TEST_F(RetryTokensTest, RefusesEveryChangedBitAndEveryOtherSize) {
  const auto token = tokens.make(client, retry_id, original_id, now);
  for (std::size_t bit = 0; bit < token.size * 8; ++bit) {
    Bytes changed = to_bytes(token.view());
    changed[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    ASSERT_FALSE(tokens.check(changed, client, retry_id, now)) << bit;
  }
  for (std::size_t size = 0; size < token.size; ++size) {
    ASSERT_FALSE(tokens.check(token.view().first(size), client, retry_id, now)) << size;
  }
  Bytes longer = to_bytes(token.view());
  longer.resize(200);
  EXPECT_FALSE(tokens.check(longer, client, retry_id, now));
}

}  // namespace
}  // namespace openp2p::quic
