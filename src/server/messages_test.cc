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

TEST(ClientMessage, AsksForRelaysAsTheClientMeantIt) {
  control::ClientMessage message;
  control::RelayWish& out = *message.mutable_relay_wish();
  out.set_peer(std::string(32, 'p'));
  out.set_number(9);
  out.add_only(std::string(32, 'o'));
  out.add_without(std::string(32, 'w'));
  out.set_no_strangers(true);
  const auto wish = decoded(message);
  ASSERT_TRUE(wish);
  EXPECT_EQ(std::get<RelayWish>(*wish).peer.key[0], std::byte{'p'});
  EXPECT_EQ(std::get<RelayWish>(*wish).number, 9U);
  EXPECT_EQ(std::get<RelayWish>(*wish).only.at(0).key[0], std::byte{'o'});
  EXPECT_EQ(std::get<RelayWish>(*wish).without.at(0).key[0], std::byte{'w'});
  EXPECT_TRUE(std::get<RelayWish>(*wish).no_strangers);

  out.add_without("short");
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kMalformed));
  out.clear_without();
  for (std::size_t i = 0; i < kWishNodesMax; ++i) out.add_only(std::string(32, 'o'));
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kTooLong));
  out.clear_only();
  out.set_peer(std::string(33, 'p'));
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kMalformed));
}

TEST(ClientMessage, HasItsHugeNumbersCut) {
  control::ClientMessage message;
  control::ShareOffer& share = *message.mutable_share_offer();
  share.set_bits_per_second(UINT64_MAX);
  share.set_used_bits_per_second(UINT64_MAX);
  share.set_own_bits_per_second(UINT64_MAX);
  share.set_allocations(UINT32_MAX);
  share.set_is_reachable(true);
  const auto offer = std::get<ShareOffer>(*decoded(message));
  EXPECT_EQ(offer.bits_per_second, kBitsPerSecondMax);
  EXPECT_EQ(offer.used_bits_per_second, kBitsPerSecondMax);
  EXPECT_EQ(offer.own_bits_per_second, kBitsPerSecondMax);
  EXPECT_EQ(offer.allocations, kAllocationsMax);
  EXPECT_TRUE(offer.is_reachable);

  control::RelayReport& told = *message.mutable_relay_report();
  told.set_relay(std::string(32, 'r'));
  told.set_rtt_us(UINT32_MAX);
  told.set_bits_per_second(UINT64_MAX);
  told.set_loss_permille(UINT32_MAX);
  const auto report = std::get<RelayReport>(*decoded(message));
  EXPECT_EQ(report.rtt_us, kRttMaxUs);
  EXPECT_EQ(report.bits_per_second, kBitsPerSecondMax);
  EXPECT_EQ(report.loss_permille, 1'000U);
  EXPECT_FALSE(report.is_unusable);
  told.set_relay("r");
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kMalformed));
}

TEST(ClientMessage, BringsReceiptsOfTheRightSizeOnly) {
  control::ClientMessage message;
  message.mutable_receipt()->set_body(std::string(kReceiptBytesMax, 'b'));
  message.mutable_receipt()->set_signature(std::string(64, 's'));
  const auto receipt = decoded(message);
  ASSERT_TRUE(receipt);
  EXPECT_EQ(std::get<SignedReceipt>(*receipt).body.size(), kReceiptBytesMax);
  EXPECT_EQ(std::get<SignedReceipt>(*receipt).signature[63], std::byte{'s'});

  for (const std::size_t size : {0, 63, 65}) {
    message.mutable_receipt()->set_signature(std::string(size, 's'));
    EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kMalformed)) << size;
  }
  message.mutable_receipt()->set_body(std::string(kReceiptBytesMax + 1, 'b'));
  EXPECT_EQ(decoded(message).error(), make_error_code(WireError::kTooLong));
}

TEST(RelayGrant, SaysWhatItGrantsAndFitsAMessage) {
  RelayGrant grant{.number = 3,
                   .peer = {},
                   .relays = {},
                   .reason = std::string(500, 'r'),
                   .reason_name = "no-credit"};
  grant.relays.assign(kGrantRelaysMax, {.kind = RelayKind::kShared,
                                        .node = {},
                                        .name = std::string(63, 'n'),
                                        .ticket = Bytes(128, std::byte{'t'}),
                                        .bits_per_second = kBitsPerSecondMax,
                                        .rtt_sum_us = kRttMaxUs});
  const Bytes bytes = encode_relay_grant(grant);
  EXPECT_LE(bytes.size(), 2'048U);

  control::ServerMessage message;
  ASSERT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  ASSERT_EQ(message.relay_grant().relays_size(), static_cast<int>(kGrantRelaysMax));
  EXPECT_EQ(message.relay_grant().number(), 3U);
  EXPECT_EQ(message.relay_grant().reason_name(), "no-credit");
  EXPECT_EQ(message.relay_grant().relays(0).kind(), control::Relay::SHARED);
  EXPECT_EQ(message.relay_grant().relays(0).ticket(), std::string(128, 't'));
  EXPECT_EQ(message.relay_grant().relays(0).rtt_sum_us(), kRttMaxUs);
}

TEST(Credit, IsToldWhole) {
  const Bytes bytes = encode_credit({.number = 1,
                                     .lent_bytes = 2,
                                     .borrowed_bytes = 3,
                                     .allowance_bytes = 4,
                                     .lent_here_bytes = 5,
                                     .may_borrow = true,
                                     .reason = "six"});
  control::ServerMessage message;
  ASSERT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(message.credit().number(), 1U);
  EXPECT_EQ(message.credit().lent_bytes(), 2U);
  EXPECT_EQ(message.credit().borrowed_bytes(), 3U);
  EXPECT_EQ(message.credit().allowance_bytes(), 4U);
  EXPECT_EQ(message.credit().lent_here_bytes(), 5U);
  EXPECT_TRUE(message.credit().may_borrow());
  EXPECT_EQ(message.credit().reason(), "six");
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
                  .stun_servers = std::vector<std::string>(8, std::string(255, 's')),
                  .server_addresses = std::vector<std::string>(8, std::string(255, 'a'))};
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
