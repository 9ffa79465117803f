#include "quic/packet_protection.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "quic/key_schedule.h"

namespace openp2p::quic {
namespace {

Bytes hex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

Nonce nonce_of(const Bytes& bytes) { return ByteView(bytes).first<kAeadNonceSize>(); }

/// RFC 9001 section 5.3: the packet number is xored into the end of the vector.
Bytes nonce_for(ByteView iv, std::uint64_t packet_number) {
  Bytes nonce = to_bytes(iv);
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[kAeadNonceSize - 1 - i] ^= static_cast<std::byte>(packet_number >> (8 * i));
  }
  return nonce;
}

std::vector<std::unique_ptr<PacketProtection>> all_back_ends() {
  std::vector<std::unique_ptr<PacketProtection>> all;
  for (const Backend backend : {Backend::kGnutls, Backend::kIpsecMb}) {
    if (auto made = make_packet_protection(backend)) all.push_back(std::move(made));
  }
  return all;
}

std::string mask_text(const HeaderKey& key, std::string_view sample) {
  const Bytes bytes = hex(sample);
  return to_hex(key.mask(ByteView(bytes).first<kHeaderSampleSize>()));
}

// RFC 9001 appendix A.1.
TEST(KeySchedule, DerivesTheKeysOfTheRfc) {
  const PacketKeys client(AeadAlgorithm::kAes128Gcm,
                          hex("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"));
  const PacketKeys server(AeadAlgorithm::kAes128Gcm,
                          hex("3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"));

  EXPECT_EQ(to_hex(client.key()), "1f369613dd76d5467730efcbe3b1a22d");
  EXPECT_EQ(to_hex(client.iv), "fa044b2f42a3fd3b46fb255c");
  EXPECT_EQ(to_hex(client.header()), "9f50449e04a0e810283a1e9933adedd2");
  EXPECT_EQ(to_hex(server.key()), "cf3a5331653c364c88f0f379b6067e37");
  EXPECT_EQ(to_hex(server.iv), "0ac1493ca1905853b0bba03e");
  EXPECT_EQ(to_hex(server.header()), "c206b8d9b9f0f37644430b490eeaa314");
}

// RFC 9001 appendix A.5.
TEST(KeySchedule, DerivesChaChaKeysAndTheNextSecret) {
  const Bytes secret = hex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b");

  const PacketKeys keys(AeadAlgorithm::kChaCha20Poly1305, secret);
  Bytes next(32);
  expand_label(AeadAlgorithm::kChaCha20Poly1305, secret, "quic ku", next);

  EXPECT_EQ(to_hex(keys.key()), "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8");
  EXPECT_EQ(to_hex(keys.iv), "e0459b3474bdd0e44a41c144");
  EXPECT_EQ(to_hex(keys.header()),
            "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4");
  EXPECT_EQ(to_hex(next), "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9");
}

// RFC 9001 appendix A.2: a client's Initial, padded to 1,162 bytes of payload.
TEST(PacketProtection, SealsTheClientInitialOfTheRfc) {
  const PacketKeys keys(AeadAlgorithm::kAes128Gcm,
                        hex("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"));
  const Bytes header = hex("c300000001088394c8f03e5157080000449e00000002");
  Bytes payload =
      hex("060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
          "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
          "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
          "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
          "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
          "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
          "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
          "75300901100f088394c8f03e51570806048000ffff");
  payload.resize(1162);
  for (const auto& protection : all_back_ends()) {
    SCOPED_TRACE(protection->name());
    const auto key = protection->make_aead(AeadAlgorithm::kAes128Gcm, keys.key());
    const auto header_key = protection->make_header(AeadAlgorithm::kAes128Gcm, keys.header());

    Bytes sealed(payload.size() + kAeadTagSize);
    key->seal(nonce_of(nonce_for(keys.iv, 2)), header, payload, sealed);

    EXPECT_EQ(to_hex(ByteView(sealed).first(16)), "d1b1c98dd7689fb8ec11d242b123dc9b");
    EXPECT_EQ(to_hex(ByteView(sealed).last(16)), "e221af44860018ab0856972e194cd934");
    EXPECT_EQ(mask_text(*header_key, "d1b1c98dd7689fb8ec11d242b123dc9b"), "437b9aec36");
  }
}

// RFC 9001 appendix A.3: the server's answer, whole.
TEST(PacketProtection, OpensTheServerInitialOfTheRfc) {
  const PacketKeys keys(AeadAlgorithm::kAes128Gcm,
                        hex("3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"));
  const Bytes header = hex("c1000000010008f067a5502a4262b50040750001");
  const Bytes payload =
      hex("02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
          "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
          "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
          "020304");
  const Bytes sealed =
      hex("5a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f"
          "5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73"
          "cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850"
          "abbdca3d20398c276456cbc42158407dd074ee");
  for (const auto& protection : all_back_ends()) {
    SCOPED_TRACE(protection->name());
    const auto key = protection->make_aead(AeadAlgorithm::kAes128Gcm, keys.key());
    const auto header_key = protection->make_header(AeadAlgorithm::kAes128Gcm, keys.header());

    Bytes opened(payload.size());
    const bool is_authentic = key->open(nonce_of(nonce_for(keys.iv, 1)), header, sealed, opened);

    EXPECT_TRUE(is_authentic);
    EXPECT_EQ(to_hex(opened), to_hex(payload));
    EXPECT_EQ(mask_text(*header_key, "2cd0991cd25b0aac406a5816b6394100"), "2ec0d8356a");
  }
}

// RFC 9001 appendix A.5: ChaCha20-Poly1305, short header.
TEST(PacketProtection, SealsTheChaChaPacketOfTheRfc) {
  const PacketKeys keys(AeadAlgorithm::kChaCha20Poly1305,
                        hex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b"));
  for (const auto& protection : all_back_ends()) {
    SCOPED_TRACE(protection->name());
    const auto key = protection->make_aead(AeadAlgorithm::kChaCha20Poly1305, keys.key());
    const auto header_key =
        protection->make_header(AeadAlgorithm::kChaCha20Poly1305, keys.header());

    Bytes sealed(1 + kAeadTagSize);
    key->seal(nonce_of(nonce_for(keys.iv, 654360564)), hex("4200bff4"), hex("01"), sealed);

    EXPECT_EQ(to_hex(sealed), "655e5cd55c41f69080575d7999c25a5bfb");
    EXPECT_EQ(mask_text(*header_key, "5e5cd55c41f69080575d7999c25a5bfb"), "aefefe7d03");
  }
}

class EachAlgorithm : public testing::TestWithParam<AeadAlgorithm> {};

TEST_P(EachAlgorithm, GivesTheSameBytesFromAllBackEnds) {
  const auto back_ends = all_back_ends();
  Random random(5);
  Bytes key(key_size(GetParam()));
  random.fill(key);
  std::vector<std::unique_ptr<AeadKey>> keys;
  std::vector<std::unique_ptr<HeaderKey>> header_keys;
  for (const auto& back_end : back_ends) {
    keys.push_back(back_end->make_aead(GetParam(), key));
    header_keys.push_back(back_end->make_header(GetParam(), key));
  }
  for (std::size_t size = 0; size <= 1500; ++size) {
    SCOPED_TRACE(size);
    Bytes nonce(kAeadNonceSize), aad(random.below(40)), plain(size), sample(kHeaderSampleSize);
    for (Bytes* bytes : {&nonce, &aad, &plain, &sample}) random.fill(*bytes);

    Bytes first(size + kAeadTagSize);
    keys.front()->seal(nonce_of(nonce), aad, plain, first);
    Bytes in_place = plain;
    in_place.resize(size + kAeadTagSize);
    keys.back()->seal(nonce_of(nonce), aad, ByteView(in_place).first(size), in_place);

    ASSERT_EQ(first, in_place);
    for (const auto& each : keys) {
      Bytes opened = first;
      ASSERT_TRUE(each->open(nonce_of(nonce), aad, opened, MutableByteView(opened).first(size)));
      opened.resize(size);
      ASSERT_EQ(opened, plain);
    }
    const auto sample_view = ByteView(sample).first<kHeaderSampleSize>();
    ASSERT_EQ(header_keys.front()->mask(sample_view), header_keys.back()->mask(sample_view));
  }
}

TEST_P(EachAlgorithm, RefusesWhatWasChangedAnywhere) {
  for (const auto& back_end : all_back_ends()) {
    SCOPED_TRACE(back_end->name());
    const Bytes key(key_size(GetParam()), std::byte{9});
    const auto aead = back_end->make_aead(GetParam(), key);
    const Bytes nonce(kAeadNonceSize, std::byte{1}), aad(20, std::byte{2}), plain(33, std::byte{3});
    Bytes sealed(plain.size() + kAeadTagSize);
    aead->seal(nonce_of(nonce), aad, plain, sealed);
    Bytes out(plain.size());

    for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
      Bytes changed = sealed;
      changed[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      ASSERT_FALSE(aead->open(nonce_of(nonce), aad, changed, out)) << bit;
    }
    Bytes other_aad = aad;
    other_aad[19] ^= std::byte{1};
    EXPECT_FALSE(aead->open(nonce_of(nonce), other_aad, sealed, out));
    Bytes other_nonce = nonce;
    other_nonce[0] ^= std::byte{1};
    EXPECT_FALSE(aead->open(nonce_of(other_nonce), aad, sealed, out));
    EXPECT_TRUE(aead->open(nonce_of(nonce), aad, sealed, out));
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, EachAlgorithm,
                         testing::Values(AeadAlgorithm::kAes128Gcm, AeadAlgorithm::kAes256Gcm,
                                         AeadAlgorithm::kChaCha20Poly1305));

TEST(PacketProtection, AlwaysHasABackEnd) {
  const auto automatic = make_packet_protection();

  ASSERT_NE(automatic, nullptr);
  const auto fast = make_packet_protection(Backend::kIpsecMb);
  EXPECT_EQ(automatic->name(), fast ? "ipsec-mb" : "gnutls");
}

}  // namespace
}  // namespace openp2p::quic
