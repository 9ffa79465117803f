#include "path/token_bucket.h"

#include <gtest/gtest.h>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

TEST(TokenBucket, GivesItsCapacityThenOneEachRefill) {
  TokenBucket bucket(3, 10s);
  const TimePoint start{};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(start));
  EXPECT_FALSE(bucket.take(start));
  EXPECT_EQ(bucket.next_token_at(), start + 10s);
  EXPECT_FALSE(bucket.take(start + 9999ms));
  EXPECT_TRUE(bucket.take(start + 10s));
  EXPECT_FALSE(bucket.take(start + 10s));

  EXPECT_TRUE(bucket.take(start + 1h));
  EXPECT_TRUE(bucket.take(start + 1h));
  EXPECT_TRUE(bucket.take(start + 1h)) << "it never holds more than its capacity";
  EXPECT_FALSE(bucket.take(start + 1h));
}

TEST(TokenBucket, CanBeFilled) {
  TokenBucket bucket(2, 1h);
  EXPECT_TRUE(bucket.take(TimePoint{}));
  EXPECT_TRUE(bucket.take(TimePoint{}));
  bucket.fill();
  EXPECT_TRUE(bucket.take(TimePoint{}));
}

}  // namespace
}  // namespace openp2p::path
