// Relays, ends and clocks that lie, break and restart: nothing is harmed, and counters tell.

#include <gtest/gtest.h>

#include "relay/test_relay.h"
#include "wire/control_frame.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kTenMbit = 10'000'000;
constexpr std::uint64_t kGbit = 1'000'000'000;

/// Asks as end `a` and gives the answer's code; nullopt: it was let in.
std::optional<RefusalCode> ask(RelayWorld& net, const NodeId& peer,
                               const std::optional<Ticket>& ticket) {
  const std::size_t refused = net.a.refused.size();
  const std::size_t allocated = net.a.allocated.size();
  EXPECT_TRUE(net.to_a->client->allocate(peer, ticket));
  net.a.poke();
  EXPECT_TRUE(net.run_until(
      [&] { return net.a.refused.size() > refused || net.a.allocated.size() > allocated; }, 5s));
  if (net.a.refused.size() == refused) return std::nullopt;
  EXPECT_FALSE(net.a.refused.back().text.empty());
  return net.a.refused.back().code;
}

struct ReadyRelay : RelayWorld {
  explicit ReadyRelay(std::uint64_t seed, std::uint64_t cap = kTenMbit) : RelayWorld(seed) {
    lend(cap);
    EXPECT_TRUE(connect());
  }
  const RelayService::Counters& counters() { return relay.service().counters(); }
};

TEST(RelayHostile, StolenTicketsAreOfNoUse) {
  ReadyRelay net(1);
  sim::SeededSecrets secrets(77);
  const NodeId third = IdentityKey::generate(secrets).id();
  const NodeId another_relay = IdentityKey::generate(secrets).id();
  const AllocationId id{std::byte{3}};
  const auto of = [&](const TicketScope& scope) {
    return make_ticket(net.secret, scope, TicketKind::kShared, id, Account{}, net.server_time());
  };

  EXPECT_EQ(ask(net, net.b.id(), of({net.relay.id(), net.b.id(), third})),
            RefusalCode::kTicketInvalid)
      << "of another pair";
  EXPECT_EQ(ask(net, third, net.ticket(1)), RefusalCode::kTicketInvalid)
      << "asks to reach a third node with the pair's ticket";
  EXPECT_EQ(ask(net, net.b.id(), of({another_relay, net.a.id(), net.b.id()})),
            RefusalCode::kTicketInvalid)
      << "of another relay";
  EXPECT_EQ(net.counters().tickets_forged, 3u);
  EXPECT_EQ(net.relay.service().allocation_count(), 0u);
}

TEST(RelayHostile, KindsAreNotExchanged) {
  ReadyRelay net(2);
  Ticket ticket = net.ticket(1);
  ticket.kind = TicketKind::kOwn;
  EXPECT_EQ(ask(net, net.b.id(), ticket), RefusalCode::kTicketInvalid);
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(2, TicketKind::kOwn)), RefusalCode::kTicketInvalid)
      << "genuine, but the relay knows better who is of its network";
  EXPECT_EQ(ask(net, net.b.id(), std::nullopt), RefusalCode::kTicketInvalid);
}

TEST(RelayHostile, OldAndSpentTicketsAreRefusedAndSaidSo) {
  ReadyRelay net(3);
  const Ticket ticket = net.ticket(1);
  EXPECT_EQ(ask(net, net.b.id(), ticket), std::nullopt);
  EXPECT_EQ(ask(net, net.b.id(), ticket), RefusalCode::kTicketSpent);
  const Ticket old = net.ticket(2);
  net.world.run_for(2min);
  EXPECT_EQ(ask(net, net.b.id(), old), RefusalCode::kTicketOld);
  EXPECT_EQ(net.counters().tickets_spent, 1u);
  EXPECT_EQ(net.counters().tickets_old, 1u);
}

TEST(RelayHostile, ItselfOrTheRelayIsNoPeer) {
  ReadyRelay net(4);
  net.be_one_network();
  EXPECT_EQ(ask(net, net.a.id(), std::nullopt), RefusalCode::kTicketInvalid);
  EXPECT_EQ(ask(net, net.relay.id(), std::nullopt), RefusalCode::kTicketInvalid);
}

TEST(RelayHostile, TenThousandGuessesEndAfterEight) {
  ReadyRelay net(5);
  Random random(9);
  std::uint64_t asked = 0;
  for (int i = 0; i < 10'000; ++i) {
    Ticket guess = net.ticket(1);
    random.fill(guess.code);
    if (net.to_a->client->allocate(net.b.id(), guess)) ++asked;
    net.a.poke();
    if (i % 100 == 0) net.world.run_for(10ms);
  }
  net.world.run_for(1s);

  EXPECT_EQ(net.counters().tickets_forged, 8u);
  EXPECT_EQ(net.counters().guessers_cut, 1u);
  EXPECT_EQ(net.a.relays_lost, 1);
  EXPECT_LT(asked, 1'000u);
  ASSERT_FALSE(net.a.refused.empty());
  net.to_a->client.reset();
  net.to_a->users.clear();
  net.to_a->client = std::make_unique<RelayClient>(*net.to_a->hop, net.a.identity, net.a);
  const auto stream = net.to_a->client->open();
  ASSERT_TRUE(stream);
  net.to_a->users[*stream] = net.to_a->client.get();
  net.a.poke();
  net.world.run_for(1s);
  EXPECT_EQ(net.a.relays_lost, 2) << "a new stream in the same session is no new start";

  EXPECT_EQ(net.relay.service().allocation_count(), 0u);
  net.to_b->client->allocate(net.a.id(), net.ticket(4));
  net.b.poke();
  EXPECT_TRUE(net.run_until([&] { return net.b.allocated.size() == 1; }, 5s))
      << "others are let in as before";
}

TEST(RelayHostile, ClocksOfNodesThatAreTenYearsWrongDoNotMatter) {
  // Nodes are never told wall time but the server's: it may itself be ten years wrong.
  for (const std::int64_t years : {-10, 10}) {
    RelayWorld net(6);
    const WallTime wrong{net.server_time().us + years * 31'557'600'000'000};
    net.relay.lend(net.secret, wrong, kTenMbit);
    ASSERT_TRUE(net.connect());
    const Ticket ticket = make_ticket(net.secret, {net.relay.id(), net.a.id(), net.b.id()},
                                      TicketKind::kShared, {}, {}, wrong);
    EXPECT_TRUE(net.allocate_and_join(ticket));

    net.relay.service().set_server_time(net.server_time(), net.relay.now());
    EXPECT_EQ(ask(net, net.b.id(), ticket), RefusalCode::kTicketOld);
    EXPECT_TRUE(net.allocate_and_join(net.ticket(9))) << "the server's clock was corrected";
  }
}

TEST(RelayHostile, ARelayThatHasNotHeardFromItsServerSaysSo) {
  RelayWorld net(7);
  ASSERT_TRUE(net.connect());
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(1)), RefusalCode::kNotSharing);
  net.relay.service().set_cap(kTenMbit, net.relay.now());
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(1)), RefusalCode::kNotSharing);
  net.lend(kTenMbit);
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(1)), std::nullopt) << "nothing was spent";
}

TEST(RelayHostile, FullRelaysRefuseAndSpendNothing) {
  RelayWorld net(8);
  net.relay.stop();
  net.relay.service_options.lent_max = 1;
  net.relay.start(0);
  net.lend(kTenMbit);
  ASSERT_TRUE(net.connect());
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(1)), std::nullopt);
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(2)), RefusalCode::kFull);
  net.to_a->client->release(net.a.allocated[0].channel);
  EXPECT_EQ(ask(net, net.b.id(), net.ticket(2)), std::nullopt);
}

TEST(RelayHostile, ChannelsOfOthersReachNobody) {
  ReadyRelay net(9);
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
  const Channel channel = net.a.joined[0];
  sim::Home home(net.internet, sim::NatKind::kNone);
  TestNode stranger(home.host(), 999);
  HopLink& link = stranger.dial(net.relay);
  ASSERT_TRUE(net.run_until([&] { return link.is_up(); }, 5s));
  net.world.run_for(300ms);  // Until its path is checked.

  const Bytes datagram(500);
  for (Channel guess = 0; guess < 1'000; ++guess) {
    link.hop->send(Hop::Way::kToRelay, guess, datagram);
  }
  link.hop->send(Hop::Way::kToRelay, channel, datagram);
  link.hop->send(Hop::Way::kFromRelay, channel, datagram);
  stranger.poke();
  net.world.run_for(1s);

  EXPECT_EQ(net.a.relayed + net.b.relayed, 0u);
  EXPECT_EQ(net.counters().wrong_channel, 1'001u);
}

TEST(RelayHostile, FloodsAreDroppedAtTheCapAndDoNotHarmOthers) {
  ReadyRelay net(10);
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
  const Bytes datagram(1'000);
  for (int i = 0; i < 3'000; ++i) {  // 24 Mbit/s where 10 are lent.
    net.to_a->client->send(net.a.joined[0], datagram, 0);
    if (i % 3 == 0) {
      net.a.poke();
      net.world.run_for(1ms);
    }
  }
  net.world.run_for(1s);

  EXPECT_GT(net.counters().dropped_cap, 1'000u);
  EXPECT_LT(net.b.relayed, 1'400u);
  EXPECT_GT(net.b.relayed, 1'100u);
}

/// A receipt of end `b`, changed by `lie`, comes to the relay in the name of the client.
void lie_with(ReadyRelay& net, const std::function<void(Receipt&)>& lie) {
  Receipt receipt{net.ticket(1), net.relay.id(), net.b.id(), net.a.id(), 0};
  lie(receipt);
  const bool is_own = receipt.end == net.b.id();
  SignedReceipt given;
  if (is_own) {
    given = sign(receipt, net.b.identity);
  } else {
    given.body = encode(receipt);
  }
  Bytes frame;
  append_control_frame(encode(EndMessage(ReceiptMessage{net.b.joined[0], given})), frame);
  for (const auto& [id, user] : net.to_b->users) net.to_b->hop->session()->write(id, frame);
  net.b.poke();
  net.world.run_for(200ms);
}

TEST(RelayHostile, ReceiptsThatLieAreNotPassedOn) {
  ReadyRelay net(11);
  const Ticket ticket = net.ticket(1);
  ASSERT_TRUE(net.allocate_and_join(ticket));
  for (int i = 0; i < 5; ++i) net.to_a->client->send(net.a.joined[0], Bytes(1'000), 0);
  net.a.poke();
  net.world.run_for(1s);
  ASSERT_EQ(net.b.relayed, 5u);

  lie_with(net, [](Receipt& r) { r.bytes = 5'001; });
  EXPECT_EQ(net.counters().receipts_too_high, 1u);
  lie_with(net, [](Receipt& r) { r.ticket.allocation[0] ^= std::byte{1}; });
  lie_with(net, [](Receipt& r) { r.ticket.account[0] ^= std::byte{1}; });
  lie_with(net, [](Receipt& r) { r.relay = r.peer; });
  lie_with(net, [](Receipt& r) { r.peer = r.relay; });
  lie_with(net, [&](Receipt& r) { std::swap(r.end, r.peer); });
  EXPECT_EQ(net.counters().receipts_bad, 5u);
  EXPECT_TRUE(net.relay.receipts.empty());

  lie_with(net, [](Receipt& r) { r.bytes = 5'000; });
  EXPECT_EQ(net.relay.receipts.size(), 1u);
  lie_with(net, [](Receipt& r) { r.bytes = 5'000; });
  lie_with(net, [](Receipt& r) { r.bytes = 4'000; });
  EXPECT_EQ(net.counters().receipts_repeated, 2u);
  EXPECT_EQ(net.relay.receipts.size(), 1u);
}

TEST(RelayHostile, EndsThatGiveNoReceiptsAreCarriedNoLonger) {
  ReadyRelay net(12, kGbit);
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
  net.b.tamper = [](Channel, MutableByteView) {};
  // The session's stream is cut off towards the client: it never hears the question.
  net.to_b->users.clear();
  for (int i = 0; i < 3'000; ++i) {
    net.to_a->client->send(net.a.joined[0], Bytes(1'100), 0);
    if (i % 10 == 0) {
      net.a.poke();
      net.world.run_for(5ms);
    }
  }
  ASSERT_GT(net.relay.service().counters().lent_bytes, 1u << 20);
  net.world.run_for(6min);

  EXPECT_EQ(net.counters().cut_unreceipted, 1u);
  ASSERT_EQ(net.a.left.size(), 1u);
  EXPECT_NE(net.a.left[0].second.find("receipts"), std::string::npos);
}

TEST(RelayHostile, SecondRelayStreamsAreRefused) {
  ReadyRelay net(13);
  RelayClient second(*net.to_a->hop, net.a.identity, net.a);
  const auto id = second.open();
  ASSERT_TRUE(id);
  net.to_a->users[*id] = &second;
  net.a.poke();
  net.world.run_for(1s);
  EXPECT_EQ(net.a.relays_lost, 1);
  EXPECT_FALSE(second.is_open());
  net.to_a->users.erase(*id);
}

TEST(RelayHostile, GarbageOnTheStreamEndsItWithWhatItHad) {
  ReadyRelay net(14);
  ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
  Random random(5);
  Bytes garbage(2'000);
  random.fill(garbage);
  garbage[0] = garbage[1] = std::byte{0};  // A length of less than 65,536.
  for (const auto& [id, user] : net.to_a->users) net.to_a->hop->session()->write(id, garbage);
  garbage.resize(70'000);
  net.a.poke();
  net.world.run_for(1s);
  for (const auto& [id, user] : net.to_a->users) net.to_a->hop->session()->write(id, garbage);
  net.a.poke();

  EXPECT_TRUE(net.run_until([&] { return net.a.relays_lost == 1; }, 5s));
  EXPECT_TRUE(net.run_until([&] { return net.b.left.size() == 1; }, 5s));
  EXPECT_EQ(net.counters().malformed, 1u);
  EXPECT_EQ(net.relay.service().allocation_count(), 0u);
}

/// A download through a relay that treats datagrams as `tamper` says; true: it arrived unharmed.
void expect_unharmed(std::uint64_t seed,
                     const std::function<void(RelayWorld&, Channel, MutableByteView)>& tamper) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  RelayWorld net(seed);
  net.lend(kGbit);
  ASSERT_TRUE(net.open_lent_session());
  net.b.tamper = [&](Channel channel, MutableByteView datagram) { tamper(net, channel, datagram); };
  net.a.inner.send(1'000'000);
  net.a.poke();
  ASSERT_TRUE(net.run_until([&] { return net.has_all_of(1'000'000); }, 120s));
  EXPECT_EQ(net.b.inner.received, net.a.inner.sent);
  net.b.tamper = nullptr;
}

TEST(RelayHostile, ARelayThatDropsHarmsNothing) {
  Random random(1);
  expect_unharmed(20, [&](RelayWorld& net, Channel channel, MutableByteView datagram) {
    if (!random.chance(0.05)) net.b.give(channel, datagram, net.b.now());
  });
}

TEST(RelayHostile, ARelayThatAltersHarmsNothing) {
  Random random(2);
  expect_unharmed(21, [&](RelayWorld& net, Channel channel, MutableByteView datagram) {
    if (random.chance(0.05)) datagram[random.below(datagram.size())] ^= std::byte{0x40};
    net.b.give(channel, datagram, net.b.now());
  });
}

TEST(RelayHostile, ARelayThatReplaysHarmsNothing) {
  std::vector<Bytes> kept;
  Random random(3);
  expect_unharmed(22, [&](RelayWorld& net, Channel channel, MutableByteView datagram) {
    if (kept.size() < 500) kept.push_back(to_bytes(datagram));
    net.b.give(channel, datagram, net.b.now());
    Bytes again = kept[random.below(kept.size())];
    net.b.give(channel, again, net.b.now());
  });
}

TEST(RelayHostile, ARelayThatFloodsHarmsNothing) {
  Random random(5);
  expect_unharmed(24, [&](RelayWorld& net, Channel channel, MutableByteView datagram) {
    for (int i = 0; i < 20; ++i) {  // As the inner session's packets begin, and as anything does.
      Bytes forged = to_bytes(datagram);
      const std::size_t kept = random.chance(0.5) ? std::min<std::size_t>(9, forged.size()) : 0;
      random.fill(MutableByteView(forged).subspan(kept));
      net.b.give(channel, forged, net.b.now());
    }
    net.b.give(channel, datagram, net.b.now());
  });
}

TEST(RelayHostile, ARelayThatDelaysAndSwapsHarmsNothing) {
  Random random(4);
  Bytes held;
  expect_unharmed(23, [&](RelayWorld& net, Channel channel, MutableByteView datagram) {
    if (held.empty() && random.chance(0.02)) {
      held = to_bytes(datagram);
      return;
    }
    net.b.give(channel, datagram, net.b.now());
    if (held.empty() || !random.chance(0.3)) return;
    net.b.give(channel, held, net.b.now());
    held.clear();
  });
}

TEST(RelayHostile, EndsAndRelayRestartInAnyOrder) {
  for (int order = 0; order < 6; ++order) {
    SCOPED_TRACE(testing::Message() << "order " << order);
    ReadyRelay net(30 + static_cast<std::uint64_t>(order));
    ASSERT_TRUE(net.allocate_and_join(net.ticket(1)));
    const std::array all = {&net.a, &net.b, &net.relay};
    const std::array order_of = {order / 2, (order / 2 + 1 + order % 2) % 3,
                                 (order / 2 + 2 - order % 2) % 3};
    for (const int who : order_of) {
      TestNode& node = *all[static_cast<std::size_t>(who)];
      node.stop();
      net.world.run_for(700ms);
      node.start(0);
      if (&node == &net.relay) net.lend(kTenMbit);
      net.world.run_for(700ms);
    }
    ASSERT_TRUE(net.connect());
    net.a.joined.clear();
    net.b.joined.clear();
    ASSERT_TRUE(net.allocate_and_join(net.ticket(2)));
    net.to_a->client->send(net.a.joined[0], Bytes(100), 0);
    net.a.poke();
    const std::uint64_t before = net.b.relayed;
    EXPECT_TRUE(net.run_until([&] { return net.b.relayed > before; }, 1s));
    net.world.run_for(2min);
    EXPECT_EQ(net.relay.service().allocation_count(), 1u) << "nothing is left of before";
  }
}

}  // namespace
}  // namespace openp2p::relay
