// Tokens and names that a server refuses, and a network that is not there yet.

#include <gtest/gtest.h>

#include <string>

#include "sim/internet.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kLocal = 8'080;

/// A true server, and whoever wants to join it.
struct Newcomer {
  explicit Newcomer(std::uint64_t seed, const std::string& name = "laptop")
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home(internet, sim::NatKind::kPortRestricted),
        home_2(internet, sim::NatKind::kPortRestricted),
        server(*server_host, seed + 1),
        node(home.host(), seed + 2, name),
        second(home_2.host(), seed + 3, name) {}

  std::string refusal_of(SimulatedNode& who, const JoinToken& token) {
    who.join(token);
    world.run_until([&] { return !who.refusals.empty(); }, world.now() + 20s);
    if (who.refusals.empty()) return "none";
    EXPECT_TRUE(who.refusals.front().is_final);
    EXPECT_EQ(who.node().status().server_reason, who.refusals.front().text);
    EXPECT_GE(*who.node().status().server_retry_in, 60s);  // It waits for a person.
    return who.refusals.front().text;
  }
  bool joins(SimulatedNode& who, const JoinToken& token) {
    who.join(token);
    return world.run_until([&] { return who.is_connected_to_server(); }, world.now() + 20s);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home, home_2;
  server::SimulatedServer server;
  SimulatedNode node, second;
};

bool tells(const std::string& text, std::string_view what, std::string_view to_do) {
  return text.find(what) != std::string::npos && text.find(to_do) != std::string::npos;
}

TEST(JoinToken, AnExpiredOneIsRefusedWithWhatToDo) {
  Newcomer net(1);
  const WallTime soon{server::SimulatedServer::kEpoch.us + 5'000'000};
  const JoinToken token = net.server.new_token("admin", {.expires_at = soon});
  net.world.run_for(6s);

  const std::string text = net.refusal_of(net.node, token);

  EXPECT_TRUE(tells(text, "expired", "openp2p-server token new")) << text;
}

TEST(JoinToken, AUsedOneIsRefusedWithWhatToDo) {
  Newcomer net(2);
  const JoinToken token = net.server.new_token("admin", {.expires_at = {}});
  ASSERT_TRUE(net.joins(net.node, token));

  const std::string text = net.refusal_of(net.second, token);

  EXPECT_TRUE(tells(text, "used already", "openp2p-server token new")) << text;
  EXPECT_TRUE(net.node.is_connected_to_server());
}

TEST(JoinToken, AForgedSecretIsRefusedWithWhatToDo) {
  Newcomer net(3);
  JoinToken token = net.server.new_token("admin", {.expires_at = {}});
  token.secret[3] ^= std::byte{1};

  const std::string text = net.refusal_of(net.node, token);

  EXPECT_TRUE(tells(text, "does not know the join token", "openp2p-server token new")) << text;
}

TEST(JoinToken, AGarbledOneIsNotEvenRead) {
  Newcomer net(4);
  const std::string text = net.server.new_token("admin", {.expires_at = {}}).text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string garbled = text;
    garbled[i] = garbled[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(JoinToken::parse(garbled)) << i;
  }
}

TEST(JoinToken, AServerWithAnotherKeyIsNotTold) {
  Newcomer net(5);
  JoinToken token = net.server.new_token("admin", {.expires_at = {}});
  token.server.key[0] ^= std::byte{1};

  EXPECT_FALSE(net.joins(net.node, token));

  const std::string reason = net.node.node().status().server_reason;
  EXPECT_NE(reason.find("did not prove the key"), std::string::npos) << reason;
  token.server.key[0] ^= std::byte{1};
  EXPECT_TRUE(net.joins(net.second, token)) << "the secret was spent on a stranger";
}

TEST(JoinToken, ANameWithControlCharactersIsRefusedAndNotEchoed) {
  Newcomer net(6, "lap\x1b[2Jtop");

  const std::string text =
      net.refusal_of(net.node, net.server.new_token("admin", {.expires_at = {}}));

  EXPECT_TRUE(tells(text, "cannot be used", "openp2p up --node NAME")) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(JoinToken, ANameThatIsTakenGetsANumber) {
  Newcomer net(7, "laptop");
  const JoinToken token = net.server.new_token("admin", {.is_reusable = true, .expires_at = {}});
  ASSERT_TRUE(net.joins(net.node, token));
  ASSERT_TRUE(net.joins(net.second, token));

  EXPECT_EQ(net.node.node().status().name, "laptop");
  EXPECT_EQ(net.second.node().status().name, "laptop-2");
}

TEST(NoNetwork, ANodeStartsWithoutItAndConnectsWhenItIsThere) {
  Newcomer net(8);
  net.home.host().interface().set_up(false);
  net.node.join(net.server.new_token("admin", {.expires_at = {}}));
  ASSERT_FALSE(net.node.forward("web", "nas", 80, kLocal));
  net.world.run_for(40s);

  EXPECT_FALSE(net.node.is_connected_to_server());
  EXPECT_FALSE(net.node.node().status().server_reason.empty());
  EXPECT_TRUE(net.node.platform().is_listening(kLocal));
  EXPECT_EQ(net.node.node().forwards().front().state, "listening");

  net.home.host().interface().set_up(true);
  EXPECT_TRUE(net.world.run_until([&] { return net.node.is_connected_to_server(); },
                                  net.world.now() + 60s));
}

TEST(ServerAddress, OneThatTheServerToldOfIsRememberedAndTriedAfterTheTokens) {
  Newcomer net(9);
  const std::string moved_to = net.server.address().text();
  net.server.crash();
  net.server.set_addresses({moved_to});
  net.server.start();
  JoinToken token = net.server.new_token("admin", {.expires_at = {}});
  ASSERT_TRUE(net.joins(net.node, token));
  EXPECT_EQ(net.node.told_addresses, std::vector{moved_to});

  // The token's address is another one's now, as after a move.
  net.node.crash();
  token.addresses = {"203.0.113.77:27183"};
  net.node.join(token);
  EXPECT_TRUE(
      net.world.run_until([&] { return net.node.is_connected_to_server(); }, net.world.now() + 1s));

  // It is also tried while the node runs and the token's fails.
  net.server.crash();
  net.world.run_for(40s);
  net.server.start();
  EXPECT_TRUE(net.world.run_until([&] { return net.node.is_connected_to_server(); },
                                  net.world.now() + 90s));
}

/// How long the node takes from dialling to being welcome.
Duration dialling(Newcomer& net) {
  const auto state = [&] { return net.node.node().status().server_state; };
  EXPECT_TRUE(net.world.run_until([&] { return state() == "connecting"; }, net.world.now() + 120s));
  const TimePoint begun = net.world.now();
  EXPECT_TRUE(net.world.run_until([&] { return state() == "connected"; }, begun + 20s));
  return net.world.now() - begun;
}

TEST(ServerAddress, TcpDoesNotWaitForUdpWhereItAloneCameThroughTheLastTime) {
  Newcomer net(10);
  net.home.router()->police_udp(sim::PolicerOptions{.bits_per_second = 1, .burst_bytes = 0});
  net.node.join(net.server.new_token("admin", {.expires_at = {}}));
  EXPECT_GE(dialling(net), 1s);

  const auto come_back = [&] {
    net.world.run_for(5s);  // Until the session has chosen its path.
    net.server.stop();
    net.world.run_for(100ms);
    net.server.start();
    return dialling(net);
  };
  EXPECT_LE(come_back(), 400ms);

  // In another network nothing is known.
  sim::Home cafe(net.internet, sim::NatKind::kPortRestricted);
  cafe.router()->police_udp(sim::PolicerOptions{.bits_per_second = 1, .burst_bytes = 0});
  net.world.run_for(5s);
  net.server.stop();
  net.world.run_for(100ms);
  net.server.start();
  net.home.host().move_to(cafe.lan(), cafe.host_options());
  EXPECT_GE(dialling(net), 1s);
}

}  // namespace
}  // namespace openp2p::test
