#include "nat/stun_transaction.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

const Address kServer = *Address::parse("192.0.2.1:3478");

StunMessage request() {
  StunMessage message;
  SystemSecrets secrets;
  message.transaction = make_transaction_id(/*tag=*/0xabcdef01, secrets);
  return message;
}

StunMessage answer_to(const StunMessage& asked) {
  StunMessage answer = asked;
  answer.message_class = StunClass::kSuccess;
  return answer;
}

/// Every time at which something is sent, until it is over.
std::vector<Duration> run_alone(StunTransaction& transaction) {
  std::vector<Duration> sent;
  TimePoint now{};
  Bytes out(200);
  while (!transaction.is_over()) {
    if (transaction.poll_datagram(out, now) != 0) sent.push_back(now.time_since_epoch());
    if (const auto next = transaction.next_timeout()) now = *next;
    transaction.on_timeout(now);
  }
  sent.push_back(now.time_since_epoch());
  return sent;
}

TEST(StunTransaction, KeepsTheScheduleOfRfc8489) {
  StunTransaction transaction(request(), kServer, {}, TimePoint{});

  const auto times = run_alone(transaction);

  const std::vector<Duration> expected = {0ms,    500ms,   1500ms,  3500ms,
                                          7500ms, 15500ms, 31500ms, 39500ms};
  EXPECT_EQ(times, expected);
  EXPECT_TRUE(transaction.is_given_up());
  EXPECT_FALSE(transaction.next_timeout());
}

TEST(StunTransaction, EndsWithItsAnswer) {
  const StunMessage asked = request();
  StunTransaction transaction(asked, kServer, {}, TimePoint{});
  Bytes out(200);
  ASSERT_NE(transaction.poll_datagram(out, TimePoint{}), 0u);

  EXPECT_FALSE(transaction.on_answer(answer_to(request()), kServer, TimePoint{} + 1ms));
  EXPECT_FALSE(transaction.on_answer(asked, kServer, TimePoint{} + 1ms));  // Our own, reflected.
  EXPECT_TRUE(transaction.on_answer(answer_to(asked), kServer, TimePoint{} + 30ms));
  EXPECT_FALSE(transaction.on_answer(answer_to(asked), kServer, TimePoint{} + 31ms));

  EXPECT_TRUE(transaction.is_answered());
  EXPECT_EQ(transaction.rtt(), Duration(30ms));
  EXPECT_EQ(transaction.poll_datagram(out, TimePoint{} + 10s), 0u);
  EXPECT_EQ(tag_of(transaction.id()), 0xabcdef01u);
}

TEST(StunTransaction, MeasuresNoRoundTripOfRetransmittedRequests) {
  const StunMessage asked = request();
  StunTransaction transaction(asked, kServer, {}, TimePoint{});
  Bytes out(200);
  ASSERT_NE(transaction.poll_datagram(out, TimePoint{}), 0u);
  transaction.on_timeout(TimePoint{} + 499ms);
  ASSERT_EQ(transaction.poll_datagram(out, TimePoint{} + 499ms), 0u);
  transaction.on_timeout(TimePoint{} + 500ms);
  ASSERT_NE(transaction.poll_datagram(out, TimePoint{} + 500ms), 0u);

  EXPECT_TRUE(transaction.on_answer(answer_to(asked), kServer, TimePoint{} + 501ms));

  EXPECT_FALSE(transaction.rtt());
}

TEST(StunTransaction, TakesNoAnswerBeforeItAsked) {
  const StunMessage asked = request();
  StunTransaction transaction(asked, kServer, {}, TimePoint{});

  EXPECT_FALSE(transaction.on_answer(answer_to(asked), kServer, TimePoint{}));
}

}  // namespace
}  // namespace openp2p::nat
