#include <gtest/gtest.h>

#include <algorithm>

#include "relay/receipt.h"
#include "server/simulated_server.h"
#include "server/test_node.h"
#include "sim/internet.h"

/// Relays as clients see them: real sessions over a simulated internet, in virtual time.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using control::ClientMessage;
using control::ServerMessage;

std::string text(const NodeId& node) { return std::string(as_text(node.key)); }

class CoreRelayTest : public testing::Test {
 protected:
  CoreRelayTest() {
    for (int number = 1; number <= 3; ++number) {
      const std::string email = "u" + std::to_string(number) + "@example.org";
      EXPECT_TRUE(server_.records().create_user({.email = email,
                                                 .password_hash = {},
                                                 .network = {std::byte(number)},
                                                 .network_name = {},
                                                 .created_at = {}}));
      tokens_.push_back(server_.new_token(email, {.is_reusable = true, .expires_at = {}}).secret);
    }
  }
  /// A node of network 1, 2 or 3.
  TestNode& add(std::size_t network, const std::string& name) {
    hosts_.push_back(sim::make_public_host(internet_));
    const std::uint64_t seed = 500 + nodes_.size();
    keys_.push_back(make_key(seed));
    nodes_.push_back(std::make_unique<TestNode>(*hosts_.back(), server_,
                                                TestNode::Options{.key_seed = seed, .seed = seed}));
    nodes_.back()->join(tokens_[network - 1], name);
    EXPECT_TRUE(run_until([&] { return nodes_.back()->is_welcome(); })) << name;
    return *nodes_.back();
  }
  const IdentityKey& key_of(const TestNode& node) const {
    return *std::ranges::find(keys_, node.id(), &IdentityKey::id);
  }
  template <class Done>
  bool run_until(Done done, Duration patience = 30s) {
    return world_.run_until(done, world_.now() + patience);
  }
  static void share(TestNode& node, std::uint64_t bits) {
    ClientMessage message;
    message.mutable_share_offer()->set_bits_per_second(bits);
    message.mutable_share_offer()->set_is_reachable(true);
    node.say(message);
  }
  static control::RelayWish wish_for(const NodeId& peer, std::uint64_t number) {
    control::RelayWish wish;
    wish.set_peer(text(peer));
    wish.set_number(number);
    return wish;
  }
  static void wish(TestNode& node, const control::RelayWish& wish) {
    ClientMessage message;
    *message.mutable_relay_wish() = wish;
    node.say(message);
  }
  /// The answer to this wish.
  control::RelayGrant ask(TestNode& node, const control::RelayWish& wanted) {
    wish(node, wanted);
    const ServerMessage* answer = nullptr;
    EXPECT_TRUE(run_until([&] { return answer = grant_of(node, wanted.number()); }));
    return answer == nullptr ? control::RelayGrant() : answer->relay_grant();
  }
  control::RelayGrant ask(TestNode& node, const NodeId& peer) {
    return ask(node, wish_for(peer, ++number_));
  }
  static const ServerMessage* grant_of(const TestNode& node, std::uint64_t number) {
    const auto last = std::find_if(node.heard.rbegin(), node.heard.rend(), [&](const auto& m) {
      return m.has_relay_grant() && m.relay_grant().number() == number;
    });
    return last == node.heard.rend() ? nullptr : &*last;
  }
  static relay::Ticket ticket_of(const control::Relay& relay) {
    return *relay::decode_ticket(as_bytes(relay.ticket()));
  }
  static relay::TicketSecret secret_of(const TestNode& node) {
    relay::TicketSecret secret{};
    const std::string& told = node.find(ServerMessage::kRelaySecret)->relay_secret().secret();
    EXPECT_EQ(told.size(), secret.size());
    std::ranges::copy(as_bytes(told), secret.begin());
    return secret;
  }
  static relay::TicketScope scope(const TestNode& relay, const TestNode& one,
                                  const TestNode& other) {
    return {.relay = relay.id(), .one = one.id(), .other = other.id()};
  }
  WallTime server_now() const { return SimulatedCore::moment(world_.now()).wall; }

  /// `end` signs that it received so much; the relay passes it on.
  void send_receipt(TestNode& relay, const relay::Ticket& ticket, const TestNode& end,
                    const TestNode& peer, std::uint64_t bytes) {
    const relay::SignedReceipt made = relay::sign(
        {.ticket = ticket, .relay = relay.id(), .end = end.id(), .peer = peer.id(), .bytes = bytes},
        key_of(end));
    ClientMessage message;
    message.mutable_receipt()->set_body(std::string(as_text(made.body)));
    message.mutable_receipt()->set_signature(std::string(as_text(made.signature)));
    relay.say(message);
  }
  control::Credit credit_of(TestNode& node) {
    ClientMessage message;
    message.mutable_credit_query()->set_number(++number_);
    node.say(message);
    const auto is_answer = [&](const ServerMessage& m) {
      return m.has_credit() && m.credit().number() == number_;
    };
    EXPECT_TRUE(run_until([&] { return std::ranges::any_of(node.heard, is_answer); }));
    const auto found = std::ranges::find_if(node.heard, is_answer);
    return found == node.heard.end() ? control::Credit() : found->credit();
  }

  sim::World world_{1};
  sim::Internet internet_{world_};
  std::unique_ptr<sim::Host> server_host_ = sim::make_public_host(internet_);
  SimulatedServer server_{*server_host_, 7};
  std::vector<Bytes> tokens_;
  std::vector<std::unique_ptr<sim::Host>> hosts_;
  std::vector<IdentityKey> keys_;
  std::vector<std::unique_ptr<TestNode>> nodes_;
  std::uint64_t number_ = 100;
};

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

TEST_F(CoreRelayTest, CreditsWhatBothEndsSignedAndNothingTwice) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  constexpr std::uint64_t kMiB = 1 << 20;

  for (int copies = 0; copies < 3; ++copies) {
    send_receipt(stranger, ticket, one, two, 90 * kMiB);
    send_receipt(stranger, ticket, two, one, 10 * kMiB);
    send_receipt(stranger, ticket, one, two, 40 * kMiB);  // Falling: does nothing.
  }
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  auto lent = credit_of(stranger);
  EXPECT_EQ(lent.lent_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.lent_here_bytes(), 100 * kMiB);
  EXPECT_EQ(lent.borrowed_bytes(), 0U);
  EXPECT_EQ(lent.allowance_bytes(), Core::kRelayAllowanceBytes + 100 * kMiB);
  EXPECT_TRUE(lent.may_borrow());
  const auto borrowed = credit_of(one);
  EXPECT_EQ(borrowed.borrowed_bytes(), 100 * kMiB);
  EXPECT_EQ(borrowed.lent_bytes(), 0U);
  EXPECT_EQ(borrowed.allowance_bytes(), Core::kRelayAllowanceBytes - 100 * kMiB);

  // After a restart the same receipts are still worth nothing.
  server_.crash();
  server_.start();
  ASSERT_TRUE(run_until([&] { return stranger.is_closed(); }, 120s));
  stranger.heard.clear();
  stranger.come_back();
  ASSERT_TRUE(run_until([&] { return stranger.is_welcome(); }));
  send_receipt(stranger, ticket, one, two, 90 * kMiB);
  send_receipt(stranger, ticket, two, one, 11 * kMiB);
  world_.run_for(CreditLedger::kBatchInterval + 1s);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 101 * kMiB);
}

TEST_F(CoreRelayTest, WhoBorrowedAllThatItMayIsToldHowToLend) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  send_receipt(stranger, ticket, one, two, Core::kRelayAllowanceBytes);
  send_receipt(stranger, ticket, two, one, 1);
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  const auto refused = ask(one, two.id());
  EXPECT_EQ(refused.reason_name(), "no-credit");
  EXPECT_EQ(refused.relays_size(), 0);
  EXPECT_NE(refused.reason().find("openp2p up --share"), std::string::npos);
  EXPECT_FALSE(credit_of(one).may_borrow());
  EXPECT_EQ(credit_of(one).allowance_bytes(), 0U);
  EXPECT_EQ(credit_of(one).reason(), refused.reason());
}

TEST_F(CoreRelayTest, BeyondTheAllowanceOnlyWhoSharesMayBorrow) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  {  // Network 1 has lent a lot, and has used its allowance.
    TestNode& borrower = add(2, "borrower");
    TestNode& borrower_too = add(3, "other");
    (void)borrower_too;
    share(one, 10'000'000);
    TestNode& peer = stranger;
    const auto grant = ask(borrower, peer.id());
    ASSERT_EQ(grant.relays_size(), 1) << grant.reason();
    const auto lent = ticket_of(grant.relays(0));
    ASSERT_EQ(grant.relays(0).node(), text(one.id()));
    send_receipt(one, lent, borrower, peer, 500 << 20);
    send_receipt(one, lent, peer, borrower, 1);
  }
  auto wanted = wish_for(two.id(), 1);
  wanted.add_only(text(stranger.id()));
  const auto ticket = ticket_of(ask(one, wanted).relays(0));
  send_receipt(stranger, ticket, one, two, Core::kRelayAllowanceBytes);
  send_receipt(stranger, ticket, two, one, 1);
  world_.run_for(CreditLedger::kBatchInterval + 1s);

  wanted.set_number(2);
  EXPECT_EQ(ask(one, wanted).relays_size(), 1);  // It shares, and has credit.
  one.leave();
  ASSERT_TRUE(run_until([&] { return one.is_closed(); }));
  one.heard.clear();
  one.come_back();  // Without sharing, this time.
  ASSERT_TRUE(run_until([&] { return one.is_welcome(); }));
  wanted.set_number(3);
  const auto refused = ask(one, wanted);
  EXPECT_EQ(refused.reason_name(), "not-sharing");
  EXPECT_EQ(refused.relays_size(), 0);
}

TEST_F(CoreRelayTest, AFloodOfWishesIsLimitedAndHurtsNobodyElse) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  add(1, "third");
  TestNode& other = add(2, "other");
  TestNode& others_peer = add(2, "peer");
  for (int i = 0; i < 900; ++i)
    wish(one, wish_for(two.id(), static_cast<std::uint64_t>(1'000 + i)));
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
    ClientMessage message;
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
  ClientMessage slander;
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

TEST_F(CoreRelayTest, AFullDiskDelaysCreditsAndLosesNone) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  server_.records().set_full(true);
  send_receipt(stranger, ticket, one, two, 1'000);
  send_receipt(stranger, ticket, two, one, 1'000);
  world_.run_for(3 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 0U);

  server_.records().set_full(false);
  world_.run_for(2 * CreditLedger::kBatchInterval);
  EXPECT_EQ(credit_of(stranger).lent_bytes(), 2'000U);
}

TEST_F(CoreRelayTest, AStopWritesWhatWaits) {
  TestNode& one = add(1, "one");
  TestNode& two = add(1, "two");
  TestNode& stranger = add(2, "stranger");
  share(stranger, 10'000'000);
  const auto ticket = ticket_of(ask(one, two.id()).relays(0));
  send_receipt(stranger, ticket, one, two, 1'000);
  send_receipt(stranger, ticket, two, one, 1'000);
  ASSERT_TRUE(run_until([&] { return server_.core().ledger().counters().taken == 2; }));

  server_.stop();

  EXPECT_EQ(server_.records().find_account({std::byte{2}})->lent_bytes, 2'000U);
}

}  // namespace
}  // namespace openp2p::server
