// Whole nodes and relays that lie, break or are abused: by strangers with a real grant, by nodes
// that share and do not carry, by restarts in any order and clocks that are years wrong.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "forward/open_message.h"
#include "relay/relay_client.h"
#include "test/world/hostile_peer.h"
#include "test/world/relay_world.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using relay::RefusalCode;

/// A file through the forward of the laptop's.
void expect_forward_works(RelayWorld& net, Duration patience = 60s) {
  Application client(*net.a.platform().connect(RelayWorld::kLocal), Bytes(10));
  ASSERT_TRUE(net.run_until([&] { return client.is_done(); }, patience))
      << net.seen_by_a().reason << "; " << net.seen_by_a().relay_reason;
  EXPECT_EQ(client.received.size(), 20'000U)
      << net.a.node().forwards().front().reason << "; " << net.seen_by_a().relay_reason << "\n"
      << net.log.text();
}

struct ReadyWorld : RelayWorld {
  ReadyWorld(std::uint64_t seed, const Options& options) : RelayWorld(seed, options) {
    serve(random_bytes(world.random(), 20'000));
    CHECK(join());
    CHECK(!a.forward("web", "nas", kService, kLocal));
  }
};

RelayWorld::Options with_stranger(unsigned server_mbit = 0) {
  RelayWorld::Options options;
  options.has_stranger = true;
  options.server_mbit = server_mbit;
  return options;
}

/// Laptop and nas borrow a stranger's relay, and so does eve, who is of their network: the grant
/// that she has is genuine.
struct Abused : testing::Test {
  Abused()
      : net(1, with_stranger()),
        host(sim::make_public_host(net.internet)),
        eve(*host, 4711, net.server.new_token("admin", {.is_reusable = false, .expires_at = {}})) {
    net.stranger.platform().serve(RelayWorld::kService, [this](sim::PipeEnd&) { ++dialed; });
    CHECK(net.run_until([&] { return eve.is_connected_to_server(); }, 30s));
    eve.wish(net.b.id(), net.stranger.id());
    CHECK(net.run_until([&] { return eve.grant && !eve.grant->relays.empty(); }, 10s));
    CHECK(eve.grant->relays.front().id == net.stranger.id());
    eve.reach(net.stranger.id());
    CHECK(net.run_until([&] { return eve.session() != nullptr; }, 30s));
  }
  void run_for(Duration time) {
    eve.poke();
    net.world.run_for(time);
  }
  agent::RelayRefusals refusals() {
    std::optional<agent::RelayRefusals> told;
    net.stranger.node().share([&](const agent::ShareStatus& status) { told = status.refusals; });
    net.stranger.poke();
    net.world.run_for(5s);
    return told.value_or(agent::RelayRefusals{});
  }
  relay::Ticket ticket() const {
    const auto decoded = relay::decode_ticket(eve.grant->relays.front().ticket);
    CHECK(decoded.has_value());
    return *decoded;
  }
  void expect_others_are_carried() {
    expect_forward_works(net);
    EXPECT_EQ(net.seen_by_a().relay_kind, "shared node") << net.seen_by_a().path;
  }

  ReadyWorld net;
  std::unique_ptr<sim::Host> host;
  HostilePeer eve;
  int dialed = 0;
};

TEST_F(Abused, AStrangersSessionOpensNothingButRelaying) {
  using forward::OpenRequest;
  using forward::StreamKind;
  const std::vector<Bytes> firsts = {
      forward::encode(OpenRequest{.host = "127.0.0.1", .port = RelayWorld::kService}),
      forward::encode(OpenRequest{StreamKind::kUdp, "127.0.0.1", RelayWorld::kService}),
      forward::encode(OpenRequest{StreamKind::kEcho, {}, 0}),
      Bytes(100, std::byte{0xff}),
      {std::byte{3}, std::byte{2}},  // A relay stream of another version.
      random_bytes(net.world.random(), 5'000)};
  for (const Bytes& first : firsts) {
    ASSERT_TRUE(eve.open(first));
    run_for(1s);
  }

  EXPECT_EQ(dialed, 0);
  EXPECT_EQ(eve.received, 0U);
  EXPECT_EQ(eve.resets, firsts.size());
  EXPECT_EQ(refusals().streams_reset, firsts.size());
  expect_others_are_carried();
}

/// Eve's end at the relay, with whatever tickets and channels.
class Borrower final : public relay::RelayClientHandler {
 public:
  explicit Borrower(HostilePeer& eve)
      : eve_(eve), hop_(*eve.session()), client_(hop_, eve.identity(), *this) {
    const auto stream = client_.open();
    CHECK(stream.has_value());
    eve.use(*stream, client_);
    eve.poke();
  }
  relay::RelayClient& client() { return client_; }
  relay::Hop& hop() { return hop_; }

  // relay::RelayClientHandler
  TimePoint now() const override { return eve_.now(); }
  void on_allocated(relay::RelayClient&, std::uint64_t,
                    const relay::AllocatedMessage& message) override {
    channels.push_back(message.channel);
  }
  void on_refused(relay::RelayClient&, const relay::RefusedMessage& message) override {
    refused.push_back(message.code);
    EXPECT_FALSE(message.text.empty());
  }
  void on_joined(relay::RelayClient&, relay::Channel) override {}
  void on_left(relay::RelayClient&, relay::Channel, std::string_view) override {}
  void on_relayed(relay::RelayClient&, relay::Channel, MutableByteView, TimePoint) override {}
  void on_letter(relay::RelayClient&, const NodeId&, ByteView) override {}
  void on_letter_failed(relay::RelayClient&, const NodeId&) override { ++letters_failed; }
  void on_relay_lost(relay::RelayClient&) override { ++lost; }

  std::vector<relay::Channel> channels;
  std::vector<RefusalCode> refused;
  int letters_failed = 0;
  int lost = 0;

 private:
  HostilePeer& eve_;
  relay::Hop hop_;
  relay::RelayClient client_;
};

TEST_F(Abused, AGrantIsGoodForItsPairAndOnce) {
  Borrower borrower(eve);
  const relay::Ticket genuine = ticket();
  ASSERT_TRUE(borrower.client().allocate(net.b.id(), genuine));
  run_for(1s);
  ASSERT_EQ(borrower.channels.size(), 1U);

  ASSERT_TRUE(borrower.client().allocate(net.b.id(), genuine));     // Replayed.
  ASSERT_TRUE(borrower.client().allocate(net.a.id(), genuine));     // For somebody else.
  ASSERT_TRUE(borrower.client().allocate(net.gate.id(), genuine));  // Who is not there.
  borrower.client().send_letter(net.b.id(), Bytes(100));            // Strangers have no post here.
  run_for(1s);

  EXPECT_EQ(borrower.refused, (std::vector{RefusalCode::kTicketSpent, RefusalCode::kTicketInvalid,
                                           RefusalCode::kTicketInvalid}));
  EXPECT_EQ(borrower.letters_failed, 1);
  const agent::RelayRefusals counted = refusals();
  EXPECT_EQ(counted.tickets_spent, 1U);
  EXPECT_EQ(counted.tickets_forged, 2U);
  EXPECT_EQ(counted.letters, 1U);
  expect_others_are_carried();
}

TEST_F(Abused, TenThousandGuessesEndAfterEight) {
  Borrower borrower(eve);
  Random random(9);
  for (int i = 0; i < 10'000 && borrower.lost == 0; ++i) {
    relay::Ticket guess = ticket();
    random.fill(guess.code);
    borrower.client().allocate(net.b.id(), guess);
    if (i % 20 == 0) run_for(10ms);
  }
  run_for(1s);

  EXPECT_EQ(borrower.lost, 1);
  EXPECT_TRUE(std::ranges::find(borrower.refused, RefusalCode::kTicketInvalid) !=
              borrower.refused.end());
  const agent::RelayRefusals counted = refusals();
  EXPECT_EQ(counted.tickets_forged, 8U);
  EXPECT_EQ(counted.guessers_cut, 1U);
  expect_others_are_carried();
}

TEST_F(Abused, DatagramsOnChannelsOfOthersReachNobody) {
  Borrower borrower(eve);
  ASSERT_TRUE(borrower.client().allocate(net.b.id(), ticket()));
  run_for(1s);
  expect_others_are_carried();  // Their channels exist.
  const std::uint64_t before = net.seen_by_b().bytes_received;

  constexpr relay::Channel kGuesses = 5'000;
  for (relay::Channel guess = 0; guess < kGuesses; ++guess) {
    const relay::Channel own = borrower.channels.front();
    borrower.hop().send(relay::Hop::Way::kToRelay, guess == own ? kGuesses : guess, Bytes(200));
    if (guess % 50 == 0) run_for(5ms);
  }
  run_for(1s);

  EXPECT_EQ(refusals().datagrams_astray, kGuesses);
  EXPECT_LT(net.seen_by_b().bytes_received - before, 10'000U);
  expect_others_are_carried();
}

TEST(FakeSharer, OneThatAnswersNobodyCostsNoTime) {
  ReadyWorld net(2, with_stranger(/*server_mbit=*/1'000));
  net.stranger_host->interface().up().set_blackhole(true);  // The server has not noticed yet.
  const TimePoint asked = net.world.now();

  expect_forward_works(net, 5s);

  EXPECT_LE(net.world.now() - asked, 1s);
  EXPECT_EQ(net.seen_by_a().relay_kind, "server");
}

TEST(FakeSharer, OneThatCarriesOnlyWhatIsSmallIsLeft) {
  ReadyWorld net(3, with_stranger(/*server_mbit=*/1'000));
  const auto is_shared = [&] { return net.seen_by_a().relay_kind == "shared node"; };
  expect_forward_works(net);
  ASSERT_TRUE(net.run_until(is_shared, 60s)) << net.seen_by_a().path;

  sim::LinkOptions choking = net.stranger_host->interface().up().options();
  choking.mtu = 400;  // Checks pass, so that it seems to be there.
  choking.is_mtu_silent = true;
  net.stranger_host->interface().up().set_options(choking);

  // It is left for the server, or reached by TCP, which such a line carries.
  for (int i = 0; i < 3; ++i) expect_forward_works(net, 20s);
}

TEST(RestartsInAnyOrder, EndsAndRelayFindEachOther) {
  std::array order = {0, 1, 2};
  std::uint64_t seed = 10;
  do {
    for (const int kind : {0, 1, 2, 3}) {
      const bool is_stranger = kind % 2 == 1;
      const bool is_told = kind >= 2;
      SCOPED_TRACE(testing::Message() << "order " << order[0] << order[1] << order[2]
                                      << (is_stranger ? ", a stranger's relay" : ", an own relay")
                                      << (is_told ? ", stopped" : ", killed"));
      RelayWorld::Options options;
      options.has_stranger = is_stranger;
      options.has_own_relay = !is_stranger;
      ReadyWorld net(++seed, options);
      expect_forward_works(net);
      const std::array nodes = {&net.a, &net.b, is_stranger ? &net.stranger : &net.gate};

      for (SimulatedNode* node : nodes) is_told ? node->stop() : node->crash();
      for (const int index : order) {
        net.world.run_for(700ms);
        nodes[static_cast<std::size_t>(index)]->start();
      }

      expect_forward_works(net, 20s);
      EXPECT_TRUE(net.is_relayed()) << net.seen_by_a().path;
    }
  } while (std::ranges::next_permutation(order).found);
}

TEST(WrongClock, AServerThatIsTenYearsOffAndOneThatIsSetRightGrantRelays) {
  for (const auto years : {-10, 10}) {
    SCOPED_TRACE(testing::Message() << years << " years");
    ReadyWorld net(20, with_stranger());
    expect_forward_works(net);

    for (const auto error : {years * 365 * 24h, 0h}) {
      net.server.crash();
      net.server.set_clock_error(error);
      net.server.start();
      ASSERT_TRUE(net.run_until(
          [&] {
            return net.a.is_connected_to_server() && net.b.is_connected_to_server() &&
                   net.stranger.is_connected_to_server();
          },
          3min));
      for (SimulatedNode* node : {&net.a, &net.b}) {
        node->crash();
        node->start();
      }
      expect_forward_works(net);
      EXPECT_EQ(net.seen_by_a().relay_kind, "shared node") << net.seen_by_a().path;
    }
  }
}

}  // namespace
}  // namespace openp2p::test
