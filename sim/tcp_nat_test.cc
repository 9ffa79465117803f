#include "sim/tcp_nat.h"

#include <gtest/gtest.h>

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

const IpAddress kExternal = IpAddress::v4(11, 0, 0, 1);
const Address kInside{IpAddress::v4(192, 168, 1, 2), 4'000};
const Address kPeer{IpAddress::v4(11, 0, 0, 9), 5'000};
const Address kStranger{IpAddress::v4(11, 0, 0, 8), 5'000};
constexpr TcpHeader kSyn{.is_syn = true};
constexpr TcpHeader kSynAck{.is_syn = true, .is_ack = true};
constexpr TcpHeader kAck{.is_ack = true};
constexpr TcpHeader kFin{.is_ack = true, .is_fin = true};
constexpr TcpHeader kRst{.is_rst = true};

class TcpNatTest : public testing::Test {
 protected:
  bool out(const TcpHeader& segment, const Address& to = kPeer) {
    return nat_.outbound(kInside, to, segment, now_).action == NatAction::kForward;
  }
  bool in(const TcpHeader& segment, const Address& from = kPeer) {
    return nat_.inbound(from, {kExternal, kInside.port}, segment, now_).action ==
           NatAction::kForward;
  }
  void establish() { EXPECT_TRUE(out(kSyn) && in(kSynAck) && out(kAck)); }

  TimePoint now_{};
  NatTable table_{NatOptions{.timeout = TcpTimeouts{}.transitory}, {kExternal}, Random(1)};
  TcpNat nat_{table_, TcpTimeouts{}};
};

TEST_F(TcpNatTest, OnlyASynOpens) {
  EXPECT_FALSE(out(kAck));
  EXPECT_FALSE(out(kSynAck));
  EXPECT_FALSE(out(kRst));
  EXPECT_EQ(table_.mappings(now_), 0u);
  EXPECT_TRUE(out(kSyn));
  EXPECT_EQ(table_.mappings(now_), 1u);
}

TEST_F(TcpNatTest, LetsInWhatTheFilterAllows) {
  EXPECT_FALSE(in(kSyn));
  ASSERT_TRUE(out(kSyn));
  EXPECT_FALSE(in(kSyn, kStranger));
  EXPECT_FALSE(in(kAck, kStranger));
  EXPECT_TRUE(in(kSyn));  // Simultaneous open (RFC 5382 REQ-2).
  EXPECT_TRUE(out(kSynAck));
  EXPECT_TRUE(in(kAck));
}

TEST_F(TcpNatTest, AnUnansweredSynIsForgottenSoon) {
  ASSERT_TRUE(out(kSyn));
  now_ += 4min - 1ns;
  EXPECT_EQ(table_.flows(now_), 1u);
  now_ += 1ns;
  EXPECT_EQ(table_.flows(now_), 0u);
  EXPECT_EQ(table_.mappings(now_), 0u);
}

TEST_F(TcpNatTest, AnEstablishedConnectionLastsForHours) {
  establish();
  now_ += 124min - 1ns;
  EXPECT_TRUE(in(kAck));  // Either side keeps it alive.
  now_ += 124min - 1ns;
  EXPECT_TRUE(out(kAck));
  now_ += 124min;
  EXPECT_FALSE(out(kAck));
  EXPECT_EQ(table_.mappings(now_), 0u);
}

TEST_F(TcpNatTest, AClosedConnectionIsForgottenSoon) {
  establish();
  EXPECT_TRUE(out(kFin));
  EXPECT_TRUE(in(kFin));
  EXPECT_TRUE(out(kAck));
  now_ += 4min;
  EXPECT_EQ(table_.flows(now_), 0u);
  EXPECT_EQ(table_.mappings(now_), 0u);

  establish();
  EXPECT_TRUE(in(kRst));
  now_ += 4min;
  EXPECT_EQ(table_.flows(now_), 0u);
}

TEST_F(TcpNatTest, OneSideThatIsFinishedClosesNothing) {
  establish();
  EXPECT_TRUE(in(kFin));
  now_ += 2h;
  EXPECT_TRUE(out(kAck));
}

TEST_F(TcpNatTest, ASynReopensAClosedConnection) {
  establish();
  EXPECT_TRUE(out(kRst));
  establish();
  now_ += 2h;
  EXPECT_TRUE(in(kAck));
}

TEST_F(TcpNatTest, AMappingLivesAsLongAsOneOfItsFlows) {
  establish();
  ASSERT_TRUE(out(kSyn, kStranger));
  now_ += 1h;
  EXPECT_EQ(table_.flows(now_), 1u);
  EXPECT_EQ(table_.mappings(now_), 1u);
  EXPECT_TRUE(in(kAck));
}

TEST_F(TcpNatTest, KnowsNothingAfterAReset) {
  establish();
  table_.reset({kExternal});
  nat_.reset();
  EXPECT_FALSE(in(kAck));
  EXPECT_FALSE(out(kAck));
}

TEST(TcpNat, AnOpenFilterTracksWhoComesIn) {
  NatTable table({.filtering = NatFiltering::kEndpointIndependent}, {kExternal}, Random(1));
  TcpNat nat(table, TcpTimeouts{});
  const TimePoint now{};
  ASSERT_EQ(nat.outbound(kInside, kPeer, kSyn, now).action, NatAction::kForward);
  EXPECT_EQ(nat.inbound(kStranger, {kExternal, 4'000}, kAck, now).action, NatAction::kDrop);
  EXPECT_EQ(nat.inbound(kStranger, {kExternal, 4'000}, kSyn, now).action, NatAction::kForward);
  EXPECT_EQ(nat.outbound(kInside, kStranger, kSynAck, now).action, NatAction::kForward);
  EXPECT_EQ(table.flows(now), 2u);
}

}  // namespace
}  // namespace openp2p::sim
