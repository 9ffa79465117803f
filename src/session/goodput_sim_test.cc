// Sessions over networks that hold UDP back: they move to TCP by themselves, and come back.

#include <gtest/gtest.h>

#include "session/test_party.h"
#include "session/test_sim_streams.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 27183;
constexpr sim::PolicerOptions kPolicer{.bits_per_second = 1'000'000, .burst_bytes = 15'000};
constexpr sim::LinkOptions kLine{
    .delay = 10ms, .bits_per_second = 20'000'000, .queue_bytes = 100'000};

/// A home whose router may hold UDP back, and a host that both UDP and TCP reach.
struct HomeAndHost {
  /// Which of the two controls.
  enum class Control { kHome, kHost };

  HomeAndHost(std::uint64_t seed, const sim::LinkOptions& link, Control control)
      : world(seed),
        internet(world),
        home(internet, sim::NatKind::kPortRestricted, {.link = link}),
        host(internet, sim::NatKind::kNone, {.link = {.delay = 10ms}}),
        home_streams(home.host(), kPort),
        host_streams(host.host(), kPort),
        inner(home.host(), seed * 2, /*accepts=*/false, 0, &home_streams),
        outer(host.host(), seed * 2 + 1, /*accepts=*/false, 0, &host_streams) {
    control == Control::kHome ? meet(inner, outer, world.now()) : meet(outer, inner, world.now());
    const IpAddress ip = *host.host().address(sim::Family::kV4);
    path::PathFinder& finder = *inner.session->paths();
    using path::CandidateType;
    finder.add_remote({CandidateType::kHost, {ip, outer.address().port}, SocketId()}, world.now());
    finder.add_remote({CandidateType::kHost, {ip, kPort}, SocketId(), path::Transport::kTcp},
                      world.now());
    inner.endpoint().touch(*inner.session);
    inner.poke();
    CHECK(run_until([&] { return inner.is_up && outer.is_up; }, 5s));
  }

  bool run_until(const std::function<bool()>& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }
  static bool is_over_tcp(const TestParty& party) {
    return party.session->paths()->direct_transport() == path::Transport::kTcp;
  }
  bool are_over_tcp() const { return is_over_tcp(inner) && is_over_tcp(outer); }
  bool are_over_udp() const { return !is_over_tcp(inner) && !is_over_tcp(outer); }
  void police(const std::optional<sim::PolicerOptions>& policer) {
    home.router()->police_udp(policer);
  }
  static std::uint64_t switches(const TestParty& party) {
    return party.session->paths()->counters().switches;
  }

  sim::World world;
  sim::Internet internet;
  sim::Home home, host;
  SimStreams home_streams, host_streams;
  TestParty inner, outer;
};

using Control = HomeAndHost::Control;

class GoodputSim : public testing::TestWithParam<std::tuple<Control, bool>> {
 protected:
  static Control control() { return std::get<0>(GetParam()); }
  static TestParty& sender(HomeAndHost& net) { return is_upload() ? net.inner : net.outer; }
  static TestParty& receiver(HomeAndHost& net) { return is_upload() ? net.outer : net.inner; }
  static bool is_upload() { return std::get<1>(GetParam()); }
};

TEST_P(GoodputSim, PolicedUdpIsLeftForTcp) {
  HomeAndHost net(1, kLine, control());
  ASSERT_TRUE(net.are_over_udp());
  net.police(kPolicer);

  const TimePoint begun = net.world.now();
  sender(net).send(10'000'000);

  ASSERT_TRUE(net.run_until([&] { return net.are_over_tcp(); }, 10s));
  EXPECT_EQ(sender(net).session->paths()->reason(), path::ReasonCode::kUdpThrottled);
  EXPECT_EQ(receiver(net).session->paths()->reason(), path::ReasonCode::kUdpThrottled);
  ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 20s));
  EXPECT_EQ(receiver(net).received, sender(net).sent());
  EXPECT_TRUE(net.are_over_tcp());
  RecordProperty("seconds", static_cast<int>((net.world.now() - begun) / 1s));
}

TEST_P(GoodputSim, UdpThatWasAlwaysPolicedToSomeMbitIsLeftForTcp) {
  for (const std::uint64_t mbit : {3, 5}) {
    SCOPED_TRACE(testing::Message() << mbit << " Mbit/s");
    sim::LinkOptions line = kLine;
    line.bits_per_second = mbit * 4'000'000;
    HomeAndHost net(mbit, line, control());
    net.police(sim::PolicerOptions{.bits_per_second = mbit * 1'000'000,
                                   .burst_bytes = static_cast<std::size_t>(mbit * 15'000)});

    sender(net).send(mbit * 4'000'000);

    ASSERT_TRUE(net.run_until([&] { return net.are_over_tcp(); }, 15s));
    ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 40s));
    EXPECT_TRUE(net.are_over_tcp());
    EXPECT_EQ(receiver(net).received, sender(net).sent());
  }
}

TEST_P(GoodputSim, FullQueuesAreNoPolicers) {
  for (const std::size_t queue_bytes : {50'000, 200'000}) {
    SCOPED_TRACE(testing::Message() << "queue of " << queue_bytes);
    sim::LinkOptions line = kLine;
    line.queue_bytes = queue_bytes;
    HomeAndHost net(queue_bytes, line, control());
    sender(net).send(40'000'000);
    EXPECT_FALSE(net.run_until([&] { return !net.are_over_udp(); }, 15s));
  }
}

TEST_P(GoodputSim, ACleanLineIsNeverLeft) {
  HomeAndHost net(2, kLine, control());

  sender(net).send(20'000'000);

  EXPECT_FALSE(net.run_until([&] { return !net.are_over_udp(); }, 15s));
  ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 15s));
  EXPECT_EQ(net.home_streams.connects + net.host_streams.connects, 0U);
}

TEST_P(GoodputSim, UdpIsUsedAgainWhenItIsFree) {
  HomeAndHost net(3, kLine, control());
  net.police(kPolicer);
  sender(net).send(10'000'000);
  ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 30s));
  ASSERT_TRUE(net.are_over_tcp());

  net.police(std::nullopt);

  ASSERT_TRUE(net.run_until([&] { return net.are_over_udp(); }, 90s));
  EXPECT_EQ(sender(net).session->paths()->reason(), path::ReasonCode::kNone);
  receiver(net).has_end = false;
  sender(net).send(15'000'000);
  EXPECT_FALSE(net.run_until([&] { return !net.are_over_udp() || receiver(net).has_end; }, 5s));
  EXPECT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 5s));
  EXPECT_TRUE(net.are_over_udp());
}

TEST_P(GoodputSim, UdpThatIsStillPolicedIsLeftAgain) {
  HomeAndHost net(4, kLine, control());
  net.police(kPolicer);
  sender(net).send(10'000'000);
  ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 30s));

  ASSERT_TRUE(net.run_until([&] { return net.are_over_udp(); }, 90s));
  receiver(net).has_end = false;
  sender(net).send(10'000'000);

  ASSERT_TRUE(net.run_until([&] { return net.are_over_tcp(); }, 10s));
  ASSERT_TRUE(net.run_until([&] { return receiver(net).has_end; }, 20s));
  net.world.run_for(60s);
  EXPECT_TRUE(net.are_over_tcp()) << "the second rest is longer";
}

TEST_P(GoodputSim, RandomLossThatHurtsBothIsNoReasonToMove) {
  sim::LinkOptions line = kLine;
  line.loss = 0.05;
  HomeAndHost net(5, line, control());
  const std::uint64_t before = HomeAndHost::switches(sender(net));

  sender(net).send(40'000'000);
  net.world.run_for(180s);

  EXPECT_LE(HomeAndHost::switches(sender(net)) - before, 2U) << "one trial at most";
  EXPECT_TRUE(net.are_over_udp());
}

TEST_P(GoodputSim, HeavyLossOfBothCostsFewTrials) {
  sim::LinkOptions line = kLine;
  line.loss = 0.12;
  HomeAndHost net(6, line, control());
  const std::uint64_t before = HomeAndHost::switches(sender(net));

  sender(net).send(20'000'000);
  net.world.run_for(240s);

  EXPECT_GE(HomeAndHost::switches(sender(net)) - before, 2U);
  EXPECT_LE(HomeAndHost::switches(sender(net)) - before, 6U) << "after 0, 1 and 3 minutes";
}

INSTANTIATE_TEST_SUITE_P(RolesAndDirections, GoodputSim,
                         testing::Combine(testing::Values(Control::kHome, Control::kHost),
                                          testing::Bool()),
                         [](const auto& chosen) {
                           const bool is_home = std::get<0>(chosen.param) == Control::kHome;
                           return std::string(is_home ? "HomeControls" : "HostControls") +
                                  (std::get<1>(chosen.param) ? "Upload" : "Download");
                         });

}  // namespace
}  // namespace openp2p::session
