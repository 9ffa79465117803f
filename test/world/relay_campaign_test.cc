// 200 worlds in which paths come, go, black-hole, change address and lose, during a transfer both
// ways: every byte arrives once and in order, whatever carries it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <vector>

#include "test/world/relay_world.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::array kKinds = {NatKind::kFullCone, NatKind::kPortRestricted,
                               NatKind::kSymmetricRandom, NatKind::kSymmetricRandom};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// What happens to the pair while it transfers, drawn from the seed.
class Weather {
 public:
  Weather(RelayWorld& net, Random& random, const sim::LinkOptions& link)
      : net_(net), random_(random), link_(link) {
    for (const NatKind kind : kKinds) {
      cafes_.push_back(
          std::make_unique<sim::Home>(net.internet, kind, sim::HomeOptions{.link = link}));
    }
  }

  void strike() {
    switch (random_.below(6)) {
      case 0:
        return move(net_.home_a.host());
      case 1:
        return move(net_.home_b.host());
      case 2:
        return restart(net_.gate);
      case 3:
        return restart_server();
      case 4:
        return silence(*net_.gate_host);
      default:
        return change_loss();
    }
  }

 private:
  void move(sim::Host& host) {
    sim::Home& cafe = *cafes_[random_.below(cafes_.size())];
    host.move_to(cafe.lan(), cafe.host_options());
  }
  void restart(SimulatedNode& node) {
    if (!node.is_running()) return;
    node.crash();
    net_.world.after(pause(3s), [&node] { node.start(); });
  }
  void restart_server() {
    if (!net_.server.is_running()) return;
    net_.server.crash();
    net_.world.after(pause(3s), [this] { net_.server.start(); });
  }
  /// Nobody is told that what it sends and gets disappears.
  void silence(sim::Host& host) {
    host.interface().up().set_blackhole(true);
    net_.world.after(pause(6s), [&host] { host.interface().up().set_blackhole(false); });
  }
  void change_loss() {
    link_.loss = 0.1 * random_.fraction();  // A packet crosses two access lines.
    for (sim::Host* host : {&net_.home_a.host(), &net_.home_b.host()}) {
      sim::LinkOptions options = host->interface().up().options();
      options.loss = link_.loss;
      host->interface().up().set_options(options);
    }
  }
  Duration pause(Duration max) {
    return std::chrono::milliseconds(random_.below(static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(max).count())));
  }

  RelayWorld& net_;
  Random& random_;
  sim::LinkOptions link_;
  std::vector<std::unique_ptr<sim::Home>> cafes_;
};

void run_world(std::uint64_t seed) {
  Random random(seed * 0x9e3779b97f4a7c15ULL);
  RelayWorld::Options options;
  options.kind_a = kKinds[random.below(kKinds.size())];
  options.kind_b = kKinds[random.below(kKinds.size())];
  options.link.delay = std::chrono::milliseconds(1 + random.below(40));
  options.link.jitter = std::chrono::milliseconds(random.below(4));
  options.link.loss = 0.05 * random.fraction();
  options.link.reordering = 0.02 * random.fraction();
  options.server_mbit = 1'000;
  options.has_own_relay = random.chance(0.7);
  RelayWorld net(seed, options);
  SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << sim::nat_kind_text(options.kind_a)
                                  << " x " << sim::nat_kind_text(options.kind_b) << ", loss "
                                  << options.link.loss << ", own relay " << options.has_own_relay);
  Weather weather(net, random, options.link);
  ASSERT_TRUE(net.join());
  ASSERT_FALSE(net.a.forward("web", "nas", RelayWorld::kService, RelayWorld::kLocal));
  const Bytes answer = random_bytes(random, 400'000 + random.below(400'000));
  const Bytes question = random_bytes(random, random.below(200'000));
  net.serve(answer);
  Application client(*net.a.platform().connect(RelayWorld::kLocal, {.bytes_per_second = 40'000}),
                     question);
  ASSERT_TRUE(net.run_until([&] { return !client.received.empty() || client.is_done(); }, 60s));

  for (std::uint64_t strikes = random.below(5); strikes > 0; --strikes) {
    net.world.run_for(std::chrono::milliseconds(500 + random.below(4'000)));
    weather.strike();
  }
  ASSERT_TRUE(net.run_until([&] { return client.is_done(); }, 300s));

  ASSERT_TRUE(client.has_end) << net.a.node().forwards().front().reason << "; "
                              << net.seen_by_a().reason << "; " << net.seen_by_a().relay_reason
                              << "\n"
                              << net.log.text();
  EXPECT_EQ(client.received, answer);
  ASSERT_TRUE(net.run_until([&] { return net.served.back()->has_end; }, 60s));
  EXPECT_EQ(net.served.back()->received, question);
}

TEST(RelayCampaign, EveryStreamArrivesIntactWhateverCarriesIt) {
  const std::uint64_t base = number_from("OPENP2P_SIM_SEED_BASE", 1);
  const std::uint64_t count = number_from("OPENP2P_SIM_SEED_COUNT", 200);
  for (std::uint64_t seed = base; seed < base + count; ++seed) {
    run_world(seed);
    if (testing::Test::HasFailure()) {
      FAIL() << "replay: OPENP2P_SIM_SEED_BASE=" << seed << " OPENP2P_SIM_SEED_COUNT=1";
    }
  }
}

}  // namespace
}  // namespace openp2p::test
