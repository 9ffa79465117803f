#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/internet.h"
#include "sim/tcp_stack.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

/// Remembers what happens to a connection.
struct Log {
  explicit Log(TcpConnection& observed) : connection(observed) {
    connection.on_connected([this](TimePoint now) { connected_at = now.time_since_epoch(); });
    watch();
  }
  /// Of a connection that was accepted.
  Log(TcpConnection& observed, TimePoint now) : connection(observed) {
    connected_at = now.time_since_epoch();
    watch();
  }
  void watch() {
    connection.on_data([this](ByteView bytes, TimePoint) { text += as_text(bytes); });
    connection.on_end([this](TimePoint) { has_ended = true; });
    connection.on_closed([this](std::error_code error, TimePoint now) {
      ++closed;
      why = error;
      closed_at = now.time_since_epoch();
    });
  }
  bool is_up() const { return connection.state() == TcpConnection::State::kEstablished; }

  TcpConnection& connection;
  std::optional<Duration> connected_at;
  std::string text;
  bool has_ended = false;
  unsigned closed = 0;
  std::error_code why;
  Duration closed_at{};
};

class TcpTest : public testing::Test {
 protected:
  void run(Duration duration = 2s) { world_.run_for(duration); }
  std::unique_ptr<Log> connect(Host& from, const Address& to, std::uint16_t local_port = 0,
                               Duration timeout = 127s) {
    const auto made = from.tcp().connect(to, {.local_port = local_port, .timeout = timeout});
    return made ? std::make_unique<Log>(**made) : nullptr;
  }
  void listen(Host& host, std::uint16_t port) {
    ASSERT_TRUE(host.tcp().listen(port, Family::kV4, [this](TcpConnection& made, TimePoint now) {
      accepted_.push_back(std::make_unique<Log>(made, now));
    }));
  }
  Address at(Host& host, std::uint16_t port) { return {*host.address(Family::kV4), port}; }
  /// What the server sees of a home's port.
  Address mapped(Host& host, std::uint16_t port) {
    const auto probe = connect(host, at(*server_, 443), port);
    run();
    const Address seen = accepted_.back()->connection.remote();
    probe->connection.abort();  // Leaves the NAT's mapping for minutes.
    run();
    return seen;
  }

  World world_{1};
  Internet internet_{world_};
  std::unique_ptr<Host> server_ = make_public_host(internet_);
  std::vector<std::unique_ptr<Log>> accepted_;
};

TEST_F(TcpTest, ConnectsAndCarriesBytesBothWays) {
  const auto client = make_public_host(internet_, {.delay = 20ms});
  listen(*server_, 443);

  const auto log = connect(*client, at(*server_, 443));
  run();
  ASSERT_TRUE(log->is_up());
  ASSERT_EQ(accepted_.size(), 1u);
  log->connection.write(as_bytes("question"));
  accepted_[0]->connection.write(as_bytes("answer"));
  run();

  EXPECT_EQ(log->connected_at, 50ms);  // One round trip.
  EXPECT_EQ(accepted_[0]->connected_at, 75ms);
  EXPECT_EQ(accepted_[0]->text, "question");
  EXPECT_EQ(log->text, "answer");
  EXPECT_EQ(accepted_[0]->connection.remote(), log->connection.local());
}

TEST_F(TcpTest, ConnectsOverIpv6AndWithinAHost) {
  const auto client = make_public_host(internet_);
  std::vector<std::unique_ptr<Log>> accepted;
  ASSERT_TRUE(server_->tcp().listen(443, Family::kV6, [&](TcpConnection& made, TimePoint now) {
    accepted.push_back(std::make_unique<Log>(made, now));
  }));
  const auto far = connect(*client, {*server_->address(Family::kV6), 443});
  const auto near = connect(*server_, {*server_->address(Family::kV6), 443});
  run();
  EXPECT_TRUE(far->is_up());
  EXPECT_TRUE(near->is_up());
  EXPECT_EQ(accepted.size(), 2u);
}

TEST_F(TcpTest, AHostWithoutListenerRefuses) {
  const auto client = make_public_host(internet_);
  const auto log = connect(*client, at(*server_, 443));
  run();
  EXPECT_EQ(log->why, std::errc::connection_refused);
  EXPECT_EQ(log->closed, 1u);
  EXPECT_EQ(client->tcp().connections(), 0u);
}

TEST_F(TcpTest, RepeatsItsSynAndGivesUpInTime) {
  const auto client = make_public_host(internet_);
  server_->interface().down().set_blackhole(true);

  const auto log = connect(*client, at(*server_, 443), 0, 8s);
  run(30s);

  EXPECT_EQ(server_->interface().down().datagrams(), 4u);  // After 0, 1, 3 and 7 s.
  EXPECT_EQ(log->why, std::errc::timed_out);
  EXPECT_EQ(log->closed_at, 8s);
}

TEST_F(TcpTest, AnIcmpErrorEndsAnAttemptButNoConnection) {
  const auto client = make_public_host(internet_);
  const auto lost = connect(*client, {IpAddress::v4(11, 200, 0, 1), 443});
  run();
  EXPECT_EQ(lost->why, std::errc::host_unreachable);

  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run();
  server_->interface().set_up(false);
  log->connection.write(as_bytes("patience"));
  run(5s);
  server_->interface().set_up(true);
  run(10s);
  EXPECT_EQ(accepted_[0]->text, "patience");
}

TEST_F(TcpTest, ListenerAndConnectionsShareAPort) {
  const auto client = make_public_host(internet_);
  const auto other = make_public_host(internet_);
  listen(*server_, 443);
  listen(*other, 443);
  ASSERT_TRUE(client->tcp().listen(5000, Family::kV4, [this](TcpConnection& made, TimePoint now) {
    accepted_.push_back(std::make_unique<Log>(made, now));
  }));

  const auto first = connect(*client, at(*server_, 443), 5000);
  const auto second = connect(*client, at(*other, 443), 5000);
  const auto incoming = connect(*other, at(*client, 5000));
  EXPECT_EQ(connect(*client, at(*server_, 443), 5000), nullptr);  // The very same.
  EXPECT_FALSE(client->tcp().listen(5000, Family::kV4, {}));
  run();

  EXPECT_TRUE(first->is_up());
  EXPECT_TRUE(second->is_up());
  EXPECT_TRUE(incoming->is_up());
  EXPECT_EQ(first->connection.local(), second->connection.local());
}

TEST_F(TcpTest, BothSidesMayOpenAtOnce) {  // RFC 9293 figure 8.
  const auto client = make_public_host(internet_, {.delay = 20ms});
  const auto a = connect(*client, at(*server_, 7000), 6000);
  const auto b = connect(*server_, at(*client, 6000), 7000);
  run();
  ASSERT_TRUE(a->is_up());
  ASSERT_TRUE(b->is_up());
  a->connection.write(as_bytes("from a"));
  b->connection.write(as_bytes("from b"));
  run();
  EXPECT_EQ(a->text, "from b");
  EXPECT_EQ(b->text, "from a");
  EXPECT_EQ(a->connected_at, 50ms);
}

TEST_F(TcpTest, OpensThroughTwoPortRestrictedNats) {
  for (const Duration later : {0ms, 5ms, 100ms, 700ms, 2500ms}) {  // From crossing to far apart.
    SCOPED_TRACE(later.count());
    Home alice(internet_, NatKind::kPortRestricted, {.link = {.delay = 25ms}});
    Home bob(internet_, NatKind::kPortRestricted, {.link = {.delay = 25ms}});
    accepted_.clear();
    server_->tcp().stop_listening(443, Family::kV4);
    listen(*server_, 443);
    const Address to_alice = mapped(alice.host(), 6000);
    const Address to_bob = mapped(bob.host(), 7000);

    const auto a = connect(alice.host(), to_bob, 6000);
    run(later);
    const auto b = connect(bob.host(), to_alice, 7000);
    run(5s);

    ASSERT_TRUE(a->is_up());
    ASSERT_TRUE(b->is_up());
    a->connection.write(as_bytes("punched"));
    run();
    EXPECT_EQ(b->text, "punched");
  }
}

TEST_F(TcpTest, DoesNotOpenWhereANatIsSymmetric) {
  Home alice(internet_, NatKind::kPortRestricted);
  Home bob(internet_, NatKind::kSymmetricRandom);
  listen(*server_, 443);
  const Address to_alice = mapped(alice.host(), 6000);
  const Address to_bob = mapped(bob.host(), 7000);

  const auto a = connect(alice.host(), to_bob, 6000, 10s);
  const auto b = connect(bob.host(), to_alice, 7000, 10s);
  run(20s);

  EXPECT_EQ(a->why, std::errc::timed_out);
  EXPECT_EQ(b->why, std::errc::timed_out);
}

TEST_F(TcpTest, UdpBlockedHomesHaveTcp) {
  Home open(internet_, NatKind::kUdpBlocked);
  Home hard(internet_, NatKind::kUdpBlocked, {.tcp = nat_options(NatKind::kSymmetricRandom)});
  const auto other = make_public_host(internet_);
  listen(*server_, 443);
  listen(*other, 443);
  const auto to = [&](Host& host, Host& target) {
    const auto log = connect(host, at(target, 443), 6000);
    run();
    EXPECT_TRUE(log->is_up());
    return accepted_.back()->connection.remote();
  };
  EXPECT_EQ(to(open.host(), *server_), to(open.host(), *other));
  EXPECT_NE(to(hard.host(), *server_), to(hard.host(), *other));
  EXPECT_EQ(open.router()->nat().mappings(world_.now()), 0u);
  EXPECT_EQ(open.router()->tcp_nat().mappings(world_.now()), 1u);
  EXPECT_EQ(hard.router()->tcp_nat().mappings(world_.now()), 2u);
}

TEST_F(TcpTest, ANatThatRejectsAnswersWithARst) {
  NatOptions rejecting;
  rejecting.unsolicited = Unsolicited::kReject;
  Home home(internet_, NatKind::kPortRestricted, {.tcp = rejecting});
  listen(*server_, 443);
  const Address target = mapped(home.host(), 6000);
  const auto stranger = make_public_host(internet_);

  const auto log = connect(*stranger, target);
  run();

  EXPECT_EQ(log->why, std::errc::connection_refused);
}

TEST_F(TcpTest, HairpinsBetweenHostsBehindOneNat) {  // RFC 5382 REQ-8.
  Home home(internet_, NatKind::kFullCone);
  listen(*server_, 443);
  listen(home.add_host(), 6000);
  const Address target = mapped(home.host(1), 6000);

  const auto log = connect(home.host(0), target);
  run();
  ASSERT_TRUE(log->is_up());
  log->connection.write(as_bytes("round the corner"));
  run();

  EXPECT_EQ(accepted_.back()->text, "round the corner");
}

TEST_F(TcpTest, PassesAnIpv6FirewallOutwardsOnly) {
  Home home(internet_, NatKind::kIpv6Firewall);
  std::size_t accepted = 0;
  const auto count = [&](TcpConnection&, TimePoint) { ++accepted; };
  ASSERT_TRUE(server_->tcp().listen(443, Family::kV6, count));
  ASSERT_TRUE(home.host().tcp().listen(443, Family::kV6, count));

  const auto out = connect(home.host(), {*server_->address(Family::kV6), 443});
  const auto in = connect(*server_, {*home.host().address(Family::kV6), 443}, 0, 5s);
  run(6s);

  EXPECT_TRUE(out->is_up());
  EXPECT_EQ(in->why, std::errc::timed_out);
  EXPECT_EQ(accepted, 1u);
}

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
  Log& peer = *accepted_[0];

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

TEST_F(TcpTest, NobodyAcceptsForAListenerThatIsGone) {
  const auto client = make_public_host(internet_, {.delay = 20ms});
  listen(*server_, 443);
  const auto log = connect(*client, at(*server_, 443));
  run(30ms);  // The SYN is there, its answer on the way.
  server_->tcp().stop_listening(443, Family::kV4);
  run();
  EXPECT_TRUE(accepted_.empty());
  EXPECT_EQ(log->closed, 1u);
}

}  // namespace
}  // namespace openp2p::sim
