#include <string>

#include "sim/test_tcp.h"

/// What an open connection carries, and how it ends.
namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

TEST(TcpConnection, DeliversEverythingInOrderDespiteLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    Internet internet(world);
    const LinkOptions bad{
        .delay = 10ms, .jitter = 2ms, .loss = 0.1, .duplication = 0.02, .reordering = 0.05};
    const auto server = make_public_host(internet, bad);
    const auto client = make_public_host(internet, {.delay = 5ms});
    std::string sent, received;
    for (int i = 0; sent.size() < 300'000; ++i) sent += std::to_string(i) + " ";
    bool has_ended = false;
    ASSERT_TRUE(server->tcp().listen(443, Family::kV4, [&](TcpConnection& made, TimePoint) {
      made.on_data([&](ByteView bytes, TimePoint) { received += as_text(bytes); });
      made.on_end([&](TimePoint) { has_ended = true; });
    }));
    const auto connection =
        client->tcp().connect({*server->address(Family::kV4), 443}, {.send_buffer_bytes = 50'000});
    ASSERT_TRUE(connection);
    std::size_t written = 0;
    while (written < sent.size() && world.elapsed() < 300s) {
      written += (*connection)->write(as_bytes(sent).subspan(written));
      EXPECT_LE((*connection)->queued_bytes(), 50'000u);
      world.run_for(10ms);
    }
    (*connection)->shutdown_write();
    world.run_for(60s);

    EXPECT_TRUE(received == sent);
    EXPECT_TRUE(has_ended);
    EXPECT_GT((*connection)->retransmissions(), 10u);
  }
}

TEST(TcpConnection, RunsAlikeForOneSeed) {
  const auto run = [](std::uint64_t seed) {
    World world(seed);
    Internet internet(world);
    const auto server = make_public_host(internet, {.delay = 10ms, .loss = 0.1});
    Home home(internet, NatKind::kSymmetricRandom);
    server->tcp().listen(443, Family::kV4, [](TcpConnection&, TimePoint) {});
    const auto made = home.host().tcp().connect({*server->address(Family::kV4), 443});
    world.run_for(5s);
    (*made)->write(Bytes(100'000));
    world.run_for(20s);
    return world.trace_hash();
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

TEST_F(TcpTest, OneLostSegmentCostsNoTimeout) {
  const auto client = make_public_host(internet_, {.delay = 50ms});
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  const TimePoint start = world_.now();
  client->interface().up().set_blackhole(true);
  log->connection.write(Bytes(1'460));
  client->interface().up().set_blackhole(false);
  log->connection.write(Bytes(5 * 1'460));
  world_.run_until([&] { return accepted_[0]->text.size() == 6 * 1'460; }, start + 2s);
  EXPECT_EQ(world_.now() - start, 3 * 55ms);  // There, three duplicates back, and there again.
  EXPECT_EQ(log->connection.retransmissions(), 1u);
}

/// Linux does not wait for a second either: it has measured the handshake.
TEST_F(TcpTest, TheFirstSegmentIsSentAgainAfterThreeRoundTrips) {
  const auto client = make_public_host(internet_, {.delay = 45ms});
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  const TimePoint start = world_.now();

  client->interface().up().set_blackhole(true);
  log->connection.write(Bytes(100));
  client->interface().up().set_blackhole(false);
  world_.run_until([&] { return accepted_[0]->text.size() == 100; }, start + 2s);

  EXPECT_EQ(world_.now() - start, 3 * 100ms + 50ms);
}

TEST_F(TcpTest, ASlowLineFillsTheSendBuffer) {
  const auto client = make_public_host(
      internet_, {.delay = 10ms, .bits_per_second = 800'000, .queue_bytes = 20'000});
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  ASSERT_EQ(log->connection.unsent_bytes(), 0u);

  EXPECT_EQ(log->connection.write(Bytes(1'000'000)), TcpStack::kSendBufferBytes);
  EXPECT_EQ(log->connection.writable_bytes(), 0u);
  const TimePoint written_at = world_.now();
  run(1s);
  EXPECT_GT(log->connection.unsent_bytes(), 100'000u);
  EXPECT_EQ(log->connection.unsent_since(), written_at);
  run(60s);

  EXPECT_EQ(accepted_[0]->text.size(), TcpStack::kSendBufferBytes);
  EXPECT_EQ(log->connection.queued_bytes(), 0u);
  EXPECT_EQ(log->connection.unsent_since(), std::nullopt);
}

TEST_F(TcpTest, KeepsSegmentsWithinThePathsMtu) {
  Home home(internet_, NatKind::kPortRestricted, {.link = {.delay = 10ms, .mtu = 1'400}});
  listen(*server_, 443);
  const auto log = connect(home.host(), at(*server_, 443));
  run();
  log->connection.write(Bytes(20'000));
  run();
  EXPECT_EQ(accepted_[0]->text.size(), 20'000u);
}

TEST_F(TcpTest, ClosesOneDirectionAfterTheOther) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  TcpLog& peer = *accepted_[0];

  log->connection.write(as_bytes("last words"));
  log->connection.shutdown_write();
  run();
  EXPECT_EQ(peer.text, "last words");
  EXPECT_TRUE(peer.has_ended);
  peer.connection.write(as_bytes("answer"));
  run();
  EXPECT_EQ(log->text, "answer");
  EXPECT_EQ(log->closed, 0u);
  peer.connection.shutdown_write();
  run();

  EXPECT_EQ(log->closed, 1u);
  EXPECT_EQ(peer.closed, 1u);
  EXPECT_FALSE(log->why);
  EXPECT_EQ(log->connection.state(), TcpConnection::State::kTimeWait);
  run(60s);
  EXPECT_EQ(client->tcp().connections(), 0u);
  EXPECT_EQ(server_->tcp().connections(), 0u);
}

TEST_F(TcpTest, BothSidesMayCloseAtOnce) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  log->connection.shutdown_write();
  accepted_[0]->connection.shutdown_write();
  run();
  EXPECT_EQ(log->closed, 1u);
  EXPECT_EQ(accepted_[0]->closed, 1u);
  run(61s);
  EXPECT_EQ(client->tcp().connections(), 0u);
  EXPECT_EQ(server_->tcp().connections(), 0u);
}

TEST_F(TcpTest, AnAbortResetsThePeer) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  log->connection.abort();
  run();
  EXPECT_EQ(accepted_[0]->why, std::errc::connection_reset);
  EXPECT_EQ(log->closed, 0u);
  EXPECT_EQ(server_->tcp().connections(), 0u);
}

TEST_F(TcpTest, DataForAClosedConnectionIsReset) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  log->connection.close();
  run();
  accepted_[0]->connection.write(as_bytes("anybody there?"));
  run();
  EXPECT_EQ(accepted_[0]->why, std::errc::connection_reset);
}

TEST_F(TcpTest, APeerThatVanishedIsNoticed) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  server_->interface().down().set_blackhole(true);
  log->connection.write(as_bytes("hello?"));
  run(std::chrono::minutes(30));
  EXPECT_EQ(log->why, std::errc::timed_out);
}

TEST_F(TcpTest, AClosedConnectionWhosePeerVanishedFreesItsPorts) {
  const auto client = make_public_host(internet_);
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443), 4'000);
  run();
  client->interface().up().set_blackhole(true);
  log->connection.write(as_bytes("hello?"));

  log->connection.close();
  EXPECT_EQ(connect(*client, at(*server_, 443), 4'000), nullptr);
  run(std::chrono::minutes(1));

  EXPECT_NE(connect(*client, at(*server_, 443), 4'000), nullptr);
}

TEST_F(TcpTest, LostAcknowledgmentsBothWaysAreMadeUpFor) {
  const auto client = make_public_host(internet_, {.delay = 20ms});
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  const std::string text(3'000, 'x');  // Several segments: the first alone is sent again.
  log->connection.write(as_bytes(text));
  accepted_[0]->connection.write(as_bytes(text));
  run(20ms);  // All is on its way; the answers are lost.
  const auto set_blackhole = [&](bool is_set) {
    client->interface().up().set_blackhole(is_set);
    server_->interface().up().set_blackhole(is_set);
  };
  set_blackhole(true);
  run(1s);
  ASSERT_EQ(log->text, text);
  ASSERT_EQ(accepted_[0]->text, text);

  set_blackhole(false);
  run(10s);

  EXPECT_EQ(log->connection.queued_bytes(), 0u);
  EXPECT_EQ(accepted_[0]->connection.queued_bytes(), 0u);
}

}  // namespace
}  // namespace openp2p::sim
