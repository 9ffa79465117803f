// Two ends and a relay over whole sessions in a simulated internet.

#include <gtest/gtest.h>

#include "relay/test_relay.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kTenMbit = 10'000'000;

TEST(Relay, CarriesASessionOfItsOwnNetworkWithoutAnyServer) {
  RelayWorld net(1);
  net.be_one_network();
  ASSERT_TRUE(net.open_session([] { return std::nullopt; }));
  net.a.inner.send(3'000'000);
  net.a.poke();

  ASSERT_TRUE(net.run_until([&] { return net.has_all_of(3'000'000); }, 30s));
  EXPECT_EQ(net.b.inner.received, net.a.inner.sent);
  EXPECT_EQ(net.relay.receipts.size(), 0u) << "nobody counts what own nodes carry";
  EXPECT_EQ(net.relay.service().counters().wrong_channel, 0u);
  EXPECT_EQ(net.relay.service().lent_count(), 0u);
}

TEST(Relay, CarriesForStrangersWithTicketsAndSendsReceiptsOfBothEnds) {
  RelayWorld net(2);
  net.lend(100'000'000);
  ASSERT_TRUE(net.open_lent_session());
  net.a.inner.send(20'000'000);
  net.a.poke();
  ASSERT_TRUE(net.run_until([&] { return net.has_all_of(20'000'000); }, 60s));
  EXPECT_EQ(net.b.inner.received, net.a.inner.sent);
  net.world.run_for(70s);  // For the receipt that time asks for.

  const auto report = net.relay.service().report(net.relay.now());
  ASSERT_EQ(report.size(), 1u);
  EXPECT_TRUE(report[0].is_joined);
  EXPECT_GE(report[0].to_one + report[0].to_other, 20'000'000u);
  EXPECT_GE(report[0].receipted * 10, (report[0].to_one + report[0].to_other) * 9);
  std::set<NodeId> signers;
  for (const Receipt& receipt : net.relay.receipts) {
    signers.insert(receipt.end);
    EXPECT_TRUE(is_genuine(net.secret, {receipt.relay, receipt.end, receipt.peer}, receipt.ticket));
  }
  EXPECT_EQ(signers, (std::set{net.a.id(), net.b.id()}));
  EXPECT_EQ(net.relay.service().counters().receipts_bad, 0u);
  EXPECT_EQ(net.relay.service().counters().receipts_too_high, 0u);
}

TEST(Relay, HoldsItsCapWhateverTheEndsSend) {
  RelayWorld net(3);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.open_lent_session());
  net.world.run_for(9min);  // Idle, but for checks.
  net.a.inner.send(60'000'000);
  net.a.poke();
  net.world.run_for(5s);

  const RelayService::Counters before = net.relay.service().counters();
  const std::uint64_t sent_before = net.relay.bytes_sent();
  net.world.run_for(30s);
  const RelayService::Counters& after = net.relay.service().counters();
  const std::uint64_t bytes = after.lent_wire_bytes - before.lent_wire_bytes;

  EXPECT_GE(static_cast<double>(bytes) * 8 / 30, 9.5e6);
  EXPECT_LE(static_cast<double>(bytes) * 8 / 30, 10.0e6);
  // All that left, with the headers of IPv4 and UDP: it includes what keeps the sessions alive.
  const std::uint64_t sent =
      net.relay.bytes_sent() - sent_before + 28 * (after.datagrams - before.datagrams);
  EXPECT_LE(bytes, sent);
  EXPECT_GE(bytes * 1'002, sent * 1'000);
  ASSERT_TRUE(net.run_until([&] { return net.has_all_of(60'000'000); }, 60s));
  EXPECT_EQ(net.b.inner.received, net.a.inner.sent);
}

TEST(Relay, LetsInTheSecondEndLateAndTellsTheFirst) {
  RelayWorld net(4);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.connect());
  const Ticket ticket = net.ticket(1);
  net.to_a->client->allocate(net.b.id(), ticket);
  net.a.poke();
  ASSERT_TRUE(net.run_until([&] { return net.a.allocated.size() == 1; }, 5s));
  EXPECT_FALSE(net.a.allocated[0].is_peer_there);
  EXPECT_EQ(net.a.allocated[0].bits_per_second, kTenMbit);

  net.world.run_for(20s);
  net.to_b->client->allocate(net.a.id(), ticket);
  net.b.poke();

  ASSERT_TRUE(net.run_until([&] { return net.a.joined.size() == 1; }, 5s));
  ASSERT_EQ(net.b.allocated.size(), 1u);
  EXPECT_TRUE(net.b.allocated[0].is_peer_there);
}

TEST(Relay, ForgetsAnAllocationWhoseSecondEndNeverComes) {
  RelayWorld net(5);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.connect());
  net.to_a->client->allocate(net.b.id(), net.ticket(1));
  net.a.poke();

  ASSERT_TRUE(net.run_until([&] { return net.a.left.size() == 1; }, 100s));

  EXPECT_NE(net.a.left[0].second.find("did not come"), std::string::npos);
  EXPECT_EQ(net.relay.service().allocation_count(), 0u);
}

TEST(Relay, ForgetsWhatNobodyUses) {
  RelayWorld net(6);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.connect());
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));

  ASSERT_TRUE(net.run_until([&] { return !net.a.left.empty() && !net.b.left.empty(); }, 11min));

  EXPECT_EQ(net.relay.service().allocation_count(), 0u);
  net.world.run_for(30s);
  EXPECT_EQ(net.relay.service().next_timeout(), std::nullopt) << "an idle relay sleeps";
}

TEST(Relay, ReleaseTellsTheOtherEndAndTheLastReceiptComesFirst) {
  RelayWorld net(7);
  net.lend(100'000'000);
  ASSERT_TRUE(net.open_lent_session());
  net.a.inner.send(500'000);
  net.a.poke();
  ASSERT_TRUE(net.run_until([&] { return net.has_all_of(500'000); }, 30s));

  net.to_b->client->release(net.b.joined[0]);
  net.b.poke();

  ASSERT_TRUE(net.run_until([&] { return net.a.left.size() == 1; }, 5s));
  ASSERT_TRUE(net.run_until([&] { return net.relay.receipts.size() == 2; }, 5s));
  std::uint64_t received = 0;
  for (const Receipt& receipt : net.relay.receipts) received += receipt.bytes;
  EXPECT_GE(received, 500'000u);
}

TEST(Relay, EndsLentAllocationsWhenItLendsNothingAnyMoreAndKeepsOwnOnes) {
  RelayWorld net(8);
  net.be_one_network();
  net.lend(kTenMbit);
  ASSERT_TRUE(net.connect());
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
  ASSERT_TRUE(net.allocate_and_join(std::nullopt));
  ASSERT_EQ(net.relay.service().allocation_count(), 2u);

  net.relay.service().set_cap(RelayService::kLendNothing, net.relay.now());
  net.relay.poke();

  ASSERT_TRUE(net.run_until([&] { return net.a.left.size() == 1 && net.b.left.size() == 1; }, 5s));
  EXPECT_EQ(net.relay.service().allocation_count(), 1u);
  EXPECT_EQ(net.relay.service().lent_count(), 0u);
}

TEST(Relay, EndsOwnAllocationsOfANodeThatLeftTheNetwork) {
  RelayWorld net(9);
  net.be_one_network();
  ASSERT_TRUE(net.connect());
  ASSERT_TRUE(net.allocate_and_join(std::nullopt));

  net.relay.own.erase(net.b.id());
  net.relay.service().on_network_changed(net.relay.now());
  net.relay.poke();

  EXPECT_TRUE(net.run_until([&] { return net.a.left.size() == 1 && net.b.left.size() == 1; }, 5s));
}

TEST(Relay, CarriesLettersBetweenOwnNodesOnly) {
  RelayWorld net(10);
  net.be_one_network();
  ASSERT_TRUE(net.connect());
  ASSERT_TRUE(net.to_a->client->send_letter(net.b.id(), as_bytes("offer")));
  net.a.poke();
  ASSERT_TRUE(net.run_until([&] { return net.b.letters.size() == 1; }, 5s));
  EXPECT_EQ(net.b.letters[0].first, net.a.id());
  EXPECT_EQ(net.b.letters[0].second, to_bytes(as_bytes("offer")));

  net.relay.own.erase(net.a.id());
  ASSERT_TRUE(net.to_a->client->send_letter(net.b.id(), as_bytes("offer")));
  ASSERT_TRUE(net.to_b->client->send_letter(net.relay.id(), as_bytes("offer")));
  net.a.poke();
  net.b.poke();
  ASSERT_TRUE(net.run_until(
      [&] { return net.a.letters_failed.size() == 1 && net.b.letters_failed.size() == 1; }, 5s));
  EXPECT_EQ(net.b.letters.size(), 1u);
  EXPECT_EQ(net.relay.service().counters().letters_failed, 2u);
  EXPECT_FALSE(net.to_a->client->send_letter(net.b.id(), Bytes(kLetterBytesMax + 1)));
}

TEST(Relay, GivesOwnTrafficPrecedenceOverWhatItLends) {
  RelayWorld net(11);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.open_lent_session());
  net.a.inner.send(60'000'000);
  net.relay.service().set_own_rate(7'000'000, net.relay.now());
  net.a.poke();
  net.world.run_for(3s);
  const std::uint64_t before = net.relay.service().counters().lent_wire_bytes;
  net.world.run_for(10s);
  const std::uint64_t bytes = net.relay.service().counters().lent_wire_bytes - before;
  EXPECT_NEAR(static_cast<double>(bytes) * 8 / 10, 3.0e6, 0.2e6);

  net.relay.service().set_own_rate(70'000'000, net.relay.now());
  net.world.run_for(30s);
  EXPECT_TRUE(net.a.inner.is_up && net.b.inner.is_up) << "a twentieth is left";
}

}  // namespace
}  // namespace openp2p::relay
