#include "session/admission.h"

#include <gtest/gtest.h>

namespace openp2p::session {
namespace {

using Verdict = Admission::Verdict;
using namespace std::chrono_literals;

IpAddress host(std::uint32_t number) { return IpAddress::v4(0xc6336400U + number); }

TEST(Admission, AsksForATokenWhenManyHandshakesAreOpen) {
  Admission admission({.sessions_max = 100,
                       .sessions_per_address_max = 100,
                       .handshakes_before_retry = 2,
                       .handshakes_max = 4});
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(admission.judge(host(i)), i < 2 ? Verdict::kAccept : Verdict::kAcceptWithToken);
    admission.on_handshake(i, host(i));
  }
  EXPECT_EQ(admission.judge(host(9)), Verdict::kRefuse);

  for (std::uint32_t i = 0; i < 3; ++i) admission.on_handshake_end(i);
  EXPECT_EQ(admission.judge(host(9)), Verdict::kAccept);
}

TEST(Admission, LimitsSessionsOfOneAddress) {
  Admission admission({.sessions_max = 100,
                       .sessions_per_address_max = 2,
                       .handshakes_before_retry = 50,
                       .handshakes_max = 50});
  admission.on_handshake(1, host(1));
  admission.on_handshake(2, host(1));
  admission.on_handshake_end(1);
  admission.on_handshake_end(2);

  EXPECT_EQ(admission.judge(host(1)), Verdict::kRefuse);
  EXPECT_EQ(admission.judge(host(2)), Verdict::kAccept);
  admission.on_session_end(1);
  EXPECT_EQ(admission.judge(host(1)), Verdict::kAccept);
}

TEST(Admission, CountsOneIpv6NetworkAsOneAddress) {
  Admission admission({.sessions_max = 100,
                       .sessions_per_address_max = 1,
                       .handshakes_before_retry = 50,
                       .handshakes_max = 50});
  admission.on_handshake(1, *IpAddress::parse("2001:db8:0:1::1"));

  EXPECT_EQ(admission.judge(*IpAddress::parse("2001:db8:0:1:ffff::9")), Verdict::kRefuse);
  EXPECT_EQ(admission.judge(*IpAddress::parse("2001:db8:0:2::1")), Verdict::kAccept);
}

TEST(Admission, LimitsSessionsInAll) {
  Admission admission({.sessions_max = 1,
                       .sessions_per_address_max = 9,
                       .handshakes_before_retry = 9,
                       .handshakes_max = 9});
  admission.on_handshake(1, host(1));
  EXPECT_EQ(admission.judge(host(2)), Verdict::kRefuse);
  admission.on_session_end(1);
  admission.on_session_end(1);  // Repeating is harmless.
  EXPECT_EQ(admission.judge(host(2)), Verdict::kAccept);
}

TEST(Admission, AnswersStrangersAtMostAHundredTimesASecond) {
  Admission admission({1, 1, 1, 1});
  int answers = 0;
  for (int i = 0; i < 1'000; ++i) answers += admission.may_answer_stranger(TimePoint{} + 1ms * i);
  EXPECT_EQ(answers, 100);
  EXPECT_TRUE(admission.may_answer_stranger(TimePoint{} + 2s));
}

}  // namespace
}  // namespace openp2p::session
