#include "nat/stun_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "base/random.h"
#include "wire/codec.h"

namespace openp2p::nat {
namespace {

// RFC 5769 section 2.1: all test vectors share the password and, but for the last, the user name.
constexpr std::string_view kPassword = "VOkJxbRl1RmTxUk/WvJxBt";
constexpr std::string_view kSampleRequest =
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e00"
    "01ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5"
    "b2d3f249c1b571a280280004e57a3bcf";
constexpr std::string_view kSampleResponseV4 =
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112"
    "a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
constexpr std::string_view kSampleResponseV6 =
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113"
    "a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

Bytes unhex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

TransactionId any_transaction() {
  TransactionId id;
  Random(1).fill(id.bytes);
  return id;
}

Address address(std::string_view text) { return *Address::parse(text); }

Bytes encode(const StunMessage& message, std::string_view key = {},
             IntegrityHash hash = IntegrityHash::kSha1) {
  Bytes out(kStunBytesMax);
  out.resize(encode_stun(message, as_bytes(key), out, hash));
  EXPECT_FALSE(out.empty());
  return out;
}

/// A header and raw attributes, for what the encoder would never write.
Bytes raw_message(std::initializer_list<std::string_view> attributes, std::uint16_t type = 1) {
  Bytes body;
  for (const auto hex : attributes) {
    const Bytes attribute = unhex(hex);
    body.insert(body.end(), attribute.begin(), attribute.end());
  }
  Bytes out(kStunHeaderBytes);
  Writer header(out);
  header.u16(type);
  header.u16(static_cast<std::uint16_t>(body.size()));
  header.u32(kStunCookie);
  header.bytes(any_transaction().bytes);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

TEST(StunMessage, DecodesSampleRequest) {
  const Bytes datagram = unhex(kSampleRequest);

  const auto message = decode_stun(datagram);

  ASSERT_TRUE(message);
  EXPECT_EQ(message->message_class, StunClass::kRequest);
  EXPECT_EQ(message->method, kBindingMethod);
  EXPECT_EQ(to_hex(message->transaction.bytes), "b7e7a701bc34d686fa87dfae");
  EXPECT_EQ(message->username(), "evtj:h6vY");
  EXPECT_EQ(message->priority, 0x6e0001ffu);
  EXPECT_EQ(message->ice_controlled, 0x932ff9b151263b36u);
  EXPECT_TRUE(message->has_integrity);
  EXPECT_TRUE(message->has_fingerprint);
  EXPECT_TRUE(verify_integrity(datagram, as_bytes(kPassword)));
  EXPECT_FALSE(verify_integrity(datagram, as_bytes("another password")));
}

TEST(StunMessage, DecodesSampleResponses) {
  const Bytes v4 = unhex(kSampleResponseV4);
  const Bytes v6 = unhex(kSampleResponseV6);

  const auto from_v4 = decode_stun(v4);
  const auto from_v6 = decode_stun(v6);

  ASSERT_TRUE(from_v4);
  ASSERT_TRUE(from_v6);
  EXPECT_EQ(from_v4->message_class, StunClass::kSuccess);
  EXPECT_EQ(from_v4->xor_mapped_address, address("192.0.2.1:32853"));
  EXPECT_EQ(from_v6->xor_mapped_address, address("[2001:db8:1234:5678:11:2233:4455:6677]:32853"));
  EXPECT_TRUE(verify_integrity(v4, as_bytes(kPassword)));
  EXPECT_TRUE(verify_integrity(v6, as_bytes(kPassword)));
}

TEST(StunMessage, NoticesEveryFlippedBitOfSample) {
  const Bytes good = unhex(kSampleRequest);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= std::byte{1} << bit % 8;

    const auto message = decode_stun(bad);

    // A flip may turn FINGERPRINT into another attribute; then integrity covers the message.
    const bool is_accepted =
        message && message->has_fingerprint && verify_integrity(bad, as_bytes(kPassword));
    EXPECT_FALSE(is_accepted) << "bit " << bit;
  }
}

TEST(StunMessage, RefusesEveryTruncation) {
  const Bytes good = unhex(kSampleResponseV6);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(decode_stun(ByteView(good).first(size))) << size;
    EXPECT_FALSE(verify_integrity(ByteView(good).first(size), as_bytes(kPassword))) << size;
  }
}

StunMessage full_message() {
  StunMessage message;
  message.message_class = StunClass::kError;
  message.method = 0x07b;
  message.transaction = any_transaction();
  message.mapped_address = address("192.0.2.1:1");
  message.xor_mapped_address = address("[2001:db8::1]:65535");
  message.response_origin = address("192.0.2.2:3478");
  message.other_address = address("192.0.2.3:3479");
  message.source_address = address("192.0.2.4:3478");
  message.changed_address = address("192.0.2.5:3479");
  message.response_port = 4242;
  message.change_ip = true;
  message.change_port = true;
  message.padding_bytes = 333;
  message.error_code = 420;
  message.unknown_attributes.add(0x7ffe);
  message.set_username("0123abcd:89ef4567");
  message.priority = 0xffffffff;
  message.use_candidate = true;
  message.prefer_streams = true;
  message.ice_controlling = 1;
  message.ice_controlled = 0xffffffffffffffff;
  message.has_fingerprint = true;
  return message;
}

TEST(StunMessage, RoundTripsEveryField) {
  StunMessage message = full_message();

  const auto plain = decode_stun(encode(message));
  const auto signed_sha1 = decode_stun(encode(message, kPassword));
  const auto signed_sha256 = decode_stun(encode(message, kPassword, IntegrityHash::kSha256));

  ASSERT_TRUE(plain && signed_sha1 && signed_sha256);
  EXPECT_EQ(*plain, message);
  message.has_integrity = true;
  EXPECT_EQ(*signed_sha1, message);
  message.has_integrity = false;
  message.has_integrity_sha256 = true;
  EXPECT_EQ(*signed_sha256, message);
}

TEST(StunMessage, RoundTripsEveryMethodAndClass) {
  for (std::uint16_t method = 0; method <= 0xfff; ++method) {
    for (const auto kind :
         {StunClass::kRequest, StunClass::kIndication, StunClass::kSuccess, StunClass::kError}) {
      StunMessage message;
      message.method = method;
      message.message_class = kind;
      const Bytes datagram = encode(message);
      if (std::to_integer<unsigned>(datagram[0]) > 3) continue;  // Not told apart from QUIC.

      const auto decoded = decode_stun(datagram);

      ASSERT_TRUE(decoded);
      EXPECT_EQ(*decoded, message);
    }
  }
}

TEST(StunMessage, KeepsIdOfOldClients) {
  StunMessage message;
  message.is_rfc3489 = true;
  message.cookie = 0x01020304;
  message.transaction = any_transaction();

  const auto decoded = decode_stun(encode(message));

  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, message);
}

TEST(StunMessage, VerifiesBothHashesWithTheRightKeyOnly) {
  const Bytes sha1 = encode(full_message(), "key");
  const Bytes sha256 = encode(full_message(), "key", IntegrityHash::kSha256);

  EXPECT_TRUE(verify_integrity(sha1, as_bytes("key")));
  EXPECT_TRUE(verify_integrity_sha256(sha256, as_bytes("key")));
  EXPECT_FALSE(verify_integrity(sha1, as_bytes("kez")));
  EXPECT_FALSE(verify_integrity_sha256(sha256, as_bytes("kez")));
  EXPECT_FALSE(verify_integrity(sha256, as_bytes("key")));
  EXPECT_FALSE(verify_integrity_sha256(sha1, as_bytes("key")));
}

TEST(StunMessage, IgnoresWhatStandsBehindIntegrity) {
  StunMessage message;
  message.priority = 7;
  Bytes datagram = encode(message, "key");
  const Bytes smuggled = unhex("002500000006000161000000");  // USE-CANDIDATE, USERNAME "a".
  datagram.insert(datagram.end(), smuggled.begin(), smuggled.end());
  datagram[3] = static_cast<std::byte>(datagram.size() - kStunHeaderBytes);

  const auto decoded = decode_stun(datagram);

  ASSERT_TRUE(decoded);
  EXPECT_FALSE(decoded->use_candidate);
  EXPECT_EQ(decoded->username(), "");
  EXPECT_EQ(decoded->priority, 7u);
  EXPECT_TRUE(verify_integrity(datagram, as_bytes("key")));
}

TEST(StunMessage, CountsTheFirstOfRepeatedAttributes) {
  const auto decoded = decode_stun(raw_message({"0024000400000001", "0024000400000002"}));

  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->priority, 1u);
}

TEST(StunMessage, NamesRequiredAttributesItDoesNotUnderstand) {
  const auto decoded =
      decode_stun(raw_message({"7ffe0000", "8fff0003616263ff", "0002000400000000"}));

  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->unknown_attribute, 0x7ffe);
  ASSERT_EQ(decoded->not_understood.count, 2u);
  EXPECT_EQ(decoded->not_understood.types[1], 0x0002);  // RFC 3489's RESPONSE-ADDRESS.
}

TEST(StunMessage, RefusesMalformedAttributes) {
  const std::string_view malformed[] = {
      "00010008000100010a00",                      // Cut off inside an attribute.
      "00010008000300010a000001",                  // No such family.
      "00010008000200010a000001",                  // IPv6 in four bytes.
      "000100040001abcd",                          // No room for an address.
      "0003000200040000",                          // CHANGE-REQUEST of two bytes.
      "002400080000000100000002",                  // PRIORITY of eight bytes.
      "0025000400000000",                          // USE-CANDIDATE with a value.
      "8029000400000001",                          // ICE-CONTROLLED of four bytes.
      "0009000400000700",                          // Error 700.
      "0009000400000464",                          // Error 4 hundred and 100.
      "00090000",                                  // No error in ERROR-CODE.
      "000a000300010000",                          // Half an attribute type.
      "0027000101000000",                          // RESPONSE-PORT of one byte.
      "0008001041424344414243444142434441424344",  // HMAC-SHA-1 of 16 bytes.
      "8028000400000000",                          // A wrong fingerprint.
      "0006ffff61626364",                          // A length beyond the datagram.
  };
  for (const auto hex : malformed) EXPECT_FALSE(decode_stun(raw_message({hex}))) << hex;
}

TEST(StunMessage, RefusesAttributesBehindFingerprint) {
  StunMessage message;
  message.has_fingerprint = true;
  Bytes datagram = encode(message);
  const Bytes more = unhex("80220000");
  datagram.insert(datagram.end(), more.begin(), more.end());
  datagram[3] = static_cast<std::byte>(datagram.size() - kStunHeaderBytes);

  EXPECT_FALSE(decode_stun(datagram));
}

TEST(StunMessage, BoundsSizesAndCounts) {
  const std::string long_username = "00060044" + std::string(2 * 0x44, '6');
  Bytes many = raw_message({});
  for (std::size_t i = 0; i <= kAttributesMax; ++i) {
    const Bytes attribute = unhex("80220000");
    many.insert(many.end(), attribute.begin(), attribute.end());
  }
  many[3] = static_cast<std::byte>(many.size() - kStunHeaderBytes);
  StunMessage padded;
  padded.padding_bytes = kStunBytesMax;
  Bytes out(2 * kStunBytesMax);

  EXPECT_FALSE(decode_stun(raw_message({long_username})));
  EXPECT_FALSE(decode_stun(many));
  EXPECT_EQ(encode_stun(padded, {}, out), 0u);
}

TEST(StunMessage, EncodesNothingWhereItDoesNotFit) {
  const StunMessage message = full_message();
  const std::size_t size = encode(message, "key").size();
  for (std::size_t room = 0; room < size; ++room) {
    Bytes out(room);
    EXPECT_EQ(encode_stun(message, as_bytes("key"), out), 0u) << room;
  }
}

TEST(StunMessage, LooksLikeStunOnlyWithFittingHeader) {
  Bytes datagram = raw_message({"80220000"});
  EXPECT_TRUE(looks_like_stun(datagram));
  EXPECT_FALSE(looks_like_stun({}));
  EXPECT_FALSE(looks_like_stun(ByteView(datagram).first(kStunHeaderBytes)));

  datagram[0] = std::byte{0x40};  // A QUIC short header.

  EXPECT_FALSE(looks_like_stun(datagram));
}

}  // namespace
}  // namespace openp2p::nat
