#include "server/test_relays.h"

/// Who is granted which relay, and what that lets them do.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using control::ServerMessage;

TEST_F(CoreRelayTest, GrantsAnOwnNodeToBothEndsWithOneTicket) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& third = add(1, "third");

  const auto grant = ask(one, two.id());
  ASSERT_TRUE(run_until([&] { return grant_of(two, 0); }));
  const auto& other = grant_of(two, 0)->relay_grant();

  EXPECT_EQ(grant.peer(), text(two.id()));
  EXPECT_EQ(other.peer(), text(one.id()));
  ASSERT_EQ(grant.relays_size(), 1);
  EXPECT_EQ(grant.relays(0).kind(), control::Relay::OWN);
  EXPECT_EQ(grant.relays(0).node(), text(third.id()));
  EXPECT_EQ(grant.relays(0).name(), "third");
  EXPECT_EQ(grant.relays(0).bits_per_second(), 0U);
  EXPECT_GT(grant.relays(0).rtt_sum_us(), 1'000U);
  EXPECT_EQ(other.relays(0).SerializeAsString(), grant.relays(0).SerializeAsString());
  EXPECT_TRUE(grant.reason_name().empty());
  EXPECT_TRUE(relay::check_ticket(secret_of(third), scope(third, one, two),
                                  ticket_of(grant.relays(0)), server_now()));
  EXPECT_FALSE(relay::check_ticket(secret_of(one), scope(third, one, two),
                                   ticket_of(grant.relays(0)), server_now()));
}

TEST_F(CoreRelayTest, TellsTheSecondEndWhatBothWereTold) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  add(1, "third");

  const auto first = ask(one, two.id());
  const auto second = ask(two, one.id());
  EXPECT_EQ(second.relays(0).ticket(), first.relays(0).ticket());
  EXPECT_EQ(one.count(ServerMessage::kRelayGrant), 1U);

  const auto again = ask(one, two.id());  // Who asks again wants another.
  EXPECT_NE(again.relays(0).ticket(), first.relays(0).ticket());
  world_.run_for(RelayBroker::kSameGrant);
  EXPECT_NE(ask(two, one.id()).relays(0).ticket(), again.relays(0).ticket());
}

TEST_F(CoreRelayTest, NamesAStrangerWhoSharesAndLetsTheThreeSignal) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& bystander = add(1, "bystander");
  TestNode& stranger = add(2, "stranger");
  one.signal(stranger.id(), "early", 1);
  share(stranger, 10'000'000);
  ASSERT_TRUE(run_until([&] { return one.find(ServerMessage::kSignalFailed); }));

  auto wanted = wish_for(two.id(), 7);
  wanted.add_without(text(bystander.id()));
  const auto grant = ask(one, wanted);
  ASSERT_EQ(grant.relays_size(), 1) << grant.reason();
  EXPECT_EQ(grant.relays(0).kind(), control::Relay::SHARED);
  EXPECT_EQ(grant.relays(0).node(), text(stranger.id()));
  EXPECT_TRUE(grant.relays(0).name().empty());  // A stranger's name is nobody's business.
  EXPECT_EQ(grant.relays(0).bits_per_second(), 10'000'000U);
  EXPECT_TRUE(relay::check_ticket(secret_of(stranger), scope(stranger, one, two),
                                  ticket_of(grant.relays(0)), server_now()));

  one.signal(stranger.id(), "hello", 2);
  stranger.signal(two.id(), "hello too", 3);
  ASSERT_TRUE(run_until(
      [&] { return stranger.find(ServerMessage::kSignal) && two.find(ServerMessage::kSignal); }));
  EXPECT_TRUE(stranger.find(ServerMessage::kSignal)->signal().is_stranger());
  EXPECT_EQ(stranger.find(ServerMessage::kSignal)->signal().body(), "hello");
  EXPECT_TRUE(two.find(ServerMessage::kSignal)->signal().is_stranger());

  // And no others, and not for ever.
  bystander.signal(stranger.id(), "me too", 4);
  stranger.signal(bystander.id(), "and you?", 5);
  ASSERT_TRUE(run_until([&] {
    return bystander.find(ServerMessage::kSignalFailed) &&
           stranger.find(ServerMessage::kSignalFailed);
  }));
  EXPECT_EQ(bystander.find(ServerMessage::kSignalFailed)->signal_failed().code(),
            control::SignalFailed::NO_SUCH_NODE);
  world_.run_for(RelayPermits::kLifetime);
  one.signal(stranger.id(), "late", 6);
  ASSERT_TRUE(run_until([&] { return one.count(ServerMessage::kSignalFailed) == 2; }));
  EXPECT_EQ(one.heard.back().signal_failed().code(), control::SignalFailed::NO_SUCH_NODE);
}

TEST_F(CoreRelayTest, SignalsWithinANetworkAreNotAStrangers) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  one.signal(two.id(), "hello");
  ASSERT_TRUE(run_until([&] { return two.find(ServerMessage::kSignal); }));
  EXPECT_FALSE(two.find(ServerMessage::kSignal)->signal().is_stranger());
}

TEST_F(CoreRelayTest, NobodyIsGrantedANodeOfAnotherNetwork) {
  TestNode& thief = add(1, "thief");
  TestNode& victim = add(2, "victim");
  TestNode& shares = add(3, "shares");
  share(shares, 10'000'000);

  const auto grant = ask(thief, victim.id());
  EXPECT_EQ(grant.reason_name(), "no-such-node");
  EXPECT_EQ(grant.relays_size(), 0);
  EXPECT_EQ(ask(thief, NodeId{}).reason_name(), "no-such-node");  // As nobody at all.
  EXPECT_EQ(ask(thief, thief.id()).reason_name(), "no-such-node");
  world_.run_for(1s);
  EXPECT_EQ(victim.count(ServerMessage::kRelayGrant), 0U);
  thief.signal(victim.id(), "knock", 9);
  ASSERT_TRUE(run_until([&] { return thief.find(ServerMessage::kSignalFailed); }));
  EXPECT_EQ(server_.core().broker().permit_count(), 0U);
}

TEST_F(CoreRelayTest, SaysWhyThereIsNoRelay) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  EXPECT_EQ(ask(one, two.id()).reason_name(), "no-relay");

  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  auto wanted = wish_for(two.id(), 1);
  wanted.set_no_strangers(true);
  EXPECT_EQ(ask(one, wanted).reason_name(), "no-relay");
  wanted = wish_for(two.id(), 2);
  wanted.add_only(text(one.id()));  // An end is no relay.
  wanted.add_only(text(NodeId{}));
  EXPECT_EQ(ask(one, wanted).reason_name(), "no-relay");

  share(two, 0);  // It neither lends nor borrows.
  const auto refused = ask(one, two.id());
  EXPECT_EQ(refused.reason_name(), "not-sharing");
  EXPECT_NE(refused.reason().find("openp2p up --share"), std::string::npos);
  EXPECT_EQ(refused.relays_size(), 0);

  two.leave();
  ASSERT_TRUE(run_until([&] { return server_.core().online_count() == 2; }));
  EXPECT_EQ(ask(one, two.id()).reason_name(), "peer-offline");
}

TEST_F(CoreRelayTest, GrantsOnlyWhatWasAskedForByName) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  add(1, "third");
  TestNode& fourth = add(1, "fourth");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);

  auto wanted = wish_for(two.id(), 1);
  for (int i = 0; i < 3; ++i) wanted.add_only(text(fourth.id()));
  const auto pinned = ask(one, wanted);
  ASSERT_EQ(pinned.relays_size(), 1);
  EXPECT_EQ(pinned.relays(0).node(), text(fourth.id()));

  const auto any = ask(one, two.id());
  ASSERT_EQ(any.relays_size(), 3);
  EXPECT_EQ(any.relays(0).kind(), control::Relay::OWN);
  EXPECT_EQ(any.relays(1).kind(), control::Relay::OWN);
  EXPECT_EQ(any.relays(2).kind(), control::Relay::SHARED);
}

TEST_F(CoreRelayTest, SecretsAndTicketsSurviveARestart) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& third = add(1, "third");
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  const relay::TicketSecret before = secret_of(third);

  server_.crash();
  server_.start();
  ASSERT_TRUE(run_until([&] { return third.is_closed(); }, 120s));
  third.heard.clear();
  third.come_back();
  ASSERT_TRUE(run_until([&] { return third.find(ServerMessage::kRelaySecret); }));

  EXPECT_EQ(secret_of(third), before);
  EXPECT_TRUE(relay::is_genuine(before, scope(third, one, two), ticket));
  EXPECT_NE(secret_of(third), secret_of(one));
}

TEST_F(CoreRelayTest, AFloodOfWishesIsLimitedAndHurtsNobodyElse) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  add(1, "third");
  TestNode& other = add(2, "other");
  TestNode& others_peer = add(2, "peer");
  for (int i = 0; i < 900; ++i)
    wish(one, wish_for(two.id(), 1'000 + static_cast<std::uint64_t>(i)));
  world_.run_for(2s);

  const auto limited = std::ranges::count_if(one.heard, [](const ServerMessage& m) {
    return m.relay_grant().reason_name() == "too-many";
  });
  EXPECT_GE(limited, 300);
  EXPECT_EQ(ask(other, others_peer.id()).reason_name(), "no-relay");
  EXPECT_FALSE(one.is_closed());
  world_.run_for(10s);
  EXPECT_EQ(ask(one, two.id()).relays_size(), 1);
}

TEST_F(CoreRelayTest, AShareThatLiesFallsBehindAnHonestOne) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& liar = add(2, "liar");
  TestNode& honest = add(3, "honest");
  share(liar, UINT64_MAX);
  share(honest, 10'000'000);
  ASSERT_EQ(ask(one, two.id()).relays(0).node(), text(liar.id()));

  for (TestNode* end : {&one, &two}) {
    control::ClientMessage message;
    message.mutable_relay_report()->set_relay(text(liar.id()));
    message.mutable_relay_report()->set_bits_per_second(50'000);
    end->say(message);
  }

  EXPECT_EQ(ask(one, two.id()).relays(0).node(), text(honest.id()));
}

TEST_F(CoreRelayTest, ReportsAboutRelaysThatWereNotGrantedCountNothing) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& good = add(2, "good");
  share(good, 20'000'000);
  TestNode& rival = add(3, "rival");
  share(rival, 10'000'000);
  control::ClientMessage slander;
  slander.mutable_relay_report()->set_relay(text(good.id()));
  slander.mutable_relay_report()->set_is_unusable(true);
  rival.say(slander);

  EXPECT_EQ(ask(one, two.id()).relays(0).node(), text(good.id()));
}

TEST_F(CoreRelayTest, CountsRelaysThatGoWithoutAWord) {
  TestNode& polite = add(1, "polite");
  add(1, "rude");
  polite.leave();
  ASSERT_TRUE(run_until([&] { return server_.core().online_count() == 1; }));
  EXPECT_EQ(server_.core().broker().roster().unplanned_departures(), 0U);

  nodes_.back().reset();  // As when its power fails.
  ASSERT_TRUE(run_until([&] { return server_.core().session_count() == 0; }, 120s));
  EXPECT_EQ(server_.core().broker().roster().unplanned_departures(), 1U);
}

TEST_F(CoreRelayTest, ARemovedNodeLosesItsPermits) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  ASSERT_EQ(ask(one, two.id()).relays_size(), 1);
  ASSERT_EQ(server_.core().broker().permit_count(), 2U);

  ASSERT_TRUE(server_.records().remove(one.id(), SimulatedServer::kEpoch));
  server_.note_change();
  ASSERT_TRUE(run_until([&] { return one.is_closed(); }));
  EXPECT_EQ(server_.core().broker().permit_count(), 1U);
}

TEST_F(CoreRelayTest, ARelayIsToldWhenItWorksForNothing) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& relay = add(2, "relay");
  share(relay, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  const auto told = [&] { return relay.find(control::ServerMessage::kAccountSpent); };
  const auto carry = [&](std::uint64_t bytes) {
    send_receipt(relay, ticket, one, two, bytes);
    send_receipt(relay, ticket, two, one, 1);
    world_.run_for(CreditLedger::kBatchInterval + 1s);
    send_receipt(relay, ticket, one, two, bytes + 1);
    world_.run_for(1s);
  };

  carry(Core::kRelayAllowanceBytes + kDebtMaxBytes - 1'000);
  EXPECT_EQ(told(), nullptr) << "the debt is still credited";
  carry(Core::kRelayAllowanceBytes + kDebtMaxBytes + 1'000);

  ASSERT_NE(told(), nullptr);
  EXPECT_EQ(told()->account_spent().account(), std::string(as_text(ByteView(ticket.account))));
  EXPECT_EQ(one.find(control::ServerMessage::kAccountSpent), nullptr);
}

}  // namespace
}  // namespace openp2p::server
