#include "agent/server_message.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "control.pb.h"

namespace openp2p::agent {
namespace {

std::string id_text(std::uint8_t number) {
  return std::string(NodeId::kSize, static_cast<char>(number));
}

NodeId id_of(std::uint8_t number) {
  NodeId id;
  id.key.fill(static_cast<std::byte>(number));
  return id;
}

template <class Message>
std::optional<Message> decoded(const control::ServerMessage& message) {
  const auto result = decode_server_message(as_bytes(message.SerializeAsString()));
  if (!result || !std::holds_alternative<Message>(*result)) return std::nullopt;
  return std::get<Message>(*result);
}

bool is_ignored(const control::ServerMessage& message) {
  return decoded<UnknownServerMessage>(message).has_value();
}

control::ClientMessage sent(const Bytes& bytes) {
  control::ClientMessage message;
  EXPECT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return message;
}

control::Relay relay_of(std::uint8_t number) {
  control::Relay relay;
  relay.set_kind(control::Relay::SHARED);
  relay.set_node(id_text(number));
  relay.set_ticket("ticket");
  relay.set_bits_per_second(10);
  relay.set_rtt_sum_us(1'500);
  return relay;
}

TEST(ServerMessage, AGrantNamesRelaysInTheirOrder) {
  control::ServerMessage message;
  control::RelayGrant& grant = *message.mutable_relay_grant();
  grant.set_peer(id_text(1));
  grant.set_number(7);
  *grant.add_relays() = relay_of(2);
  *grant.add_relays() = relay_of(3);

  const auto result = decoded<RelayGrant>(message);

  ASSERT_TRUE(result);
  EXPECT_EQ(result->peer, id_of(1));
  EXPECT_EQ(result->number, 7U);
  ASSERT_EQ(result->relays.size(), 2U);
  EXPECT_EQ(result->relays[0].id, id_of(2));
  EXPECT_EQ(result->relays[1].id, id_of(3));
  EXPECT_EQ(result->relays[0].kind, RelayKind::kShared);
  EXPECT_EQ(as_text(result->relays[0].ticket), "ticket");
  EXPECT_EQ(result->relays[0].rtt_sum, std::chrono::microseconds(1'500));
}

TEST(ServerMessage, RelaysThatMakeNoSenseAreLeftOutAndTooManyCut) {
  control::ServerMessage message;
  control::RelayGrant& grant = *message.mutable_relay_grant();
  grant.set_peer(id_text(1));
  grant.set_reason("no\x1b[2Jrelay");
  grant.add_relays()->set_node("short");
  control::Relay unknown = relay_of(4);
  unknown.clear_kind();
  *grant.add_relays() = unknown;
  control::Relay fat = relay_of(5);
  fat.set_ticket(std::string(kTicketBytesMax + 1, 'x'));
  *grant.add_relays() = fat;
  for (std::uint8_t i = 0; i < 100; ++i) *grant.add_relays() = relay_of(i);

  const auto result = decoded<RelayGrant>(message);

  ASSERT_TRUE(result);
  ASSERT_EQ(result->relays.size(), kGrantRelaysMax);
  EXPECT_EQ(result->relays.front().id, id_of(0));
  EXPECT_EQ(result->reason.find('\x1b'), std::string::npos);
}

TEST(ServerMessage, SecretsAndIdsOfAnotherSizeAreIgnored) {
  control::ServerMessage message;
  message.mutable_relay_secret()->set_secret(std::string(31, 's'));
  EXPECT_TRUE(is_ignored(message));
  message.mutable_relay_secret()->set_secret(std::string(32, 's'));
  EXPECT_TRUE(decoded<RelaySecretKey>(message));
  message.mutable_relay_grant()->set_peer("nobody");
  EXPECT_TRUE(is_ignored(message));
}

TEST(ServerMessage, AddressesOfTheServerThatMakeNoSenseAreLeftOutAndTooManyCut) {
  control::ServerMessage message;
  control::Welcome& welcome = *message.mutable_welcome();
  for (const char* bad :
       {"", "nowhere", "host:0x1", "a b:1", "\x1b[2J:443", "a..b:443", "1.2.3:443", "-x:443"}) {
    welcome.add_server_addresses(bad);
  }
  for (int i = 0; i < 100; ++i) welcome.add_server_addresses("example.org:443");

  const auto result = decoded<Welcome>(message);

  ASSERT_TRUE(result);
  EXPECT_EQ(result->server_addresses,
            std::vector<std::string>(kServerAddressesMax, "example.org:443"));
}

TEST(ServerMessage, AnAccountOfAnotherSizeIsIgnored) {
  control::ServerMessage message;
  message.mutable_account_spent()->set_account("1234567");
  EXPECT_TRUE(is_ignored(message));
  message.mutable_account_spent()->set_account("12345678");
  const auto spent = decoded<AccountSpent>(message);
  ASSERT_TRUE(spent);
  EXPECT_EQ(as_text(spent->account), "12345678");
}

TEST(ServerMessage, ASignalSaysWhetherItIsAStrangers) {
  control::ServerMessage message;
  message.mutable_signal()->set_node(id_text(1));
  message.mutable_signal()->set_body("body");
  EXPECT_FALSE(decoded<CarriedSignal>(message)->is_stranger);
  message.mutable_signal()->set_is_stranger(true);
  EXPECT_TRUE(decoded<CarriedSignal>(message)->is_stranger);
}

TEST(ServerMessage, TimesOfAWrongClockCannotOverflow) {
  for (const std::int64_t us : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1},
                                std::numeric_limits<std::int64_t>::max()}) {
    control::ServerMessage message;
    message.mutable_pong()->set_server_time_us(us);
    const auto pong = decoded<Pong>(message);
    ASSERT_TRUE(pong);
    EXPECT_GE(pong->server_time.us, 0);
    EXPECT_LE(pong->server_time.us, 1LL << 57);
  }
}

TEST(ServerMessage, AWishSaysWhoMayAndWhoMayNot) {
  const auto message =
      sent(encode_relay_wish({id_of(1), 5, {id_of(2)}, {id_of(3), id_of(4)}, true})).relay_wish();

  EXPECT_EQ(message.peer(), id_text(1));
  EXPECT_EQ(message.number(), 5U);
  ASSERT_EQ(message.only_size(), 1);
  EXPECT_EQ(message.only(0), id_text(2));
  ASSERT_EQ(message.without_size(), 2);
  EXPECT_EQ(message.without(1), id_text(4));
  EXPECT_TRUE(message.no_strangers());
}

TEST(ServerMessage, AReportIsCutToWhatItCanSay) {
  RelayReport report;
  report.relay = id_of(1);
  report.rtt = std::chrono::hours(1);
  report.loss_permille = 5'000;
  report.is_unusable = true;

  const auto message = sent(encode_relay_report(report)).relay_report();

  EXPECT_EQ(message.rtt_us(), 10'000'000U);
  EXPECT_EQ(message.loss_permille(), 1'000U);
  EXPECT_TRUE(message.is_unusable());
}

}  // namespace
}  // namespace openp2p::agent
