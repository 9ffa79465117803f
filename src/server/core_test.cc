#include "server/core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "server/simulated_server.h"
#include "server/test_node.h"
#include "sim/internet.h"

/// The server as its clients see it: real sessions over a simulated internet, in virtual time.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;
using control::ClientMessage;
using control::ServerMessage;

class CoreTest : public testing::Test {
 protected:
  CoreTest() {
    (void)server_.new_token("admin", {});
    secret_ = server_.new_token("admin", {.is_reusable = true, .expires_at = {}}).secret;
  }

  TestNode& add_node(TestNode::Options options = {}) {
    hosts_.push_back(sim::make_public_host(internet_));
    return add_node_on(*hosts_.back(), options);
  }
  TestNode& add_node_on(sim::Host& host, TestNode::Options options = {}) {
    options.seed = 100 + nodes_.size();
    if (options.key_seed == 0) options.key_seed = 10'000 + nodes_.size();
    nodes_.push_back(std::make_unique<TestNode>(host, server_, options));
    return *nodes_.back();
  }
  TestNode& add_member(const std::string& name) {
    TestNode& node = add_node();
    node.join(secret_, name);
    EXPECT_TRUE(run_until([&] { return node.is_welcome(); })) << name;
    return node;
  }
  template <class Done>
  bool run_until(Done done, Duration patience = 30s) {
    return world_.run_until(done, world_.now() + patience);
  }
  void expect_refused(const Bytes& secret, control::Refused::Code code) {
    TestNode& node = add_node();
    node.join(secret, "node");
    ASSERT_TRUE(run_until([&] { return node.is_closed(); }));
    const ServerMessage* refused = node.find(ServerMessage::kRefused);
    ASSERT_NE(refused, nullptr) << node.close_reason().text;
    EXPECT_EQ(refused->refused().code(), code);
    EXPECT_FALSE(refused->refused().text().empty());
    EXPECT_EQ(node.close_reason().code, static_cast<std::uint64_t>(ControlEnd::kRefused));
  }
  static std::uint64_t code(ControlEnd end) { return static_cast<std::uint64_t>(end); }

  sim::World world_{1};
  sim::Internet internet_{world_};
  std::unique_ptr<sim::Host> server_host_ = sim::make_public_host(internet_);
  SimulatedServer server_{*server_host_, 7};
  Bytes secret_;
  std::vector<std::unique_ptr<sim::Host>> hosts_;
  std::vector<std::unique_ptr<TestNode>> nodes_;
};

TEST_F(CoreTest, WelcomesANodeThatJoinsAndOneThatComesBack) {
  TestNode& node = add_member("desk");
  const auto& welcome = node.find(ServerMessage::kWelcome)->welcome();
  EXPECT_EQ(welcome.name(), "desk");
  EXPECT_EQ(welcome.network_name(), "admin");
  EXPECT_EQ(welcome.stun_servers(0), server_.address().text());
  EXPECT_EQ(Address::parse(welcome.observed_address())->ip, *hosts_[0]->address(sim::Family::kV4));
  EXPECT_GE(welcome.server_time_us(), SimulatedServer::kEpoch.us);
  EXPECT_LE(world_.elapsed(), 200ms);  // Three round trips of 20 ms and a little.

  node.leave();
  ASSERT_TRUE(run_until([&] { return node.is_closed() && server_.core().session_count() == 0; }));
  node.heard.clear();
  node.join({}, "other");

  ASSERT_TRUE(run_until([&] { return node.is_welcome(); }));
  EXPECT_EQ(node.find(ServerMessage::kWelcome)->welcome().name(), "desk");
  EXPECT_EQ(server_.core().counters().joins, 1U);
}

TEST_F(CoreTest, TellsMembersOfEachOther) {
  TestNode& one = add_member("same");
  TestNode& two = add_member("same");

  EXPECT_TRUE(two.find(ServerMessage::kWelcome)->welcome().name_changed());
  EXPECT_EQ(two.find(ServerMessage::kWelcome)->welcome().name(), "same-2");
  ASSERT_TRUE(run_until([&] { return one.count(ServerMessage::kNodeChanged) == 1; }));
  EXPECT_EQ(one.find(ServerMessage::kNodeChanged)->node_changed().node().name(), "same-2");

  two.leave();
  ASSERT_TRUE(run_until([&] { return one.count(ServerMessage::kNodeChanged) == 2; }));
  EXPECT_FALSE(one.heard.back().node_changed().node().online());
  EXPECT_EQ(server_.records().find_node(two.id())->version, "1.0");
}

TEST_F(CoreTest, RefusesWhatIsNoGoodTokenAndSaysWhy) {
  const Bytes expired = server_
                            .new_token("admin", {.is_reusable = false,
                                                 .expires_at = {SimulatedServer::kEpoch.us + 1}})
                            .secret;
  const Bytes used = server_.new_token("admin", {}).secret;
  TestNode& first = add_node();
  first.join(used, "first");
  ASSERT_TRUE(run_until([&] { return first.is_welcome(); }));

  expect_refused(used, control::Refused::TOKEN_USED);
  expect_refused(expired, control::Refused::TOKEN_EXPIRED);
  expect_refused(Bytes(16, std::byte{9}), control::Refused::TOKEN_INVALID);
  expect_refused({}, control::Refused::NOT_A_MEMBER);
  EXPECT_TRUE(run_until([&] { return server_.core().session_count() == 1; }));
}

TEST_F(CoreTest, RefusesANameThatIsATrap) {
  TestNode& node = add_node();
  node.join(secret_, "a\x1b[2Jb");
  ASSERT_TRUE(run_until([&] { return node.is_closed(); }));
  ASSERT_NE(node.find(ServerMessage::kRefused), nullptr);
  EXPECT_EQ(node.find(ServerMessage::kRefused)->refused().code(), control::Refused::NAME_INVALID);
  EXPECT_FALSE(server_.records().find_node(node.id()));
}

TEST_F(CoreTest, SaysWhenItsDiskIsFullAndRecovers) {
  server_.records().set_full(true);
  expect_refused(secret_, control::Refused::UNAVAILABLE);
  server_.records().set_full(false);
  add_member("later");
}

TEST_F(CoreTest, CarriesSignalsWithinANetworkOnly) {
  const User other{.email = "b@example.org",
                   .password_hash = {},
                   .network = {std::byte{2}},
                   .network_name = "b",
                   .created_at = {}};
  ASSERT_TRUE(server_.records().create_user(other));
  TestNode& one = add_member("one");
  TestNode& two = add_member("two");
  TestNode& stranger = add_node();
  stranger.join(server_.new_token("b@example.org", {}).secret, "stranger");
  ASSERT_TRUE(run_until([&] { return stranger.is_welcome(); }));

  one.signal(two.id(), "knock", 41);
  one.signal(stranger.id(), "knock", 42);
  one.signal(NodeId{}, "knock", 43);
  ASSERT_TRUE(run_until([&] {
    return two.find(ServerMessage::kSignal) && one.count(ServerMessage::kSignalFailed) == 2;
  }));

  const auto& signal = two.find(ServerMessage::kSignal)->signal();
  EXPECT_EQ(signal.body(), "knock");
  EXPECT_EQ(signal.number(), 41U);
  EXPECT_EQ(signal.node(), as_text(one.id().key));
  EXPECT_EQ(one.find(ServerMessage::kSignalFailed)->signal_failed().code(),
            control::SignalFailed::NO_SUCH_NODE);
  EXPECT_EQ(one.find(ServerMessage::kSignalFailed)->signal_failed().number(), 42U);
  EXPECT_EQ(stranger.find(ServerMessage::kSignal), nullptr);

  two.leave();
  ASSERT_TRUE(run_until([&] { return two.is_closed(); }));
  world_.run_for(1s);
  one.signal(two.id(), "knock", 44);
  ASSERT_TRUE(run_until([&] { return one.count(ServerMessage::kSignalFailed) == 3; }));
  EXPECT_EQ(one.heard.back().signal_failed().code(), control::SignalFailed::OFFLINE);
}

TEST_F(CoreTest, HoldsTheRateOfSignals) {
  TestNode& one = add_member("one");
  TestNode& two = add_member("two");

  for (int i = 0; i < 400; ++i) one.signal(two.id(), "knock");
  world_.run_for(2s);

  EXPECT_GE(two.count(ServerMessage::kSignal), 200U);
  EXPECT_LE(two.count(ServerMessage::kSignal), 330U);
  EXPECT_EQ(two.count(ServerMessage::kSignal) + one.count(ServerMessage::kSignalFailed), 400U);
  EXPECT_EQ(one.find(ServerMessage::kSignalFailed)->signal_failed().code(),
            control::SignalFailed::TOO_MANY);
}

TEST_F(CoreTest, AnswersPingsAndRenames) {
  TestNode& one = add_member("one");
  TestNode& two = add_member("two");
  ClientMessage ping;
  ping.mutable_ping()->set_number(9);
  ClientMessage rename;
  rename.mutable_rename()->set_name("two");

  one.say(ping);
  one.say(rename);
  ASSERT_TRUE(run_until([&] {
    return one.find(ServerMessage::kPong) && two.find(ServerMessage::kNodeChanged) &&
           one.count(ServerMessage::kNodeChanged) == 2;
  }));

  EXPECT_EQ(one.find(ServerMessage::kPong)->pong().number(), 9U);
  EXPECT_FALSE(one.find(ServerMessage::kPong)->pong().observed_address().empty());
  EXPECT_EQ(two.find(ServerMessage::kNodeChanged)->node_changed().node().name(), "two-2");
  EXPECT_EQ(one.heard.back().node_changed().node().name(), "two-2");
}

TEST_F(CoreTest, ClosesARemovedNodeWithinTwoSeconds) {
  TestNode& one = add_member("one");
  TestNode& two = add_member("two");

  ASSERT_TRUE(server_.records().remove(two.id(), SimulatedServer::kEpoch));
  server_.note_change();

  ASSERT_TRUE(run_until([&] { return two.is_closed(); }, 2s));
  EXPECT_EQ(two.close_reason().code, code(ControlEnd::kRemoved));
  EXPECT_NE(two.close_reason().text.find("removed"), std::string::npos);
  ASSERT_TRUE(run_until([&] { return one.find(ServerMessage::kNodeRemoved) != nullptr; }));
  two.heard.clear();
  two.join({}, "two");
  ASSERT_TRUE(run_until([&] { return two.find(ServerMessage::kRefused) != nullptr; }));
}

TEST_F(CoreTest, ReplacesTheOlderSessionOfANode) {
  TestNode& watcher = add_member("watcher");
  TestNode& old = add_node({.key_seed = 55});
  old.join(secret_, "twin", 1);
  ASSERT_TRUE(run_until([&] { return old.is_welcome(); }));
  TestNode& fresh = add_node({.key_seed = 55});
  ASSERT_EQ(fresh.id(), old.id());

  fresh.join({}, "twin", 2);

  ASSERT_TRUE(run_until([&] { return fresh.is_welcome() && old.is_closed(); }));
  EXPECT_EQ(old.close_reason().code, code(ControlEnd::kReplaced));
  world_.run_for(1s);
  EXPECT_TRUE(watcher.heard.back().node_changed().node().online());
  EXPECT_EQ(watcher.heard.back().node_changed().node().incarnation(), 2U);
  watcher.signal(fresh.id(), "knock");
  EXPECT_TRUE(run_until([&] { return fresh.find(ServerMessage::kSignal) != nullptr; }));
}

TEST_F(CoreTest, ClosesWhoSaysNothingOrNonsense) {
  TestNode& silent = add_node();
  silent.dial();
  TestNode& garbled = add_node();
  garbled.dial();
  TestNode& impatient = add_node();
  impatient.dial();
  TestNode& oversized = add_node();
  oversized.dial();
  ASSERT_TRUE(run_until([&] {
    return std::ranges::all_of(nodes_, [](const auto& node) { return node->is_established(); });
  }));

  garbled.say_bytes(as_bytes("\x0a\xff"));
  impatient.signal(silent.id(), "knock");
  oversized.write(Bytes(4, std::byte{0xff}));
  ASSERT_TRUE(run_until(
      [&] { return garbled.is_closed() && impatient.is_closed() && oversized.is_closed(); }, 1s));
  EXPECT_EQ(garbled.close_reason().code, code(ControlEnd::kProtocol));
  EXPECT_EQ(impatient.close_reason().code, code(ControlEnd::kProtocol));
  EXPECT_EQ(oversized.close_reason().code, code(ControlEnd::kProtocol));

  EXPECT_FALSE(silent.is_closed());
  ASSERT_TRUE(run_until([&] { return silent.is_closed(); }, Core::kHelloTimeout));
  EXPECT_EQ(silent.close_reason().code, code(ControlEnd::kNoHello));
  EXPECT_TRUE(run_until([&] { return server_.core().session_count() == 0; }));
}

TEST_F(CoreTest, ClosesWhoOpensMoreStreamsOrSaysHelloTwice) {
  TestNode& many = add_member("many");
  TestNode& twice = add_member("twice");

  many.open_another_stream();
  twice.say(TestNode::hello(secret_, "x"));

  ASSERT_TRUE(run_until([&] { return many.is_closed() && twice.is_closed(); }, 1s));
  EXPECT_EQ(many.close_reason().code, code(ControlEnd::kProtocol));
  EXPECT_EQ(twice.close_reason().code, code(ControlEnd::kProtocol));
}

TEST_F(CoreTest, ClosesAFloodOfMessages) {
  TestNode& node = add_member("node");
  ClientMessage ping;
  ping.mutable_ping()->set_number(1);
  for (int i = 0; i < 2'000; ++i) node.say(ping);

  ASSERT_TRUE(run_until([&] { return node.is_closed(); }, 5s));

  EXPECT_EQ(node.close_reason().code, code(ControlEnd::kTooMuch));
}

TEST_F(CoreTest, ClosesWhoDoesNotReadAndSparesTheOthers) {
  TestNode& slow = add_node({.window_bytes = 16'384});
  slow.join(secret_, "slow");
  ASSERT_TRUE(run_until([&] { return slow.is_welcome(); }));
  TestNode& talker = add_member("talker");
  slow.stop_reading();

  // Signals stop at a low mark ...
  const std::string body(kSignalBodyBytesMax, 'b');
  for (int i = 0; i < 100; ++i) {
    talker.signal(slow.id(), body);
    world_.run_for(20ms);
  }
  EXPECT_GT(talker.count(ServerMessage::kSignalFailed), 10U);
  EXPECT_EQ(talker.find(ServerMessage::kSignalFailed)->signal_failed().code(),
            control::SignalFailed::TOO_MANY);
  EXPECT_FALSE(slow.is_closed());

  // ... while what every member must hear fills the queue at last.
  for (int i = 0; i < 20'000 && !slow.is_closed(); ++i) {
    ClientMessage rename;
    rename.mutable_rename()->set_name(std::string(60, 't') + std::to_string(i % 2));
    talker.say(rename);
    world_.run_for(5ms);
  }
  ASSERT_TRUE(slow.is_closed());
  EXPECT_EQ(slow.close_reason().code, code(ControlEnd::kTooSlow));
  EXPECT_FALSE(talker.is_closed());
}

TEST_F(CoreTest, LimitsSilentSessionsOfOneAddress) {
  // All from one host, as from one NAT.
  hosts_.push_back(sim::make_public_host(internet_));
  constexpr std::size_t kMore = 10;
  for (std::size_t i = 0; i < Core::kSilentPerAddressMax + kMore; ++i) {
    add_node_on(*hosts_.back()).dial();
  }
  world_.run_for(3s);

  const auto closed = std::ranges::count_if(nodes_, [](const auto& n) { return n->is_closed(); });
  EXPECT_EQ(closed, static_cast<std::ptrdiff_t>(kMore));
  for (const auto& node : nodes_) {
    if (!node->is_closed()) continue;
    EXPECT_EQ(node->close_reason().code, code(ControlEnd::kTooMuch));
  }
  TestNode& elsewhere = add_member("elsewhere");
  EXPECT_FALSE(elsewhere.is_closed());
}

TEST_F(CoreTest, ForgetsNothingAcknowledgedInACrash) {
  TestNode& one = add_member("one");
  server_.crash();
  server_.start();
  one.heard.clear();

  hosts_.push_back(sim::make_public_host(internet_));
  ASSERT_TRUE(run_until([&] { return one.is_closed(); }, 120s));  // Noticed by silence or a reset.
  one.join({}, "one");
  ASSERT_TRUE(run_until([&] { return one.is_welcome(); }));
  EXPECT_EQ(one.find(ServerMessage::kWelcome)->welcome().name(), "one");
}

TEST_F(CoreTest, ClosesSessionsWhenItStops) {
  TestNode& one = add_member("one");
  server_.stop();
  ASSERT_TRUE(run_until([&] { return one.is_closed(); }, 1s));
  EXPECT_EQ(one.close_reason().code, code(ControlEnd::kStopping));
}

TEST_F(CoreTest, AnswersStun) {
  sim::Host& host = *hosts_.emplace_back(sim::make_public_host(internet_));
  sim::UdpSocket& socket = host.open_udp();
  std::size_t answers = 0;
  socket.on_receive([&](const Address& from, ByteView datagram, TimePoint) {
    EXPECT_EQ(from, server_.address());
    answers += datagram.size() > 20 && datagram[0] == std::byte{1} ? 1 : 0;
  });
  Bytes request(20);
  request[1] = std::byte{1};  // A Binding request (RFC 8489 section 5), no attributes.
  const Bytes cookie = {std::byte{0x21}, std::byte{0x12}, std::byte{0xa4}, std::byte{0x42}};
  std::ranges::copy(cookie, request.begin() + 4);

  socket.send(server_.address(), request);

  EXPECT_TRUE(run_until([&] { return answers == 1; }, 1s));
}

TEST_F(CoreTest, SleepsWhenNobodyIsOnline) {
  TestNode& one = add_member("one");
  one.leave();
  ASSERT_TRUE(run_until([&] { return server_.core().session_count() == 0; }));
  world_.run_for(1min);
  EXPECT_FALSE(server_.core().next_timeout());
}

}  // namespace
}  // namespace openp2p::server
