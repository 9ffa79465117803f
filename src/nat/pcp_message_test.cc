#include "nat/pcp_message.h"

#include <gtest/gtest.h>

#include <array>

namespace openp2p::nat {
namespace {

PcpMessage map_request() {
  PcpMessage message;
  message.client = IpAddress::v4(192, 168, 1, 10);
  message.lifetime_s = 3'600;
  message.map.nonce.fill(std::byte{0x5a});
  message.map.internal_port = 4'500;
  message.map.external = {IpAddress::any_v4(), 4'500};
  return message;
}

Bytes encoded(const PcpMessage& message) {
  Bytes out(kPcpBytesMax);
  out.resize(encode_pcp(message, out));
  return out;
}

TEST(PcpMessage, MapRequestHasTheBytesOfTheRfc) {
  // RFC 6887 figures 2 and 9, by hand.
  EXPECT_EQ(to_hex(encoded(map_request())),
            "0201000000000e10"
            "00000000000000000000ffffc0a8010a"
            "5a5a5a5a5a5a5a5a5a5a5a5a"
            "1100000011941194"
            "00000000000000000000ffff00000000");
}

TEST(PcpMessage, ResponseHasTheBytesOfTheRfc) {
  PcpMessage message = map_request();
  message.is_response = true;
  message.client = {};
  message.result = PcpResult::kNoResources;
  message.epoch_s = 77;
  message.lifetime_s = 30;

  EXPECT_EQ(to_hex(encoded(message)).substr(0, 48),
            "028100080000001e"
            "0000004d"
            "000000000000000000000000");
}

TEST(PcpMessage, WhatIsEncodedDecodesToTheSame) {
  PcpMessage response = map_request();
  response.is_response = true;
  response.client = {};
  response.epoch_s = 1;
  PcpMessage announcement;
  announcement.is_response = true;
  announcement.opcode = PcpOpcode::kAnnounce;
  announcement.epoch_s = 12;

  for (const PcpMessage& message : {map_request(), response, announcement}) {
    const auto decoded = decode_pcp(encoded(message));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, message);
  }
}

TEST(PcpMessage, OptionsAreSteppedOver) {
  Bytes bytes = encoded(map_request());
  for (const int value : {2, 0, 0, 5, 1, 1, 1, 1, 1, 0, 0, 0}) {  // Length 5, padded to 8.
    bytes.push_back(static_cast<std::byte>(value));
  }

  const auto decoded = decode_pcp(bytes);

  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, map_request());
}

TEST(PcpMessage, EveryTruncationIsRefused) {
  const Bytes whole = encoded(map_request());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_pcp(ByteView(whole).first(size))) << size;
  }
}

TEST(PcpMessage, RefusesWhatIsNotOurs) {
  const auto with = [](std::size_t at, int value) {
    Bytes bytes = encoded(map_request());
    bytes[at] = static_cast<std::byte>(value);
    return decode_pcp(bytes);
  };
  EXPECT_FALSE(with(0, 1));   // Version.
  EXPECT_FALSE(with(1, 2));   // PEER.
  EXPECT_FALSE(with(36, 1));  // ICMP.
  Bytes long_one(kPcpBytesMax + 4, std::byte{2});
  EXPECT_FALSE(decode_pcp(long_one));
  Bytes with_bad_option = encoded(map_request());
  for (const int value : {2, 0, 0xff, 0xff}) with_bad_option.push_back(std::byte(value));
  EXPECT_FALSE(decode_pcp(with_bad_option));
}

TEST(PcpMessage, NatPmpsRefusalIsUnderstood) {
  const std::array nat_pmp{std::byte{0}, std::byte{128}, std::byte{0}, std::byte{1},
                           std::byte{0}, std::byte{0},   std::byte{0}, std::byte{9}};
  EXPECT_TRUE(is_pcp_version_refusal(nat_pmp));
  EXPECT_FALSE(is_pcp_version_refusal(ByteView(nat_pmp).first(3)));
  EXPECT_FALSE(is_pcp_version_refusal(encoded(map_request())));
}

}  // namespace
}  // namespace openp2p::nat
