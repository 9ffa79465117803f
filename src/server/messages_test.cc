#include "server/messages.h"

#include <gtest/gtest.h>

#include "control.pb.h"
#include "server/refusal.h"
#include "wire/codec.h"
#include "wire/control_frame.h"

namespace openp2p::server {
namespace {

Result<ClientMessage> decoded(const control::ClientMessage& message) {
  return decode_client_message(as_bytes(message.SerializeAsString()));
}

TEST(ClientMessage, IsReadAsTheClientMeantIt) {
  control::ClientMessage message;
  message.mutable_hello()->set_join_secret(std::string(16, 's'));
  message.mutable_hello()->set_name("desk");
  message.mutable_hello()->set_version("1.2");
  message.mutable_hello()->set_incarnation(77);
  const auto hello = decoded(message);
  ASSERT_TRUE(hello);
  EXPECT_EQ(std::get<Hello>(*hello).join_secret.size(), 16U);
  EXPECT_EQ(std::get<Hello>(*hello).name, "desk");
  EXPECT_EQ(std::get<Hello>(*hello).incarnation, 77U);

  message.mutable_signal()->set_node(std::string(32, 'n'));
  message.mutable_signal()->set_number(5);
  message.mutable_signal()->set_body(std::string(kSignalBodyBytesMax, 'b'));
  const auto signal = decoded(message);
  ASSERT_TRUE(signal);
  EXPECT_EQ(std::get<SignalRequest>(*signal).number, 5U);
  EXPECT_EQ(std::get<SignalRequest>(*signal).body.size(), kSignalBodyBytesMax);
}

TEST(ClientMessage, IsRefusedOverItsLimits) {
  control::ClientMessage message;
  message.mutable_signal()->set_node(std::string(32, 'n'));
  message.mutable_signal()->set_body(std::string(kSignalBodyBytesMax + 1, 'b'));
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kTooLong));
  message.mutable_signal()->set_body("");
  message.mutable_signal()->set_node(std::string(31, 'n'));
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kMalformed));
  message.mutable_hello()->set_join_secret(std::string(17, 's'));
  EXPECT_FALSE(decoded(message));
  message.mutable_rename()->set_name(std::string(256, 'n'));
  EXPECT_FALSE(decoded(message));
  EXPECT_FALSE(decode_client_message(as_bytes("\x0a\xff")));
}

TEST(ClientMessage, OfANewerKindIsIgnored) {
  const auto message = decode_client_message(as_bytes("\x7a\x01x"));  // Field 15.
  ASSERT_TRUE(message);
  EXPECT_TRUE(std::holds_alternative<UnknownMessage>(*message));
}

TEST(ClientMessage, HasLabelsThatAreSafeToShow) {
  control::ClientMessage message;
  message.mutable_hello()->set_version("1\x1b[31m" + std::string(100, 'v'));
  message.mutable_hello()->set_platform("linux");
  const auto hello = std::get<Hello>(*decoded(message));
  EXPECT_LE(hello.version.size(), kLabelBytesMax);
  EXPECT_EQ(hello.version.find('\x1b'), std::string::npos);
  EXPECT_EQ(hello.platform, "linux");
}

TEST(Welcome, FitsAMessageWithTheLongestNodes) {
  Welcome welcome{.network = {},
                  .network_name = std::string(254, 'n'),
                  .name = std::string(63, 'n'),
                  .is_name_changed = true,
                  .server_time = {INT64_MAX},
                  .observed_address = std::string(60, 'a'),
                  .nodes = {},
                  .stun_servers = std::vector<std::string>(8, std::string(255, 's'))};
  welcome.nodes.assign(kWelcomeNodesMax, {.id = {},
                                          .name = std::string(63, 'n'),
                                          .is_online = true,
                                          .incarnation = UINT64_MAX,
                                          .version = std::string(kLabelBytesMax, 'v'),
                                          .platform = std::string(kLabelBytesMax, 'p'),
                                          .seen_at = {INT64_MAX}});
  EXPECT_LE(encode_welcome(welcome).size(), kControlMessageBytesMax);
}

TEST(Refusal, SaysTheCommandThatHelps) {
  EXPECT_EQ(refusal_of(StoreError::kTokenUsed).code, RefusalCode::kTokenUsed);
  for (const StoreError error : {StoreError::kTokenInvalid, StoreError::kTokenExpired,
                                 StoreError::kTokenUsed, StoreError::kNoSuchNode}) {
    EXPECT_NE(refusal_of(error).text.find("openp2p-server token new"), std::string::npos);
    EXPECT_EQ(refusal_of(error).retry_after_s, 0U);
  }
  EXPECT_EQ(refusal_of(StoreError::kUnavailable).code, RefusalCode::kUnavailable);
  EXPECT_GT(refusal_of(StoreError::kUnavailable).retry_after_s, 0U);
  EXPECT_EQ(name_refusal("a\x1b").text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace openp2p::server
