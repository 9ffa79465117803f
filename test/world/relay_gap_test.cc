// How long nothing arrives where somebody speaks at an even pace and the other only listens: a
// download would hide it, since what waits in buffers is delivered meanwhile.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "test/world/relay_world.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

/// The nas sends 4 Mbit/s at an even pace, and the laptop, which asked for the session, listens.
class Broadcast {
 public:
  explicit Broadcast(RelayWorld& net) : net_(net) {
    net.b.platform().serve(RelayWorld::kService, [this](sim::PipeEnd& end) { speaker_ = &end; });
    CHECK(!net.a.forward("radio", "nas", RelayWorld::kService, RelayWorld::kLocal));
    listener_.emplace(*net.a.platform().connect(RelayWorld::kLocal));
    CHECK(net.run_until([&] { return speaker_ != nullptr; }, 60s));
  }
  /// Runs until `done`, or the end; gives the longest time in which nothing was heard.
  Duration run_until(const std::function<bool()>& done, Duration patience) {
    const TimePoint until = net_.world.now() + patience;
    Duration longest{};
    TimePoint heard_at = net_.world.now();
    while (!done() && net_.world.now() < until) {
      const std::size_t before = listener_->heard();
      (void)speaker_->write(Bytes(5'000));  // What finds no room is not said.
      net_.world.run_for(10ms);
      if (listener_->heard() == before) continue;
      longest = std::max(longest, net_.world.now() - heard_at);
      heard_at = net_.world.now();
    }
    return std::max(longest, net_.world.now() - heard_at);
  }
  Duration run_for(Duration time) {
    return run_until([] { return false; }, time);
  }

 private:
  RelayWorld& net_;
  sim::PipeEnd* speaker_ = nullptr;
  std::optional<Talker> listener_;
};

Duration median(std::vector<Duration> all) {
  std::ranges::sort(all);
  return all[all.size() / 2];
}

TEST(RelayGap, AKilledRelayCostsTwoSecondsAtMost) {
  for (const double loss : {0.0, 0.01}) {
    std::vector<Duration> gaps;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", loss " << loss);
      RelayWorld::Options options;
      options.link.loss = loss;
      options.server_mbit = 1'000;
      options.has_own_relay = true;
      RelayWorld net(seed, options);
      ASSERT_TRUE(net.join());
      Broadcast broadcast(net);
      const auto is_own = [&] { return net.seen_by_a().relay == "gate"; };
      broadcast.run_until(is_own, 30s);
      ASSERT_TRUE(is_own()) << net.seen_by_a().path;
      broadcast.run_for(5s);

      net.gate.crash();

      gaps.push_back(broadcast.run_for(10s));
    }
    EXPECT_LE(median(gaps), 2s) << std::chrono::duration<double>(median(gaps)).count();
    EXPECT_LE(std::ranges::max(gaps), 4s);
  }
}

}  // namespace
}  // namespace openp2p::test
