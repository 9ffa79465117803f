// Floods and garbage at the port of an endpoint that accepts: nothing may grow, hang or fall.

#include <gtest/gtest.h>

#include "session/test_party.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

struct Victim {
  explicit Victim(std::uint64_t seed)
      : world(seed),
        internet(world),
        host(sim::make_public_host(internet)),
        client_host(sim::make_public_host(internet)),
        server(*host, seed, /*accepts=*/true, 27183),
        client(*client_host, seed + 1, /*accepts=*/false) {}

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> host;
  std::unique_ptr<sim::Host> client_host;
  TestParty server;
  TestParty client;
};

/// A genuine client Initial, as a flood would use it.
Bytes make_initial(std::uint64_t seed) {
  Victim other(seed);
  Bytes initial;
  sim::UdpSocket& sink = other.host->open_udp(9);
  sink.on_receive([&](const Address&, ByteView datagram, TimePoint) {
    if (initial.empty()) initial = to_bytes(datagram);
  });
  other.client.dial(other.server.id(), {sink.local()});
  other.world.run_for(200ms);
  return initial;
}

TEST(Flood, SpoofedInitialsAreMetByRetryAndBounded) {
  Victim net(1);
  const Bytes initial = make_initial(50);
  ASSERT_GE(initial.size(), 1'200U);

  // Each from another address, with another connection id, so that no two belong together.
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    Bytes spoofed = initial;
    for (std::size_t k = 0; k < 4; ++k)
      spoofed[6 + k] ^= static_cast<std::byte>(i >> (8 * k) & 255);
    const Address from{IpAddress::v4(0x0b000000U + i), 4433};
    net.server.endpoint().on_datagrams(net.server.socket(), from, spoofed, spoofed.size(),
                                       net.world.now());
  }
  net.server.poke();

  EXPECT_LE(net.server.endpoint().session_count(), 2'048U);
  EXPECT_GT(net.server.endpoint().counters().retries_sent, 0U);

  net.client.dial(net.server.id(), {net.server.address()});
  EXPECT_TRUE(net.world.run_until([&] { return net.client.is_up; }, net.world.now() + 5s));
  net.world.run_for(30s);
  EXPECT_EQ(net.server.endpoint().session_count(), 1U);
}

TEST(Flood, GarbageBeforeAndAfterTheHandshakeIsHarmless) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Victim net(seed);
    const Bytes initial = make_initial(seed + 60);
    Random random(seed);
    const auto attack = [&] {
      for (int i = 0; i < 2'000; ++i) {
        Bytes datagram = i % 2 == 0 ? initial : Bytes(random.below(3'000));
        if (i % 2 == 1) random.fill(datagram);
        if (i % 4 == 0) datagram.resize(random.below(datagram.size()));
        if (i % 3 == 0 && !datagram.empty()) {
          datagram[random.below(datagram.size())] ^= static_cast<std::byte>(1 + random.below(255));
        }
        const Address from{IpAddress::v4(0x0b000000U + static_cast<std::uint32_t>(i)), 1};
        net.server.endpoint().on_datagrams(net.server.socket(), from, datagram, datagram.size(),
                                           net.world.now());
      }
      net.server.poke();
    };
    attack();
    net.client.dial(net.server.id(), {net.server.address()});
    ASSERT_TRUE(net.world.run_until([&] { return net.client.is_up; }, net.world.now() + 10s));
    attack();

    net.client.send(100'000);

    ASSERT_TRUE(net.world.run_until([&] { return net.server.has_end; }, net.world.now() + 10s));
    EXPECT_EQ(net.server.received, net.client.sent());
  }
}

}  // namespace
}  // namespace openp2p::session
