#include <memory>
#include <vector>

#include "sim/test_tcp.h"

/// How connections come to be, between hosts and through NATs.
namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

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
  std::vector<std::unique_ptr<TcpLog>> accepted;
  ASSERT_TRUE(server_->tcp().listen(443, Family::kV6, [&](TcpConnection& made, TimePoint now) {
    accepted.push_back(std::make_unique<TcpLog>(made, now));
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
    accepted_.push_back(std::make_unique<TcpLog>(made, now));
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
