// Sessions over relays: one's own node, a stranger's, the server; and what takes their place.

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "test/world/relay_world.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

/// From home to home over a public host: 10 ms of each access line, 5 ms of the host's, the LANs.
constexpr Duration kRoundTrip = 2 * (10ms + 5ms + 5ms + 10ms + 400us);

enum class Who { kServer, kOwnNode, kStranger };

RelayWorld::Options with(Who who) {
  RelayWorld::Options options;
  options.server_mbit = who == Who::kServer ? 1'000 : 0;
  options.has_own_relay = who == Who::kOwnNode;
  options.has_stranger = who == Who::kStranger;
  return options;
}

std::string_view expected_kind(Who who) {
  if (who == Who::kServer) return "server";
  return who == Who::kOwnNode ? "own node" : "shared node";
}

/// A file in both directions through whatever path there is.
void expect_transfer(RelayWorld& net, std::size_t bytes) {
  const Bytes answer = random_bytes(net.world.random(), bytes);
  const Bytes question = random_bytes(net.world.random(), bytes / 2);
  net.serve(answer);
  Application client(*net.a.platform().connect(RelayWorld::kLocal), question);
  ASSERT_TRUE(net.run_until([&] { return client.is_done(); }, 60s))
      << net.a.node().forwards().front().reason << "; " << net.seen_by_a().reason << "; "
      << net.seen_by_a().relay_reason;
  EXPECT_EQ(client.received, answer);
  ASSERT_TRUE(net.run_until([&] { return net.served.back()->has_end; }, 10s));
  EXPECT_EQ(net.served.back()->received, question);
}

class RelayedBy : public testing::TestWithParam<Who> {};

TEST_P(RelayedBy, CarriesBothWays) {
  RelayWorld net(1, with(GetParam()));
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));

  expect_transfer(net, 500'000);

  EXPECT_TRUE(net.is_relayed()) << net.seen_by_a().path;
  EXPECT_EQ(net.seen_by_a().relay_kind, expected_kind(GetParam()));
  EXPECT_EQ(net.seen_by_b().relay_kind, expected_kind(GetParam()));
  EXPECT_EQ(net.seen_by_a().method, "relayed");
}

TEST_P(RelayedBy, SaysWhyItIsNotDirect) {
  RelayWorld net(2, with(GetParam()));
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  expect_transfer(net, 1'000);

  // After the first round of the search, which is hopeless, further ones try what may hit.
  const auto is_told = [&](const agent::PeerStatus& peer) {
    return peer.reason_code == "both-random" || peer.reason_code == "spray-missed";
  };
  ASSERT_TRUE(
      net.run_until([&] { return is_told(net.seen_by_a()) && is_told(net.seen_by_b()); }, 30s))
      << net.seen_by_a().reason_code << ", " << net.seen_by_b().reason_code;
  EXPECT_TRUE(net.is_relayed());
  EXPECT_FALSE(net.seen_by_a().reason.empty());
}

std::string name_of(const testing::TestParamInfo<Who>& info) {
  if (info.param == Who::kServer) return "Server";
  return info.param == Who::kOwnNode ? "OwnNode" : "Stranger";
}
INSTANTIATE_TEST_SUITE_P(Relay, RelayedBy,
                         testing::Values(Who::kServer, Who::kOwnNode, Who::kStranger), name_of);

TEST(Relay, FirstByteTakesAtMost4RoundTrips) {
  RelayWorld net(3, with(Who::kServer));
  ASSERT_TRUE(net.join());
  net.serve(random_bytes(net.world.random(), 10));
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  const TimePoint start = net.world.now();

  Application client(*net.a.platform().connect(RelayWorld::kLocal), {});

  ASSERT_TRUE(net.run_until([&] { return !client.received.empty(); }, 10s));
  EXPECT_LE(net.world.now() - start, 4 * kRoundTrip);
}

TEST(Relay, OwnNodesGoBeforeStrangersAndBothBeforeTheServer) {
  RelayWorld::Options options = with(Who::kServer);
  options.has_own_relay = options.has_stranger = true;
  RelayWorld net(4, options);
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));

  expect_transfer(net, 10'000);
  net.world.run_for(20s);

  const agent::ShareStatus status = [&] {
    std::optional<agent::ShareStatus> told;
    net.a.node().share([&](const agent::ShareStatus& share) { told = share; });
    net.a.poke();
    net.world.run_for(5s);
    return told.value_or(agent::ShareStatus{});
  }();
  ASSERT_GE(status.borrowed.size(), 2U);
  EXPECT_EQ(status.borrowed[0].kind, "own node");
  EXPECT_EQ(status.borrowed[1].kind, "shared node");
  EXPECT_TRUE(status.borrowed[0].is_in_use);
}

agent::ForwardSpec web_forward() {
  agent::ForwardSpec spec;
  spec.name = "web";
  spec.peer = "nas";
  spec.host = "127.0.0.1";
  spec.port = RelayWorld::kService;
  spec.listen = {IpAddress::loopback_v4(), RelayWorld::kLocal};
  return spec;
}

TEST(Relay, NoRelayForbidsIt) {
  RelayWorld net(5, with(Who::kServer));
  ASSERT_TRUE(net.join());
  agent::ForwardSpec spec = web_forward();
  spec.allows_relay = false;
  ASSERT_FALSE(net.a.node().add_forward(spec));
  net.a.poke();
  net.serve(random_bytes(net.world.random(), 10));

  Application client(*net.a.platform().connect(RelayWorld::kLocal), {});

  ASSERT_TRUE(net.run_until([&] { return client.is_reset; }, 40s));
  EXPECT_NE(net.seen_by_a().relay_reason.find("--no-relay"), std::string::npos)
      << net.seen_by_a().relay_reason;
}

TEST(Relay, IsAMethodThatCanBeSwitchedOff) {
  RelayWorld net(5, with(Who::kServer));
  net.a.methods = path::MethodSet::all().without(path::Method::kRelayed);
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  net.serve(random_bytes(net.world.random(), 10));

  Application client(*net.a.platform().connect(RelayWorld::kLocal), {});

  ASSERT_TRUE(net.run_until([&] { return client.is_reset; }, 40s));
  EXPECT_NE(net.seen_by_a().relay_reason.find("--no-methods"), std::string::npos)
      << net.seen_by_a().relay_reason;
}

TEST(Relay, TellsWhenADirectPathIsLookedForAgain) {
  RelayWorld net(5, with(Who::kServer));
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  expect_transfer(net, 1'000);

  ASSERT_TRUE(net.run_until([&] { return net.seen_by_a().retry_in.has_value(); }, 30s));

  EXPECT_TRUE(net.is_relayed());
  EXPECT_LE(*net.seen_by_a().retry_in, 5min);
}

TEST(Relay, APinnedRelayIsTheOnlyOne) {
  RelayWorld::Options options = with(Who::kServer);
  options.has_own_relay = true;
  RelayWorld net(6, options);
  ASSERT_TRUE(net.join());
  agent::ForwardSpec spec = web_forward();
  spec.relay = "gate";
  ASSERT_FALSE(net.a.node().add_forward(spec));
  net.a.poke();
  expect_transfer(net, 10'000);
  EXPECT_EQ(net.seen_by_a().path, "relayed by gate (own node)");

  net.gate.stop();

  ASSERT_TRUE(net.run_until([&] { return !net.is_relayed(); }, 60s));
  net.world.run_for(30s);
  EXPECT_FALSE(net.is_relayed());
}

TEST(Relay, StrangersCarryNothingForWhoRefusesThem) {
  for (const bool shares : {true, false}) {
    RelayWorld::Options options = with(Who::kStranger);
    options.share_mbit = shares ? 10 : 0;
    RelayWorld net(7, options);
    net.a.avoids_strangers = shares;
    ASSERT_TRUE(net.join());
    ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
    net.serve(random_bytes(net.world.random(), 10));

    Application client(*net.a.platform().connect(RelayWorld::kLocal), {});

    ASSERT_TRUE(net.run_until([&] { return client.is_reset; }, 40s));
    EXPECT_FALSE(net.is_relayed());
    EXPECT_EQ(net.stranger.node().status().sessions, 0U);
  }
}

/// A download that something happens to, and how long nothing came at most.
class Download {
 public:
  Download(RelayWorld& net, std::size_t bytes, std::uint64_t bytes_per_second)
      : net_(net), file_(random_bytes(net.world.random(), bytes)) {
    net.serve(file_);
    client_.emplace(
        *net.a.platform().connect(RelayWorld::kLocal, {.bytes_per_second = bytes_per_second}),
        Bytes());
  }
  /// Runs until `done`, or the end, and notes the longest pause.
  template <class Done>
  bool run_until(Done&& done, Duration patience) {
    const TimePoint until = net_.world.now() + patience;
    TimePoint heard_at = net_.world.now();
    std::size_t heard = client_->received.size();
    while (!done() && !client_->is_done() && net_.world.now() < until) {
      net_.world.run_for(5ms);
      if (client_->received.size() == heard) continue;
      heard = client_->received.size();
      pause_ = std::max(pause_, net_.world.now() - heard_at);
      heard_at = net_.world.now();
    }
    return done();
  }
  bool finish(Duration patience) {
    return run_until([&] { return client_->is_done(); }, patience);
  }
  bool is_intact() const { return client_->received == file_; }
  bool is_running() const { return !client_->is_done() && !client_->received.empty(); }
  Duration take_pause() { return std::exchange(pause_, Duration::zero()); }

 private:
  RelayWorld& net_;
  const Bytes file_;
  std::optional<Application> client_;
  Duration pause_{};
};

Duration median(std::vector<Duration> all) {
  std::ranges::sort(all);
  return all[all.size() / 2];
}

TEST(Relay, ADownloadMovesToADirectPathAndBackAndTheRelayMayDie) {
  std::vector<Duration> moves;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RelayWorld net(seed, with(Who::kServer));
    sim::Home cafe(net.internet, sim::NatKind::kFullCone);
    ASSERT_TRUE(net.join());
    ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
    Download download(net, 30'000'000, 1'000'000);
    ASSERT_TRUE(download.run_until([&] { return download.is_running() && net.is_relayed(); }, 10s));
    download.run_until([] { return false; }, 2s);
    download.take_pause();

    net.home_b.host().move_to(cafe.lan(), cafe.host_options());
    ASSERT_TRUE(download.run_until([&] { return net.is_direct(); }, 10s)) << net.seen_by_a().path;
    moves.push_back(download.take_pause());

    net.server.crash();
    download.run_until([] { return false; }, 3s);
    EXPECT_TRUE(net.is_direct());
    EXPECT_LE(download.take_pause(), kRoundTrip);
    net.server.start();

    ASSERT_TRUE(download.finish(60s));
    EXPECT_TRUE(download.is_intact());
  }
  EXPECT_LE(median(moves), 2s) << std::chrono::duration<double>(median(moves)).count();
}

TEST(Relay, TheMoveToADirectPathIsNotNoticed) {
  std::vector<Duration> pauses;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RelayWorld::Options options = with(Who::kServer);
    options.kind_b = sim::NatKind::kPortRestricted;  // Found by a search, a moment later.
    RelayWorld net(seed, options);
    ASSERT_TRUE(net.join());
    ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
    Download download(net, 30'000'000, 1'000'000);
    ASSERT_TRUE(download.run_until([&] { return download.is_running() && net.is_relayed(); }, 10s));
    download.take_pause();

    const bool is_found = download.run_until([&] { return net.is_direct(); }, 20s);
    download.run_until([] { return false; }, 2s);

    if (is_found) pauses.push_back(download.take_pause());
    ASSERT_TRUE(download.finish(60s));
    EXPECT_TRUE(download.is_intact());
  }
  ASSERT_GE(pauses.size(), 15U);  // A search may miss; the relay carries on.
  EXPECT_LE(median(pauses), kRoundTrip) << std::chrono::duration<double>(median(pauses)).count();
}

TEST(Relay, ADeadRelayGivesItsPlaceToAnother) {
  std::vector<Duration> pauses;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RelayWorld::Options options = with(Who::kServer);
    options.has_own_relay = true;
    RelayWorld net(seed, options);
    ASSERT_TRUE(net.join());
    ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
    Download download(net, 20'000'000, 1'000'000);
    ASSERT_TRUE(download.run_until(
        [&] { return download.is_running() && net.seen_by_a().relay == "gate"; }, 20s));
    download.run_until([] { return false; }, 2s);
    download.take_pause();

    net.gate.crash();

    download.run_until([&] { return net.seen_by_a().relay_kind == "server"; }, 20s);
    download.run_until([] { return false; }, 1s);
    pauses.push_back(download.take_pause());
    ASSERT_TRUE(download.finish(60s));
    EXPECT_TRUE(download.is_intact());
  }
  EXPECT_LE(median(pauses), 2s) << std::chrono::duration<double>(median(pauses)).count();
}

/// The own node is the relay in use, with the server beside it.
struct LossyRelay {
  explicit LossyRelay(std::uint64_t seed)
      : net(seed, [] {
          RelayWorld::Options options = with(Who::kServer);
          options.has_own_relay = true;
          return options;
        }()) {
    CHECK(net.join());
    CHECK(!net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
    download.emplace(net, 100'000'000, 2'000'000);
    CHECK(download->run_until(
        [&] { return download->is_running() && net.seen_by_a().relay == "gate"; }, 20s));
    download->run_until([] { return false; }, 5s);
  }
  void lose_at(sim::Host& host, double loss) {
    sim::LinkOptions options = host.interface().up().options();
    options.loss = loss;
    host.interface().up().set_options(options);
  }
  RelayWorld net;
  std::optional<Download> download;
};

TEST(Relay, OneThatBeginsToLoseIsLeftForABetterOne) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    LossyRelay test(seed);
    ASSERT_EQ(test.net.seen_by_a().relay, "gate");
    test.download->take_pause();

    test.lose_at(*test.net.gate_host, 0.1);

    ASSERT_TRUE(
        test.download->run_until([&] { return test.net.seen_by_a().relay_kind == "server"; }, 40s));
    EXPECT_LE(test.download->take_pause(), 1s);
    const auto told = test.net.server.core().broker().roster().candidate(
        test.net.gate.id(), server::RelayKind::kOwn, test.net.a.id(), test.net.b.id(),
        test.net.world.now());
    EXPECT_GT(told.loss, 0.03);
    EXPECT_FALSE(
        test.download->run_until([&] { return test.net.seen_by_a().relay_kind != "server"; }, 20s));
    ASSERT_TRUE(test.download->finish(120s));
    EXPECT_TRUE(test.download->is_intact());
  }
}

TEST(Relay, OneThatLosesNothingIsNotLeft) {
  LossyRelay test(1);
  EXPECT_FALSE(test.download->run_until([&] { return test.net.seen_by_a().relay != "gate"; }, 45s));
  ASSERT_TRUE(test.download->finish(60s));
  EXPECT_TRUE(test.download->is_intact());
}

TEST(Relay, ALineThatLosesWhateverRelaysIsNoReasonToChangeThemOften) {
  LossyRelay test(2);
  test.lose_at(test.net.home_b.host(), 0.1);
  std::string relay = test.net.seen_by_a().relay;
  int changes = 0;
  test.download->run_until(
      [&] {
        const std::string now = test.net.seen_by_a().relay;
        changes += now == relay ? 0 : 1;
        relay = now;
        return false;
      },
      150s);
  EXPECT_LE(changes, 2) << "after 10 s and 1 minute";
  test.lose_at(test.net.home_b.host(), 0);
  ASSERT_TRUE(test.download->finish(120s));
  EXPECT_TRUE(test.download->is_intact());
}

/// The laptop's router lets no more UDP than that through, to whomever.
TEST(Relay, ItIsReachedOverTcpWhileUdpToItIsHeldBack) {
  RelayWorld net(1, with(Who::kServer));
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  Download download(net, 80'000'000, 500'000);
  ASSERT_TRUE(download.run_until([&] { return download.is_running() && net.is_relayed(); }, 20s));
  // In each second: some segments of TCP for what the download brings, or none.
  std::uint64_t segments = 0;
  TimePoint counted_at;
  bool was_over_tcp = false;
  const auto is_over_tcp = [&] {
    if (net.world.now() - counted_at < 1s) return was_over_tcp;
    counted_at = net.world.now();
    const std::uint64_t before = std::exchange(segments, net.world.counters().segments_delivered);
    return was_over_tcp = segments - before > 50;
  };
  ASSERT_FALSE(download.run_until(is_over_tcp, 5s));

  net.home_a.router()->police_udp(
      sim::PolicerOptions{.bits_per_second = 1'000'000, .burst_bytes = 15'000});
  ASSERT_TRUE(download.run_until(is_over_tcp, 20s));
  EXPECT_FALSE(download.run_until([&] { return !is_over_tcp(); }, 15s)) << "it is better";
  EXPECT_TRUE(net.is_relayed());

  net.home_a.router()->police_udp(std::nullopt);
  EXPECT_TRUE(download.run_until([&] { return !is_over_tcp(); }, 90s));
  EXPECT_FALSE(download.run_until(is_over_tcp, 10s));
  ASSERT_TRUE(download.finish(120s));
  EXPECT_TRUE(download.is_intact());
}

}  // namespace
}  // namespace openp2p::test
