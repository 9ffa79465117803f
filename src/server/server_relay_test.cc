#include "server/server_relay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "relay/relay_client.h"
#include "server/simulated_server.h"
#include "server/test_node.h"
#include "sim/internet.h"

/// The server as a relay, over real control sessions in a simulated internet.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using control::ServerMessage;

/// A node's side: its control session's second stream, and what comes through.
class RelayUser final : public relay::RelayClientHandler {
 public:
  RelayUser(sim::World& world, TestNode& node, const IdentityKey& key)
      : world_(world), node_(node) {
    hop_ = std::make_unique<relay::Hop>(*node.session());
    client_ = std::make_unique<relay::RelayClient>(*hop_, key, *this);
    const auto stream = client_->open();
    CHECK(stream);
    node.use(*stream, *client_);
    node.poke();
  }
  void allocate(const NodeId& peer, const control::Relay& relay) {
    CHECK(client_->allocate(peer, *relay::decode_ticket(as_bytes(relay.ticket()))));
    node_.poke();
  }
  std::size_t send(ByteView datagram) {
    const std::size_t sent = client_->send(*channel, datagram, datagram.size());
    node_.poke();
    return sent;
  }
  /// Before the node goes.
  void drop() {
    node_.stop_using();
    if (node_.session() == nullptr && hop_) hop_->on_session_lost();
    client_.reset();
    hop_.reset();
  }

  TimePoint now() const override { return world_.now(); }
  void on_allocated(relay::RelayClient&, std::uint64_t,
                    const relay::AllocatedMessage& allocated) override {
    channel = allocated.channel;
    is_joined = allocated.is_peer_there;
  }
  void on_refused(relay::RelayClient&, const relay::RefusedMessage& why) override {
    refusals.push_back(why.code);
  }
  void on_joined(relay::RelayClient&, relay::Channel) override { is_joined = true; }
  void on_left(relay::RelayClient&, relay::Channel, std::string_view) override {
    is_joined = false;
    ++left;
  }
  void on_relayed(relay::RelayClient&, relay::Channel, MutableByteView datagram,
                  TimePoint) override {
    received.push_back(std::string(as_text(datagram)));
    received_bytes += datagram.size();
  }
  void on_letter(relay::RelayClient&, const NodeId&, ByteView) override {}
  void on_letter_failed(relay::RelayClient&, const NodeId&) override {}
  void on_relay_lost(relay::RelayClient&) override { is_lost = true; }

  std::optional<relay::Channel> channel;
  std::vector<std::string> received;
  std::uint64_t received_bytes = 0;
  std::vector<relay::RefusalCode> refusals;
  int left = 0;
  bool is_joined = false;
  bool is_lost = false;

 private:
  sim::World& world_;
  TestNode& node_;
  std::unique_ptr<relay::Hop> hop_;
  std::unique_ptr<relay::RelayClient> client_;
};

class ServerRelayTest : public testing::Test {
 public:
  ~ServerRelayTest() override {
    for (const auto& user : users_) user->drop();
  }

 protected:
  static constexpr std::uint64_t kRelayBits = 10'000'000;

  ServerRelayTest() {
    server_.crash();
    server_.set_relay(kRelayBits);
    server_.start();
    token_ = server_.new_token("admin", {.is_reusable = true, .expires_at = {}}).secret;
    one_ = &add("one");
    two_ = &add("two");
  }
  TestNode& add(const std::string& name) {
    hosts_.push_back(sim::make_public_host(internet_));
    const std::uint64_t seed = 800 + nodes_.size();
    keys_.push_back(std::make_unique<IdentityKey>(make_key(seed)));
    nodes_.push_back(std::make_unique<TestNode>(*hosts_.back(), server_,
                                                TestNode::Options{.key_seed = seed, .seed = seed}));
    nodes_.back()->join(token_, name);
    EXPECT_TRUE(run_until([&] { return nodes_.back()->is_welcome(); }));
    return *nodes_.back();
  }
  RelayUser& use_relay(TestNode& node) {
    const auto key =
        std::ranges::find_if(keys_, [&](const auto& k) { return k->id() == node.id(); });
    return *users_.emplace_back(std::make_unique<RelayUser>(world_, node, **key));
  }
  template <class Done>
  bool run_until(Done done, Duration patience = 30s) {
    return world_.run_until(done, world_.now() + patience);
  }
  control::Relay granted(TestNode& asker, const TestNode& peer) {
    control::ClientMessage message;
    message.mutable_relay_wish()->set_peer(std::string(as_text(peer.id().key)));
    message.mutable_relay_wish()->set_number(++number_);
    asker.say(message);
    const auto is_answer = [&](const ServerMessage& m) {
      return m.relay_grant().number() == number_;
    };
    EXPECT_TRUE(run_until([&] { return std::ranges::any_of(asker.heard, is_answer); }));
    const auto grant = std::ranges::find_if(asker.heard, is_answer)->relay_grant();
    EXPECT_GE(grant.relays_size(), 1) << grant.reason();  // The server stands last.
    return grant.relays_size() == 0 ? control::Relay() : grant.relays(grant.relays_size() - 1);
  }
  std::pair<RelayUser*, RelayUser*> join_pair(TestNode& one, TestNode& two) {
    const control::Relay relay = granted(one, two);
    RelayUser& a = use_relay(one);
    RelayUser& b = use_relay(two);
    a.allocate(two.id(), relay);
    b.allocate(one.id(), relay);
    EXPECT_TRUE(run_until([&] { return a.is_joined && b.is_joined; }));
    return {&a, &b};
  }

  sim::World world_{1};
  sim::Internet internet_{world_};
  std::unique_ptr<sim::Host> server_host_ = sim::make_public_host(internet_);
  SimulatedServer server_{*server_host_, 7};
  Bytes token_;
  std::vector<std::unique_ptr<sim::Host>> hosts_;
  std::vector<std::unique_ptr<IdentityKey>> keys_;
  std::vector<std::unique_ptr<TestNode>> nodes_;
  std::vector<std::unique_ptr<RelayUser>> users_;
  TestNode* one_ = nullptr;
  TestNode* two_ = nullptr;
  std::uint64_t number_ = 0;
};

TEST_F(ServerRelayTest, IsGrantedAsTheServerAndCarriesBothWays) {
  const control::Relay relay = granted(*one_, *two_);
  EXPECT_EQ(relay.kind(), control::Relay::SERVER);
  EXPECT_EQ(relay.node(), as_text(server_.key().key));
  EXPECT_EQ(relay.bits_per_second(), kRelayBits);
  EXPECT_GT(relay.rtt_sum_us(), 0U);

  const auto [a, b] = join_pair(*one_, *two_);
  EXPECT_EQ(a->send(as_bytes("there")), 1U);
  EXPECT_EQ(b->send(as_bytes("back")), 1U);
  ASSERT_TRUE(
      run_until([a = a, b = b] { return a->received.size() == 1 && b->received.size() == 1; }));
  EXPECT_EQ(b->received[0], "there");
  EXPECT_EQ(a->received[0], "back");
  EXPECT_EQ(server_.core().relay()->service().allocation_count(), 1U);

  // The control stream beside it works on.
  one_->signal(two_->id(), "knock");
  EXPECT_TRUE(run_until([&] { return two_->find(ServerMessage::kSignal); }));
}

TEST_F(ServerRelayTest, CarriesInnerPacketsOf1200Bytes) {
  const auto [a, b] = join_pair(*one_, *two_);
  const std::string packet(1'200, 'q');
  EXPECT_EQ(a->send(as_bytes(packet)), 1U);
  ASSERT_TRUE(run_until([&, user = b] { return user->received.size() == 1; }));
  EXPECT_EQ(b->received[0], packet);
}

TEST_F(ServerRelayTest, HoldsItsCap) {
  const auto [a, b] = join_pair(*one_, *two_);
  const Bytes packet(1'200);
  const TimePoint start = world_.now();
  while (world_.now() < start + 4s) {  // 20 Mbit/s where 10 are allowed.
    a->send(packet);
    world_.run_for(480us);
  }
  const double seconds = std::chrono::duration<double>(world_.now() - start).count();
  const double mbit = static_cast<double>(b->received_bytes) * 8 / seconds / 1e6;
  EXPECT_LE(mbit, 10.0);
  EXPECT_GE(mbit, 9.0);
  EXPECT_GT(server_.core().relay()->service().counters().dropped_cap, 100U);
}

TEST_F(ServerRelayTest, TellsTheOtherEndWhenASessionIsLost) {
  const auto [a, b] = join_pair(*one_, *two_);
  ASSERT_EQ(server_.core().relay()->hop_count(), 2U);
  users_[0]->drop();
  one_->leave();
  ASSERT_TRUE(run_until([&, user = b] { return user->left == 1; }));
  EXPECT_TRUE(run_until([&] { return server_.core().relay()->hop_count() == 1; }));
  EXPECT_EQ(server_.core().relay()->service().allocation_count(), 0U);
}

TEST_F(ServerRelayTest, LetsNobodyInWithoutAGoodTicket) {
  TestNode& third = add("third");
  auto relay = granted(*one_, *two_);  // Names the third node too, so take the server's own ticket.
  RelayUser& thief = use_relay(third);
  thief.allocate(two_->id(), relay);  // Stolen.
  ASSERT_TRUE(run_until([&] { return thief.refusals.size() == 1; }));
  EXPECT_EQ(thief.refusals[0], relay::RefusalCode::kTicketInvalid);

  std::string forged = relay.ticket();
  forged.back() = static_cast<char>(forged.back() ^ 1);
  control::Relay wrong = relay;
  wrong.set_ticket(forged);
  RelayUser& end = use_relay(*one_);
  end.allocate(two_->id(), wrong);
  ASSERT_TRUE(run_until([&] { return end.refusals.size() == 1; }));
  EXPECT_EQ(server_.core().relay()->service().allocation_count(), 0U);
  EXPECT_FALSE(third.is_closed());
}

TEST_F(ServerRelayTest, CostsNothingUntilItIsUsed) {
  EXPECT_EQ(server_.core().relay()->hop_count(), 0U);
  one_->leave();
  two_->leave();
  ASSERT_TRUE(run_until([&] { return server_.core().session_count() == 0; }));
  world_.run_for(1min);
  EXPECT_FALSE(server_.core().next_timeout());
}

TEST_F(ServerRelayTest, AStopEndsWhatItCarries) {
  const auto [a, b] = join_pair(*one_, *two_);
  server_.stop();
  ASSERT_TRUE(run_until([&, x = a, y = b] { return x->is_lost && y->is_lost; }));
}

TEST_F(ServerRelayTest, ASecondStreamThatIsNoRelaysIsCut) {
  const auto stream = one_->session()->open_stream();
  ASSERT_TRUE(stream);
  one_->session()->write(*stream, as_bytes("\x01garbage garbage garbage"));
  one_->poke();
  ASSERT_TRUE(
      run_until([&] { return server_.core().relay()->service().counters().malformed == 1; }));
  EXPECT_FALSE(one_->is_closed());
}

}  // namespace
}  // namespace openp2p::server
