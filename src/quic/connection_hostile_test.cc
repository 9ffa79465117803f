#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>

#include "quic/counting_new.h"
#include "quic/send_buffer.h"
#include "quic/test_pair.h"

/// What strangers, hostile peers and a busy host do to a connection: bad datagrams, memory.
namespace openp2p::quic {
namespace {

using namespace std::chrono_literals;

class HostileTest : public testing::Test {
 protected:
  void expect_alive(Pair& pair) {
    EXPECT_FALSE(pair.client.closed);
    EXPECT_FALSE(pair.server.closed);
    const auto id = pair.client.connection->open_stream();
    ASSERT_TRUE(id.has_value());
    Sender sender(pair.client, *id, patterned(3, 20'000));
    sender.push();
    ASSERT_TRUE(pair.run(20s, [&] { return pair.server.streams[*id].is_end; }));
    EXPECT_TRUE(pair.server.streams[*id].data == sender.data());
  }

  std::unique_ptr<PacketProtection> protection = make_packet_protection();
};

TEST_F(HostileTest, ReplayedDatagramsChangeNothing) {
  Pair pair(*protection);
  pair.keeps_datagrams = true;
  ASSERT_TRUE(pair.connect());
  const auto id = pair.client.connection->open_stream();
  Sender sender(pair.client, *id, patterned(1, 30'000));
  sender.push();
  ASSERT_TRUE(pair.run(5s, [&] { return pair.server.streams[*id].is_end; }));

  const auto kept = pair.kept;
  for (const auto& [to_server, datagram] : kept) {
    pair.inject(pair.client, datagram);
    pair.inject(pair.server, datagram);
  }

  EXPECT_EQ(pair.server.streams[*id].size, 30'000u);
  expect_alive(pair);
}

TEST_F(HostileTest, SpoiltDatagramsAreHarmlessBeforeAndAfterTheHandshake) {
  Pair recorded(*protection, /*seed=*/100);
  recorded.keeps_datagrams = true;
  ASSERT_TRUE(recorded.connect());
  recorded.run(1s);
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Pair pair(*protection, seed);
    const auto attack = [&] {
      for (Party* party : {&pair.client, &pair.server}) {
        for (const auto& [to_server, original] : recorded.kept) {
          Bytes datagram = original;
          const std::uint64_t way = random.below(4);
          if (way == 0) datagram.resize(random.below(datagram.size() + 1));
          if (way == 1) random.fill(datagram);
          if (way == 2) datagram.resize(65'507);
          if (way == 3) datagram[random.below(datagram.size())] ^= std::byte{0x10};
          pair.inject(*party, datagram);
        }
        pair.inject(*party, {});
      }
    };
    pair.keeps_datagrams = true;
    pair.dial();
    pair.run(15ms, [&] {
      attack();
      return false;
    });
    ASSERT_TRUE(pair.run(
        20s, [&] { return pair.client.authenticated_peer && pair.server.authenticated_peer; }));
    attack();
    expect_alive(pair);
  }
}

TEST_F(HostileTest, DatagramsSpoiltOnTheWayOnlyCostTime) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  Random random(4);
  pair.when_sent = [&](Bytes& datagram) {
    if (random.chance(0.1)) datagram[random.below(datagram.size())] ^= std::byte{1};
    if (random.chance(0.05)) datagram.resize(random.below(datagram.size()));
  };

  expect_alive(pair);
}

TEST_F(HostileTest, StrangersGetNoState) {
  Party server(2, *protection);
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    Bytes datagram(random.below(1500));
    random.fill(datagram);
    if (!datagram.empty() && random.chance(0.5)) datagram[0] |= std::byte{0xc0};
    if (datagram.size() > 5 && random.chance(0.5)) {
      for (int k = 1; k < 5; ++k) datagram[static_cast<std::size_t>(k)] = std::byte{0};
      if (random.chance(0.8)) datagram[4] = std::byte{1};
    }
    Bytes answer(1500);
    const auto initial = ConnectionFactory::inspect(datagram);
    const std::size_t retry = server.factory.write_retry(datagram, {}, answer, TimePoint{});
    const std::size_t negotiation = server.factory.write_version_negotiation(datagram, answer);
    const std::size_t reset = server.factory.write_stateless_reset(datagram, answer);
    // No answer is larger than what it answers: nobody can aim us at a victim.
    EXPECT_LE(std::max({retry, negotiation, reset}), datagram.size());
    EXPECT_EQ(negotiation > 0, initial.kind == ConnectionFactory::InitialKind::kVersionNegotiation);
    destination_id(datagram);
    auto connection = server.factory.accept(datagram, {}, /*token_required=*/true, {}, server,
                                            server, TimePoint{});
    EXPECT_EQ(connection, nullptr);
  }
}

/// Moves everything through one buffer, without the test's own allocations.
class Shuttle {
 public:
  explicit Shuttle(Pair& pair) : pair_(pair) {}

  void turn() {
    pair_.now += 25us;
    move(pair_.client, pair_.server);
    pair_.now += 25us;
    move(pair_.server, pair_.client);
    pair_.client.connection->on_timeout(pair_.now);
    pair_.server.connection->on_timeout(pair_.now);
  }

 private:
  void move(Party& from, Party& to) {
    for (;;) {
      const Burst burst = from.connection->poll_burst(buffer_, 1452, pair_.now);
      if (burst.bytes == 0) return;
      for (std::size_t at = 0; at < burst.bytes; at += burst.segment_bytes) {
        to.connection->on_datagram(
            ByteView(buffer_).subspan(at, std::min(burst.segment_bytes, burst.bytes - at)),
            pair_.now);
      }
    }
  }

  Pair& pair_;
  Bytes buffer_ = Bytes(65536);
};

TEST_F(HostileTest, MovingDatagramsAllocatesNothing) {
  Pair pair(*protection);
  pair.server.keeps_data = false;
  ASSERT_TRUE(pair.connect());
  pair.run(1s);
  const StreamId id = *pair.client.connection->open_stream();
  Shuttle shuttle(pair);
  const Bytes data(100'000);
  const auto transfer = [&](std::uint64_t goal) {
    while (pair.server.streams[id].size < goal) {
      pair.client.connection->write(id, data);
      shuttle.turn();
    }
  };
  transfer(64 << 20);

  const std::uint64_t before = allocations_so_far();
  transfer(192 << 20);

  EXPECT_EQ(allocations_so_far() - before, 0u);
}

TEST_F(HostileTest, AnIdleConnectionIsSmall) {
  constexpr std::size_t kPairs = 50;
  std::vector<std::unique_ptr<Pair>> pairs;
  for (std::size_t i = 0; i < kPairs; ++i) {
    pairs.push_back(std::make_unique<Pair>(*protection, i + 1));
  }
  const std::size_t before = mallinfo2().uordblks;
  for (auto& pair : pairs) {
    ASSERT_TRUE(pair->connect());
    pair->run(3s);
  }
  const std::size_t each = (mallinfo2().uordblks - before) / kPairs / 2;

  RecordProperty("idle_connection_bytes", static_cast<int>(each));
  printf("an idle connection holds %zu bytes\n", each);
  EXPECT_LT(each, 120'000u);
}

TEST_F(HostileTest, AThousandShortStreamsShareLittleMemory) {
  Pair pair(*protection);
  ASSERT_TRUE(pair.connect());
  const std::size_t before = mallinfo2().uordblks;
  for (int i = 0; i < 1000; ++i) {
    const auto id = pair.client.connection->open_stream();
    ASSERT_TRUE(id.has_value());
    pair.client.connection->write(*id, as_bytes("hello"));
  }
  ASSERT_TRUE(pair.run(10s, [&] { return pair.server.opened == 1000; }));
  pair.run(1s);

  // Acknowledged: the chunks are free again, up to what the pool keeps.
  const std::size_t held = mallinfo2().uordblks - before;
  printf("a thousand open streams hold %zu bytes at both ends\n", held);
  EXPECT_LT(held, ChunkPool::kKeptBytesMax + 1000u * 4000u);
}

}  // namespace
}  // namespace openp2p::quic
