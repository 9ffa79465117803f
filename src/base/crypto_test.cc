#include "base/crypto.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace openp2p {
namespace {

template <std::size_t size>
std::array<std::byte, size> hex(std::string_view text) {
  std::array<std::byte, size> out;
  EXPECT_TRUE(from_hex(text, out));
  return out;
}

class SeededSecrets final : public SecretSource {
 public:
  void fill(MutableByteView out) override { random_.fill(out); }

 private:
  Random random_{1};
};

// RFC 8032 section 7.1, test 2.
TEST(IdentityKey, MatchesRfc8032) {
  const IdentityKey key(
      hex<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
  const auto message = hex<1>("72");

  EXPECT_EQ(key.id().text(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  EXPECT_EQ(to_hex(key.sign(message)),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
  EXPECT_TRUE(verify_signature(key.id(), message, key.sign(message)));
}

TEST(IdentityKey, RefusesAlteredMessageAndShortSignature) {
  SeededSecrets secrets;
  const IdentityKey key = IdentityKey::generate(secrets);
  auto signature = key.sign(as_bytes("hello"));

  EXPECT_FALSE(verify_signature(key.id(), as_bytes("hellO"), signature));
  EXPECT_FALSE(verify_signature(key.id(), as_bytes("hello"), ByteView(signature).first(63)));
  signature[5] ^= std::byte{1};
  EXPECT_FALSE(verify_signature(key.id(), as_bytes("hello"), signature));
}

TEST(AgreementKey, BothSidesAgree) {
  SeededSecrets secrets;
  const auto a = AgreementKey::generate(secrets);
  const auto b = AgreementKey::generate(secrets);

  ASSERT_TRUE(a.agree(b.public_key()));
  EXPECT_EQ(*a.agree(b.public_key()), *b.agree(a.public_key()));
}

TEST(AgreementKey, RefusesLowOrderPoints) {
  SeededSecrets secrets;
  EXPECT_FALSE(AgreementKey::generate(secrets).agree(AgreementKey::PublicKey{}));
}

// RFC 5869 appendix A.1.
TEST(Hkdf, MatchesRfc5869) {
  std::array<std::byte, 42> out;
  hkdf_sha256(hex<22>("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"),
              hex<13>("000102030405060708090a0b0c"), hex<10>("f0f1f2f3f4f5f6f7f8f9"), out);
  EXPECT_EQ(to_hex(out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

// RFC 2202 and RFC 4231, test case 2.
TEST(Hmac, MatchesTheRfcs) {
  const auto key = as_bytes("Jefe");
  const auto data = as_bytes("what do ya want for nothing?");
  EXPECT_EQ(to_hex(hmac_sha1(key, data)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  EXPECT_EQ(to_hex(hmac_sha256(key, data)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(ConstantTime, ComparesContentAndSize) {
  EXPECT_TRUE(equal_constant_time(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("ab")));
}

}  // namespace
}  // namespace openp2p
