#include "agent/state_start.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/test_folder.h"

namespace openp2p::agent {
namespace {

namespace fs = std::filesystem;

class StateStartTest : public testing::Test {
 protected:
  StateStartTest() { options_.state_path = folder_.path(); }

  static JoinToken token(unsigned server) {
    JoinToken token;
    token.addresses = {"server" + std::to_string(server) + ".example:27183"};
    token.server.key[0] = static_cast<std::byte>(server);
    token.secret = Bytes(16, static_cast<std::byte>(server));
    return token;
  }
  StateResult<AgentStart> start() { return start_state(options_, secrets_); }
  /// Starts with a token and takes the server's acceptance for granted.
  NodeId join(unsigned server) {
    options_.join_token = token(server);
    auto started = start();
    EXPECT_TRUE(started) << started.error().text;
    started->state.join_secret.reset();
    EXPECT_TRUE(started->folder->save_state(started->state));
    options_.join_token.reset();
    return started->key.id();
  }

  const TestFolder folder_;
  AgentOptions options_;
  SystemSecrets secrets_;
};

TEST_F(StateStartTest, NeedsATokenAtFirst) {
  const auto started = start();

  ASSERT_FALSE(started);
  EXPECT_NE(started.error().text.find("token new"), std::string::npos);
  EXPECT_FALSE(fs::exists(options_.state_path + "/key"));
  EXPECT_FALSE(fs::exists(options_.state_path + "/state.json"));
}

TEST_F(StateStartTest, KeepsTheSecretUntilJoined) {
  options_.join_token = token(1);
  ASSERT_TRUE(start());
  options_.join_token.reset();

  const auto again = start();

  ASSERT_TRUE(again);
  EXPECT_EQ(again->state.join_secret, token(1).secret);
}

TEST_F(StateStartTest, NeedsNoTokenLater) {
  const NodeId id = join(1);

  const auto started = start();

  ASSERT_TRUE(started) << started.error().text;
  EXPECT_EQ(started->key.id(), id);
  EXPECT_TRUE(started->state.is_joined());
}

TEST_F(StateStartTest, DoesNotSpendATokenOfTheServerItHasJoined) {
  join(1);
  options_.join_token = token(1);

  const auto started = start();

  ASSERT_TRUE(started);
  EXPECT_TRUE(started->state.is_joined());
  EXPECT_EQ(started->spare_secret, token(1).secret);
  EXPECT_EQ(started->notices.size(), 1u);
}

TEST_F(StateStartTest, JoinsAnotherServerByItsToken) {
  const NodeId id = join(1);
  options_.join_token = token(2);

  const auto started = start();

  ASSERT_TRUE(started);
  EXPECT_EQ(started->key.id(), id);
  EXPECT_EQ(started->state.server->key, token(2).server);
  EXPECT_EQ(started->state.join_secret, token(2).secret);
  EXPECT_EQ(started->notices.size(), 1u);
}

TEST_F(StateStartTest, StoresWhatWasGivenAndKeepsTheRest) {
  join(1);
  options_.name = "garage";
  options_.accepts_lan = true;
  options_.accepts = {"nas:22"};
  options_.port = 4'000;
  options_.forwards = {{.name = "ssh", .peer = "nas", .host = "nas", .port = 22, .listen = {}}};
  ASSERT_TRUE(start());
  const std::string path = options_.state_path;
  options_ = AgentOptions();
  options_.state_path = path;

  const auto started = start();

  ASSERT_TRUE(started);
  EXPECT_EQ(started->state.node_name, "garage");
  EXPECT_TRUE(started->state.accepts_lan);
  EXPECT_EQ(started->state.accepts, std::vector<std::string>{"nas:22"});
  EXPECT_EQ(started->state.port, 4'000);
  EXPECT_EQ(started->state.forwards.size(), 1u);
}

TEST_F(StateStartTest, ReplacesAForwardOfTheSameName) {
  join(1);
  options_.forwards = {{.name = "ssh", .peer = "nas", .host = "nas", .port = 22, .listen = {}}};
  ASSERT_TRUE(start());
  options_.forwards[0].port = 23;

  const auto started = start();

  ASSERT_TRUE(started);
  ASSERT_EQ(started->state.forwards.size(), 1u);
  EXPECT_EQ(started->state.forwards[0].port, 23);
}

TEST_F(StateStartTest, DoesNotBecomeAnotherNodeWhenTheKeyIsLost) {
  const NodeId id = join(1);
  fs::remove(options_.state_path + "/key");

  const auto refused = start();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("/key is missing"), std::string::npos);
  EXPECT_FALSE(fs::exists(options_.state_path + "/key"));

  options_.join_token = token(1);
  const auto joined = start();
  ASSERT_TRUE(joined);
  EXPECT_NE(joined->key.id(), id);
  EXPECT_EQ(joined->state.join_secret, token(1).secret);
}

TEST_F(StateStartTest, GivesItselfAName) {
  join(1);
  const auto started = start();
  ASSERT_TRUE(started);
  EXPECT_TRUE(is_valid_name(started->state.node_name));
}

TEST_F(StateStartTest, ChangesNothingWhenSomethingIsDamaged) {
  join(1);
  std::ofstream(options_.state_path + "/state.json") << "{";
  options_.join_token = token(2);

  EXPECT_FALSE(start());
  EXPECT_EQ(fs::file_size(options_.state_path + "/state.json"), 1u);
}

}  // namespace
}  // namespace openp2p::agent
