#include "wire/join_token.h"

#include <gtest/gtest.h>

#include "base/crypto.h"

namespace openp2p {
namespace {

JoinToken some_token() {
  JoinToken token;
  token.addresses = {"rendezvous.example.org:27183", "192.0.2.1:27183", "[2001:db8::1]:443"};
  for (std::size_t i = 0; i < NodeId::kSize; ++i) token.server.key[i] = std::byte(i * 7);
  for (std::size_t i = 0; i < JoinToken::kSecretBytes; ++i)
    token.secret.push_back(std::byte(200 + i));
  token.expires.us = 1'700'000'000'000'000;
  return token;
}

/// "op2p1-" around any fields, with a checksum that is right.
std::string sealed(ByteView fields) {
  Bytes body = to_bytes(fields);
  const Digest digest = sha256(fields);
  body.insert(body.end(), digest.begin(), digest.begin() + 4);
  return "op2p1-" + to_base64url(body);
}

Bytes fields_of(const JoinToken& token) {
  Bytes body;
  EXPECT_TRUE(from_base64url(token.text().substr(6), body));
  return to_bytes(ByteView(body).first(body.size() - 4));
}

TEST(JoinToken, ReadsWhatItWrote) {
  const JoinToken token = some_token();

  const auto read = JoinToken::parse(token.text());

  ASSERT_TRUE(read);
  EXPECT_EQ(read->addresses, token.addresses);
  EXPECT_EQ(read->server, token.server);
  EXPECT_EQ(read->secret, token.secret);
  EXPECT_EQ(read->expires, token.expires);
}

TEST(JoinToken, CarriesTheLongestAddresses) {
  JoinToken token = some_token();
  std::string name(JoinToken::kAddressBytesMax - 6, 'a');
  for (std::size_t i = 63; i < name.size(); i += 64) name[i] = '.';  // RFC 1035 section 2.3.4.
  token.addresses.assign(JoinToken::kAddressesMax, name + ":27183");

  const std::string text = token.text();

  EXPECT_LE(text.size(), JoinToken::kTextBytesMax);
  const auto read = JoinToken::parse(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->addresses, token.addresses);
}

TEST(JoinToken, ForgivesSpacesAround) {
  const std::string text = some_token().text();
  const auto read = JoinToken::parse("  " + text + "\r\n");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->text(), text);
}

TEST(JoinToken, NoticesEveryLostDoubledOrChangedCharacter) {
  const std::string text = some_token().text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string lost = text;
    lost.erase(i, 1);
    EXPECT_FALSE(JoinToken::parse(lost)) << i;
    std::string doubled = text;
    doubled.insert(i, 1, text[i] == 'x' ? 'y' : 'x');
    EXPECT_FALSE(JoinToken::parse(doubled)) << i;
    std::string changed = text;
    changed[i] = text[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(JoinToken::parse(changed)) << i;
    EXPECT_FALSE(JoinToken::parse(text.substr(0, i))) << i;
  }
}

TEST(JoinToken, TellsANewerKindFromDamage) {
  EXPECT_EQ(JoinToken::parse("op2p2-AAAA").error(),
            make_error_code(JoinTokenError::kVersionUnknown));
  EXPECT_EQ(JoinToken::parse("op2px-AAAA").error(), make_error_code(JoinTokenError::kGarbled));
  EXPECT_EQ(JoinToken::parse("").error(), make_error_code(JoinTokenError::kGarbled));
  EXPECT_EQ(JoinToken::parse(std::string(1 << 20, 'A')).error(),
            make_error_code(JoinTokenError::kGarbled));
}

TEST(JoinToken, RefusesForgedFieldsWithARightChecksum) {
  const Bytes fields = fields_of(some_token());
  ASSERT_TRUE(JoinToken::parse(sealed(fields)));

  Bytes longer = fields;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(JoinToken::parse(sealed(longer)));
  EXPECT_FALSE(JoinToken::parse(sealed(ByteView(fields).first(fields.size() - 1))));
  EXPECT_FALSE(JoinToken::parse(sealed({})));
  Bytes too_many = fields;
  too_many[0] = std::byte{JoinToken::kAddressesMax + 1};
  EXPECT_FALSE(JoinToken::parse(sealed(too_many)));
  Bytes control_character = fields;
  control_character[2] = std::byte{0x1b};
  EXPECT_FALSE(JoinToken::parse(sealed(control_character)));
  Bytes negative_expiry = fields;
  negative_expiry[fields.size() - 8] = std::byte{0x80};
  EXPECT_FALSE(JoinToken::parse(sealed(negative_expiry)));
}

TEST(JoinToken, KnowsAnAddress) {
  for (const char* good : {"a:1", "host-1.example:65535", "192.0.2.1:27183", "[::1]:80"}) {
    EXPECT_TRUE(JoinToken::is_valid_address(good)) << good;
  }
  for (const char* bad :
       {"", ":1", "a", "a:", "a:0", "a:65536", "a:01", "a:-1", "a: 1", "a b:1", "::1:80", "[::1]",
        "[1.2.3.4]:80", "[x]:1", "a\x1b:1", "a/b:1", "a..b:1", "1.2.3:1", "-x:1"}) {
    EXPECT_FALSE(JoinToken::is_valid_address(bad)) << bad;
  }
  EXPECT_FALSE(JoinToken::is_valid_address(std::string(254, 'a') + ":1"));
}

}  // namespace
}  // namespace openp2p
