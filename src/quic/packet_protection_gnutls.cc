#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <cstring>

#include "base/check.h"
#include "quic/packet_protection_backends.h"

namespace openp2p::quic {
namespace {

gnutls_datum_t datum(ByteView bytes) {
  return {const_cast<unsigned char*>(as_u8(bytes)), static_cast<unsigned>(bytes.size())};
}

gnutls_cipher_algorithm_t aead_cipher(AeadAlgorithm algorithm) {
  switch (algorithm) {
    case AeadAlgorithm::kAes128Gcm:
      return GNUTLS_CIPHER_AES_128_GCM;
    case AeadAlgorithm::kAes256Gcm:
      return GNUTLS_CIPHER_AES_256_GCM;
    case AeadAlgorithm::kChaCha20Poly1305:
      return GNUTLS_CIPHER_CHACHA20_POLY1305;
  }
  check_failed("an AEAD algorithm", __FILE__, __LINE__);
}

class GnutlsAeadKey final : public AeadKey {
 public:
  GnutlsAeadKey(AeadAlgorithm algorithm, ByteView key) {
    const gnutls_datum_t key_datum = datum(key);
    CHECK(gnutls_aead_cipher_init(&handle_, aead_cipher(algorithm), &key_datum) == 0);
  }
  ~GnutlsAeadKey() override { gnutls_aead_cipher_deinit(handle_); }

  void seal(Nonce nonce, ByteView aad, ByteView plain, MutableByteView out) const override {
    CHECK(out.size() == plain.size() + kAeadTagSize);
    std::size_t size = out.size();
    CHECK(gnutls_aead_cipher_encrypt(handle_, nonce.data(), nonce.size(), aad.data(), aad.size(),
                                     kAeadTagSize, plain.data(), plain.size(), out.data(),
                                     &size) == 0);
  }

  bool open(Nonce nonce, ByteView aad, ByteView sealed, MutableByteView out) const override {
    CHECK(out.size() + kAeadTagSize == sealed.size());
    std::size_t size = out.size();
    return gnutls_aead_cipher_decrypt(handle_, nonce.data(), nonce.size(), aad.data(), aad.size(),
                                      kAeadTagSize, sealed.data(), sealed.size(), out.data(),
                                      &size) == 0;
  }

 private:
  gnutls_aead_cipher_hd_t handle_ = nullptr;
};

/// RFC 9001 section 5.4.3: one block of AES. GnuTLS has no ECB; CBC with a zero vector is the same.
class AesHeaderKey final : public HeaderKey {
 public:
  AesHeaderKey(AeadAlgorithm algorithm, ByteView key) {
    const auto cipher = algorithm == AeadAlgorithm::kAes128Gcm ? GNUTLS_CIPHER_AES_128_CBC
                                                               : GNUTLS_CIPHER_AES_256_CBC;
    const gnutls_datum_t key_datum = datum(key);
    CHECK(gnutls_cipher_init(&handle_, cipher, &key_datum, nullptr) == 0);
  }
  ~AesHeaderKey() override { gnutls_cipher_deinit(handle_); }

  HeaderMask mask(HeaderSample sample) const override {
    std::array<std::byte, kHeaderSampleSize> block{};
    gnutls_cipher_set_iv(handle_, block.data(), block.size());
    CHECK(gnutls_cipher_encrypt2(handle_, sample.data(), sample.size(), block.data(),
                                 block.size()) == 0);
    HeaderMask mask;
    std::memcpy(mask.data(), block.data(), mask.size());
    return mask;
  }

 private:
  gnutls_cipher_hd_t handle_ = nullptr;
};

/// RFC 9001 section 5.4.4: the sample is ChaCha20's counter (32 bits) and nonce.
class ChaChaHeaderKey final : public HeaderKey {
 public:
  explicit ChaChaHeaderKey(ByteView key) {
    const gnutls_datum_t key_datum = datum(key);
    CHECK(gnutls_cipher_init(&handle_, GNUTLS_CIPHER_CHACHA20_32, &key_datum, nullptr) == 0);
  }
  ~ChaChaHeaderKey() override { gnutls_cipher_deinit(handle_); }

  HeaderMask mask(HeaderSample sample) const override {
    gnutls_cipher_set_iv(handle_, const_cast<std::byte*>(sample.data()), sample.size());
    const HeaderMask zeros{};
    HeaderMask mask;
    CHECK(gnutls_cipher_encrypt2(handle_, zeros.data(), zeros.size(), mask.data(), mask.size()) ==
          0);
    return mask;
  }

 private:
  gnutls_cipher_hd_t handle_ = nullptr;
};

class GnutlsProtection final : public PacketProtection {
 public:
  std::string_view name() const override { return "gnutls"; }

  std::unique_ptr<AeadKey> make_aead(AeadAlgorithm algorithm, ByteView key) const override {
    CHECK(key.size() == key_size(algorithm));
    return std::make_unique<GnutlsAeadKey>(algorithm, key);
  }

  std::unique_ptr<HeaderKey> make_header(AeadAlgorithm algorithm, ByteView key) const override {
    CHECK(key.size() == key_size(algorithm));
    if (algorithm == AeadAlgorithm::kChaCha20Poly1305) {
      return std::make_unique<ChaChaHeaderKey>(key);
    }
    return std::make_unique<AesHeaderKey>(algorithm, key);
  }
};

}  // namespace

std::unique_ptr<PacketProtection> make_gnutls_protection() {
  return std::make_unique<GnutlsProtection>();
}

}  // namespace openp2p::quic
