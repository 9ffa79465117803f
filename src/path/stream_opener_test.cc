#include "path/stream_opener.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// Writes down what was asked for.
class RecordingSource final : public SocketSource {
 public:
  struct Connect {
    SocketId socket;
    Address remote;
    std::uint16_t local_port;
  };
  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration) override {
    if (taken_port && local_port == *taken_port) return std::nullopt;
    connects.push_back(
        {SocketId(static_cast<std::uint32_t>(connects.size() + 1)), remote, local_port});
    open.insert(connects.back().socket);
    return connects.back().socket;
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override { open.erase(socket); }

  int to(const Address& remote) const {
    return static_cast<int>(std::ranges::count(connects, remote, &Connect::remote));
  }
  std::optional<std::uint16_t> taken_port;
  std::vector<Connect> connects;
  std::set<SocketId> open;
};

Address address(const char* text) { return *Address::parse(text); }
Candidate tcp(CandidateType type, const char* text) {
  return {type, address(text), SocketId{}, Transport::kTcp};
}
constexpr auto kHost = CandidateType::kHost;
constexpr auto kReflexive = CandidateType::kServerReflexive;

struct Fixture {
  explicit Fixture(bool is_controlling = false)
      : opener(&source, /*budget=*/nullptr, is_controlling, 100ms) {}
  void run_until(Duration at) {
    while (opener.next_timeout() && *opener.next_timeout() <= TimePoint{} + at) {
      now = std::max(now, *opener.next_timeout());
      opener.on_timeout(now);
    }
    now = TimePoint{} + at;
  }
  RecordingSource source;
  StreamOpener opener;
  TimePoint now{};
};

TEST(StreamOpener, ConnectsToAListenerAtOnceButGivesUdpALead) {
  Fixture f;
  f.opener.add_local(tcp(kHost, "192.168.1.5:27183"));
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);

  f.run_until(StreamOpener::kUdpLead - 1ms);
  EXPECT_TRUE(f.source.connects.empty());
  f.run_until(StreamOpener::kUdpLead);

  ASSERT_EQ(f.source.connects.size(), 1U);
  EXPECT_EQ(f.source.connects[0].remote, address("203.0.113.5:443"));
  EXPECT_EQ(f.source.connects[0].local_port, 27183);
}

TEST(StreamOpener, TwoWaysToOneSocketOfThePeersAreTwoConnectionsThere) {
  Fixture f;
  f.opener.add_local(tcp(kHost, "192.168.1.5:27183"));
  f.opener.add_remote(tcp(CandidateType::kMapped, "203.0.113.5:443"), f.now);
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
  f.opener.add_remote(tcp(CandidateType::kMapped, "203.0.113.9:443"), f.now);
  f.opener.set_wanted(true, f.now);

  f.run_until(7s);

  EXPECT_GT(f.source.to(address("203.0.113.5:443")), 0);
  EXPECT_GT(f.source.to(address("203.0.113.5:4000")), 0);
  for (const RecordingSource::Connect& connect : f.source.connects) {
    const bool is_doubled = connect.remote == address("203.0.113.5:443");
    EXPECT_EQ(connect.local_port, is_doubled ? 0 : 27183) << connect.remote.text();
  }
}

TEST(StreamOpener, AUdpPathInTimeMeansNoSynAtAll) {
  Fixture f;
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(100ms);

  f.opener.set_wanted(false, f.now);
  f.run_until(1h);

  EXPECT_TRUE(f.source.connects.empty());
  EXPECT_FALSE(f.opener.next_timeout());
}

TEST(StreamOpener, APathClosesWhatIsStillOnTheWay) {
  Fixture f;
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(250ms);
  ASSERT_EQ(f.source.open.size(), 1U);

  f.opener.set_wanted(false, f.now);

  EXPECT_TRUE(f.source.open.empty());
}

TEST(StreamOpener, SimultaneousOpensWaitForTheAgreedMoment) {
  Fixture f;
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
  f.opener.set_profiles({}, {}, /*round=*/0, TimePoint{} + 800ms, f.now);
  f.opener.set_wanted(true, f.now);

  f.run_until(800ms + StreamOpener::kUdpLead - 1ms);
  EXPECT_TRUE(f.source.connects.empty());
  f.run_until(800ms + StreamOpener::kUdpLead);
  EXPECT_EQ(f.source.connects.size(), 1U);
  f.run_until(7s);

  EXPECT_EQ(f.source.to(address("203.0.113.5:4000")), StreamOpener::kSteps);
}

SideProfile without_udp() {
  SideProfile profile;
  profile.udp.is_blocked = true;
  return profile;
}

TEST(StreamOpener, WhereUdpIsBlockedItGetsNoLead) {
  Fixture f;
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
  f.opener.set_profiles({}, without_udp(), /*round=*/0, TimePoint{} + 50ms, f.now);
  f.opener.set_wanted(true, f.now);

  f.run_until(50ms);

  EXPECT_EQ(f.source.to(address("203.0.113.5:4000")), 1);
}

/// A second SYN between the same ports would end what the first has begun at the peer.
TEST(StreamOpener, NewsDoNotCutOffWhatHasJustBegun) {
  Fixture f;
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
  f.opener.set_profiles({}, without_udp(), /*round=*/0, f.now, f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(50ms);
  ASSERT_EQ(f.source.open.size(), 1U);
  const std::set<SocketId> before = f.source.open;

  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4001"), f.now);
  EXPECT_TRUE(f.opener.has_news());
  f.opener.set_profiles({}, without_udp(), /*round=*/0, TimePoint{} + 60ms, f.now);
  f.run_until(60ms);

  EXPECT_EQ(f.source.to(address("203.0.113.5:4000")), 1);
  EXPECT_EQ(f.source.to(address("203.0.113.5:4001")), 1);
  EXPECT_TRUE(std::ranges::includes(f.source.open, before));
  EXPECT_FALSE(f.opener.has_news());
}

TEST(StreamOpener, WhatIsToldToThePeerIsDueOnce) {
  Fixture f;
  f.opener.add_local(tcp(kReflexive, "198.51.100.1:4000"));
  EXPECT_TRUE(f.opener.is_due());
  f.opener.set_profiles({}, {}, /*round=*/0, f.now, f.now);

  f.opener.add_local(tcp(kReflexive, "198.51.100.1:4000"));

  EXPECT_FALSE(f.opener.is_due());
}

/// The connection in use may be of the network that was left.
TEST(StreamOpener, AnotherNetworkOpensAnewWhatIsUp) {
  Fixture f;
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(250ms);
  ASSERT_EQ(f.source.connects.size(), 1U);
  f.opener.on_connected({f.source.connects[0].socket, address("203.0.113.5:443")}, f.now);
  f.run_until(5s);
  ASSERT_EQ(f.source.connects.size(), 1U);

  f.opener.restart(/*udp_lead=*/50ms, f.now);
  f.run_until(5s + 50ms);

  EXPECT_EQ(f.source.connects.size(), 2U);
}

TEST(StreamOpener, TheTwoSidesMomentsCrossDespiteAWrongAgreement) {
  // One answers unsolicited SYNs with RST, so both must be under way within a one-way delay of
  // 20 ms; signalling was wrong by up to 60 ms.
  for (int error_ms = -60; error_ms <= 60; error_ms += 5) {
    SCOPED_TRACE(testing::Message() << "error " << error_ms << " ms");
    RecordingSource sources[2];
    std::vector<TimePoint> moments[2];
    for (int side = 0; side < 2; ++side) {
      StreamOpener opener(&sources[side], /*budget=*/nullptr, /*is_controlling=*/side == 0, 40ms);
      opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), TimePoint{});
      opener.set_profiles({}, {}, /*round=*/0, TimePoint{} + 500ms + side * error_ms * 1ms,
                          TimePoint{});
      opener.set_wanted(true, TimePoint{});
      while (moments[side].size() < 7) {
        const TimePoint now = *opener.next_timeout();
        const std::size_t before = sources[side].connects.size();
        opener.on_timeout(now);
        if (sources[side].connects.size() > before) moments[side].push_back(now);
      }
    }

    Duration closest = 1h;
    for (const TimePoint a : moments[0]) {
      for (const TimePoint b : moments[1]) closest = std::min(closest, a > b ? a - b : b - a);
    }
    EXPECT_LT(closest, 20ms);
  }
}

TEST(StreamOpener, NeverAsksAddressesThatAreNobodys) {
  Fixture f;
  for (const char* text :
       {"127.0.0.1:80", "224.0.0.1:80", "255.255.255.255:80", "0.0.0.0:80", "203.0.113.1:0",
        "[::1]:80", "[ff02::1]:80", "[::]:80", "[fe80::1]:80"}) {
    f.opener.add_remote(tcp(kHost, text), f.now);
  }
  f.opener.set_wanted(true, f.now);
  f.run_until(60s);

  EXPECT_TRUE(f.source.connects.empty());
}

TEST(StreamOpener, ASilentAddressGetsATrickle) {
  Fixture f;
  f.opener.set_wanted(true, f.now);
  for (int i = 0; i < 3'600; ++i) {  // Whatever a peer does: new rounds and names each second.
    f.opener.add_remote(tcp(i % 2 == 0 ? kHost : kReflexive, "203.0.113.5:443"), f.now);
    f.opener.set_profiles({}, {}, /*round=*/0, f.now, f.now);
    f.run_until((i + 1) * 1s);
  }

  EXPECT_LE(f.source.connects.size(), 12U + 3'600 / 10);
  EXPECT_LE(f.source.open.size(), 1U);
}

TEST(StreamOpener, ManyAddressesAreBoundedTogether) {
  Fixture f;
  f.opener.set_wanted(true, f.now);
  for (int i = 0; i < 1'000; ++i) {
    const IpAddress ip = IpAddress::v4(0xcb007100U + static_cast<std::uint32_t>(i / 8));
    f.opener.add_remote(
        {kHost, {ip, static_cast<std::uint16_t>(1000 + i)}, SocketId{}, Transport::kTcp}, f.now);
    f.run_until((i + 1) * 10ms);
  }

  EXPECT_LE(f.source.connects.size(), StreamOpener::kConnectsBurst + 11U);
  EXPECT_LE(f.source.open.size(), StreamOpener::kPendingMax);
}

TEST(StreamOpener, OneHostHasFewPorts) {
  Fixture f;
  for (int port = 1; port <= 100; ++port) {
    f.opener.add_remote({kHost,
                         {IpAddress::v4(203, 0, 113, 7), static_cast<std::uint16_t>(port)},
                         SocketId{},
                         Transport::kTcp},
                        f.now);
  }
  f.opener.set_wanted(true, f.now);
  f.run_until(200ms);

  EXPECT_EQ(f.source.connects.size(), StreamOpener::kTargetsPerHostMax);
}

TEST(StreamOpener, AnOpenConnectionEndsTheSearchUntilItIsClosed) {
  Fixture f;
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(200ms);
  const SocketId socket = f.source.connects[0].socket;

  EXPECT_EQ(f.opener.on_connected({socket, address("203.0.113.5:443")}, f.now), Method::kTcpDirect);
  f.run_until(4s);
  EXPECT_EQ(f.source.connects.size(), 1U);
  EXPECT_TRUE(f.source.open.contains(socket));
  f.opener.on_closed(socket);
  f.run_until(6s);

  EXPECT_GT(f.source.connects.size(), 1U);
}

TEST(StreamOpener, MethodsThatAreSwitchedOffAreNotUsed) {
  Fixture f;
  SideProfile own;
  own.methods = MethodSet::all().without(Method::kTcpSimultaneous);
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
  f.opener.add_remote(tcp(kHost, "203.0.113.6:443"), f.now);
  f.opener.set_profiles(own, {}, /*round=*/0, f.now, f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(6s);
  EXPECT_EQ(f.source.to(address("203.0.113.5:4000")), 0);
  EXPECT_GT(f.source.to(address("203.0.113.6:443")), 0);
  const std::size_t before = f.source.connects.size();

  SideProfile peer;
  peer.methods = MethodSet::all().without(Method::kTcpDirect);
  f.opener.set_profiles(own, peer, /*round=*/0, f.now, f.now);
  f.run_until(20s);

  EXPECT_EQ(f.source.connects.size(), before);
}

TEST(StreamOpener, AsksThePortsThatANatCountingThemIsAboutToUse) {
  Fixture f;
  SideProfile peer;
  peer.udp.external = IpAddress::v4(203, 0, 113, 5);
  peer.tcp.mapping = nat::Dependence::kAddressAndPortDependent;
  peer.tcp.allocation = nat::PortAllocation::kSequential;
  peer.tcp.last_port = 5000;
  peer.tcp.step = 2;
  peer.tcp.external = IpAddress::v4(198, 51, 100, 66);  // Its word; the server saw another.
  f.opener.set_profiles({}, peer, /*round=*/0, f.now, f.now);
  f.opener.set_wanted(true, f.now);
  f.run_until(200ms);

  ASSERT_EQ(f.source.connects.size(), StreamOpener::kPredictedPerStep);
  for (std::size_t i = 0; i < f.source.connects.size(); ++i) {
    const auto port =
        static_cast<std::uint16_t>(5000 - 2 * (StreamOpener::kPredictedBehind - 1) + 2 * i);
    EXPECT_EQ(f.source.connects[i].remote, (Address{peer.udp.external, port}));
  }
  f.run_until(60s);
  EXPECT_LE(f.source.connects.size(), StreamOpener::kConnectsBurst + 60U);
  EXPECT_LE(f.source.open.size(), StreamOpener::kPendingMax);
}

TEST(StreamOpener, EachRoundLeavesFromAnotherPortWhereNatsKeepOrCountThem) {
  const Address peer_port = address("203.0.113.5:4000");
  SideProfile keeping;
  keeping.tcp.allocation = nat::PortAllocation::kPreserved;
  keeping.tcp.external = peer_port.ip;
  SideProfile counting;
  counting.tcp.mapping = nat::Dependence::kAddressAndPortDependent;
  counting.tcp.allocation = nat::PortAllocation::kSequential;
  counting.tcp.last_port = 5000;
  counting.tcp.step = 1;
  struct Case {
    SideProfile own, peer;
    std::uint16_t local_port, remote_port;
  };
  for (const Case& c : {Case{{}, {}, 27183, 4000}, Case{keeping, {}, 27186, 4000},
                        Case{counting, {}, 27186, 4000}, Case{{}, keeping, 27183, 4003}}) {
    Fixture f;
    f.opener.add_local(tcp(kHost, "192.168.1.5:27183"));
    f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);
    f.opener.add_remote(tcp(kHost, "192.168.7.5:4000"), f.now);
    f.opener.set_profiles(c.own, c.peer, /*round=*/3, f.now, f.now);
    f.opener.set_wanted(true, f.now);
    f.run_until(1s);

    for (const RecordingSource::Connect& connect : f.source.connects) {
      const bool is_reflexive = connect.remote.ip == peer_port.ip;
      EXPECT_EQ(connect.local_port, is_reflexive ? c.local_port : 27183);
      EXPECT_EQ(connect.remote.port, is_reflexive ? c.remote_port : 4000);
    }
    const SocketId socket = f.source.connects.back().socket;
    EXPECT_EQ(f.opener.on_connected({socket, {peer_port.ip, c.remote_port}}, f.now),
              f.source.connects.back().remote.ip == peer_port.ip ? Method::kTcpSimultaneous
                                                                 : Method::kTcpDirect);
  }
}

TEST(StreamOpener, AListenerIsReachedFromAnyPortWhereTheOwnIsTaken) {
  Fixture f;
  f.source.taken_port = 27183;
  f.opener.add_local(tcp(kHost, "192.168.1.5:27183"));
  f.opener.add_remote(tcp(kHost, "203.0.113.5:443"), f.now);
  f.opener.set_wanted(true, f.now);

  f.run_until(200ms);

  ASSERT_EQ(f.source.connects.size(), 1U);
  EXPECT_EQ(f.source.connects[0].local_port, 0);
}

TEST(StreamOpener, WhatCameToTheListenerThroughOurOwnOpeningIsSimultaneous) {
  Fixture f;
  f.opener.add_remote(tcp(kReflexive, "203.0.113.5:4000"), f.now);

  EXPECT_EQ(f.opener.on_connected({SocketId(70), address("203.0.113.5:4000")}, f.now),
            Method::kTcpSimultaneous);
  EXPECT_EQ(f.opener.on_connected({SocketId(71), address("203.0.113.9:4000")}, f.now),
            Method::kTcpDirect);
}

}  // namespace
}  // namespace openp2p::path
