#include "path/path_finder.h"

#include <gtest/gtest.h>

#include "path/test_world.h"

namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

constexpr std::array kFilterings{Filtering::kNone, Filtering::kAddress, Filtering::kPort};

Router* add_home(World& world, int party, Filtering filtering) {
  Router* router = world.add_router(
      {.external = IpAddress::v4(203, 0, 113, static_cast<std::uint8_t>(1 + party)),
       .filtering = filtering});
  // Both homes use the same private addresses, as homes do.
  world.add_socket(party, address(party == 0 ? "192.168.1.2:27183" : "192.168.1.3:27183"), router);
  return router;
}

TEST(PathFinder, JoinsAllEndpointIndependentNatsWithinThreeRoundTrips) {
  for (const Filtering a : kFilterings) {
    for (const Filtering b : kFilterings) {
      World world(1);
      add_home(world, 0, a);
      add_home(world, 1, b);

      world.gather_and_tell();
      world.run_until([&] { return world.both_selected(); }, 10s);

      ASSERT_TRUE(world.both_selected());
      EXPECT_LE(world.now(), TimePoint{} + 3 * 40ms) << "a round trip is 40 ms";
    }
  }
}

TEST(PathFinder, NeedsNoSimultaneousStart) {
  for (const int first : {0, 1}) {
    World world(2);
    add_home(world, 0, Filtering::kPort);
    add_home(world, 1, Filtering::kPort);
    world.gather(0);
    world.gather(1);
    world.tell(first);
    world.run_for(1700ms);

    world.tell(1 - first);
    const TimePoint both_know = world.now();
    world.run_until([&] { return world.both_selected(); }, 10s);

    ASSERT_TRUE(world.both_selected());
    EXPECT_LE(world.now() - both_know, 3 * 40ms);
  }
}

TEST(PathFinder, JoinsThroughLossAndJitter) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.loss = 0.1 * world.random().fraction();
    world.jitter = 1ms + Duration(world.random().below(20'000'000));
    add_home(world, 0, kFilterings[world.random().below(3)]);
    add_home(world, 1, kFilterings[world.random().below(3)]);
    world.gather(0);
    world.gather(1);
    world.tell(static_cast<int>(seed % 2));
    world.run_for(Duration(world.random().below(2'000'000'000)));
    world.tell(1 - static_cast<int>(seed % 2));
    const TimePoint both_know = world.now();

    ASSERT_TRUE(world.run_until([&] { return world.both_selected(); }, 10s));
    EXPECT_LE(world.now() - both_know, 2s);
    world.run_for(30s);
    EXPECT_TRUE(world.both_selected());
  }
}

}  // namespace
}  // namespace openp2p::path::test
