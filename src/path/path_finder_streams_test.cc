#include <gtest/gtest.h>

#include "path/test_world.h"

/// Which transport is used, and by whose wish.
namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kUdpPort = 27183;

/// Two public parties with a path over UDP, and one that both take for TCP.
struct TwoTransports {
  explicit TwoTransports(std::uint64_t seed) : world(seed) {
    world.add_socket(0, address("203.0.113.1:27183"), nullptr);
    world.add_socket(1, address("203.0.113.2:27183"), nullptr);
    world.gather_and_tell();
    world.run_for(2s);
    const Socket a = world.add_socket(0, address("203.0.113.1:7000"), nullptr);
    const Socket b = world.add_socket(1, address("203.0.113.2:7000"), nullptr);
    world.finder(0).add_connection({a.id, b.address}, a.address, world.now());
    world.finder(1).add_connection({b.id, a.address}, b.address, world.now());
    settle();
    world.run_for(2s);
  }
  void settle() {
    world.settle(0);
    world.settle(1);
  }
  void prefer_streams(int party, bool is_preferred) {
    world.finder(party).prefer_streams(is_preferred, world.now());
    settle();
  }
  bool both_over(Transport transport) {
    return world.finder(0).direct_transport() == transport &&
           world.finder(1).direct_transport() == transport;
  }
  World world;
};

class PathFinderStreams : public testing::TestWithParam<int> {};

TEST_P(PathFinderStreams, FollowsTheWishOfEitherSide) {
  TwoTransports net(1);
  ASSERT_TRUE(net.both_over(Transport::kUdp));

  net.prefer_streams(GetParam(), true);

  ASSERT_TRUE(net.world.run_until([&] { return net.both_over(Transport::kTcp); }, 1s));
  EXPECT_EQ(net.world.finder(0).reason(), ReasonCode::kUdpThrottled);
  EXPECT_EQ(net.world.finder(1).reason(), ReasonCode::kUdpThrottled);
  EXPECT_EQ(net.world.finder(0).timeline().back().reason, ReasonCode::kUdpThrottled);

  net.prefer_streams(GetParam(), false);

  ASSERT_TRUE(net.world.run_until([&] { return net.both_over(Transport::kUdp); }, 1s));
  EXPECT_EQ(net.world.finder(0).reason(), ReasonCode::kNone);
}

TEST_P(PathFinderStreams, TheWishSurvivesLossOfHalfOfTheChecksOverUdp) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    TwoTransports net(seed);
    net.world.drop = [&](const Flight& flight) {
      return flight.to.port == kUdpPort && net.world.random().below(2) == 0;
    };
    net.prefer_streams(GetParam(), true);
    EXPECT_TRUE(net.world.run_until([&] { return net.both_over(Transport::kTcp); }, 10s));
  }
}

TEST_P(PathFinderStreams, OneSideStaysOnTcpWhileTheOtherWishesIt) {
  TwoTransports net(2);
  net.prefer_streams(0, true);
  net.prefer_streams(1, true);
  net.world.run_for(1s);

  net.prefer_streams(GetParam(), false);
  net.world.run_for(30s);

  EXPECT_TRUE(net.both_over(Transport::kTcp));
}

TEST(PathFinderWish, ACopyOfAnOldWishCountsForNothing) {
  TwoTransports net(3);
  std::optional<Flight> wish;
  net.world.tap = [&](const Flight& flight) {
    const auto message = nat::decode_stun(flight.bytes);
    if (message && message->prefer_streams && message->ice_controlled) wish = flight;
  };
  net.prefer_streams(1, true);
  net.world.run_for(1s);
  net.prefer_streams(1, false);
  net.world.run_for(2s);
  ASSERT_TRUE(wish && net.both_over(Transport::kUdp));

  const std::uint64_t replayed = net.world.finder(0).counters().replayed;
  for (const Socket& socket : std::vector(net.world.party(0).sockets)) {
    if (socket.address == wish->to) net.world.inject(0, socket.id, wish->from, wish->bytes);
  }
  net.world.run_for(2s);

  EXPECT_EQ(net.world.finder(0).counters().replayed, replayed + 1);
  EXPECT_TRUE(net.both_over(Transport::kUdp));
}

INSTANTIATE_TEST_SUITE_P(Roles, PathFinderStreams, testing::Values(0, 1), [](const auto& chosen) {
  return chosen.param == 0 ? "Controlling" : "Controlled";
});

}  // namespace
}  // namespace openp2p::path::test
