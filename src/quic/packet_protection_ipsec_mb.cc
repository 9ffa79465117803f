#include "quic/packet_protection_backends.h"

#ifdef OPENP2P_HAVE_IPSEC_MB

#include <intel-ipsec-mb.h>
#include <wmmintrin.h>

#include <cstring>

#include "base/check.h"
#include "base/crypto.h"

namespace openp2p::quic {
namespace {

template <class T>
MutableByteView memory_of(T& object) {
  return std::as_writable_bytes(std::span(&object, 1));
}

/// The library wants addresses even for nothing.
const void* address_of(ByteView bytes) {
  static constexpr std::byte kNothing{};
  return bytes.empty() ? &kNothing : bytes.data();
}

/// Without branches, and without the call that would be a twentieth of the whole packet's time.
bool is_equal_tag(std::span<const std::byte, kAeadTagSize> a,
                  std::span<const std::byte, kAeadTagSize> b) {
  std::array<std::uint64_t, 2> left, right;
  std::memcpy(left.data(), a.data(), a.size());
  std::memcpy(right.data(), b.data(), b.size());
  return ((left[0] ^ right[0]) | (left[1] ^ right[1])) == 0;
}

/// The expanded key and the hash powers of AES-GCM, for both directions.
class IpsecAeadKey final : public AeadKey {
 public:
  IpsecAeadKey(IMB_MGR* manager, AeadAlgorithm algorithm, ByteView key) {
    const bool is_short = algorithm == AeadAlgorithm::kAes128Gcm;
    encrypt_ = is_short ? manager->gcm128_enc : manager->gcm256_enc;
    decrypt_ = is_short ? manager->gcm128_dec : manager->gcm256_dec;
    (is_short ? manager->gcm128_pre : manager->gcm256_pre)(key.data(), &key_);
  }
  ~IpsecAeadKey() override { wipe(memory_of(key_)); }

  void seal(Nonce nonce, ByteView aad, ByteView plain, MutableByteView out) const override {
    CHECK(out.size() == plain.size() + kAeadTagSize);
    gcm_context_data context;
    encrypt_(&key_, &context, as_u8(out), static_cast<const std::uint8_t*>(address_of(plain)),
             plain.size(), as_u8(nonce), static_cast<const std::uint8_t*>(address_of(aad)),
             aad.size(), as_u8(out.last(kAeadTagSize)), kAeadTagSize);
  }

  bool open(Nonce nonce, ByteView aad, ByteView sealed, MutableByteView out) const override {
    CHECK(out.size() + kAeadTagSize == sealed.size());
    std::byte nothing{};
    std::uint8_t* const plain =
        reinterpret_cast<std::uint8_t*>(out.empty() ? &nothing : out.data());
    std::array<std::byte, kAeadTagSize> tag;
    gcm_context_data context;
    decrypt_(&key_, &context, plain, as_u8(sealed), out.size(), as_u8(nonce),
             static_cast<const std::uint8_t*>(address_of(aad)), aad.size(),
             reinterpret_cast<std::uint8_t*>(tag.data()), tag.size());
    return is_equal_tag(tag, sealed.last<kAeadTagSize>());
  }

 private:
  alignas(64) gcm_key_data key_;
  aes_gcm_enc_dec_t encrypt_ = nullptr;
  aes_gcm_enc_dec_t decrypt_ = nullptr;
};

/// RFC 9001 section 5.4.3: one block of AES, faster by instruction than through the library's
/// queue.
class AesniHeaderKey final : public HeaderKey {
 public:
  AesniHeaderKey(IMB_MGR* manager, AeadAlgorithm algorithm, ByteView key) {
    const bool is_short = algorithm == AeadAlgorithm::kAes128Gcm;
    rounds_ = is_short ? 10 : 14;  // FIPS 197 section 5.
    RoundKeys decrypt_keys;
    (is_short ? manager->keyexp_128 : manager->keyexp_256)(key.data(), keys_.data(),
                                                           decrypt_keys.data());
    wipe(memory_of(decrypt_keys));
  }
  ~AesniHeaderKey() override { wipe(memory_of(keys_)); }

  __attribute__((target("aes,sse2"))) HeaderMask mask(HeaderSample sample) const override {
    __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sample.data()));
    block = _mm_xor_si128(block, _mm_load_si128(&keys_[0]));
    for (int round = 1; round < rounds_; ++round) {
      block = _mm_aesenc_si128(block, _mm_load_si128(&keys_[static_cast<std::size_t>(round)]));
    }
    block = _mm_aesenclast_si128(block, _mm_load_si128(&keys_[static_cast<std::size_t>(rounds_)]));
    HeaderMask mask;
    std::memcpy(mask.data(), &block, mask.size());
    return mask;
  }

 private:
  static constexpr std::size_t kRoundKeysMax = 15;
  struct alignas(16) RoundKeys {
    __m128i words[kRoundKeysMax];
    __m128i* data() { return words; }
    const __m128i& operator[](std::size_t index) const { return words[index]; }
  };

  RoundKeys keys_{};
  int rounds_ = 0;
};

class IpsecProtection final : public PacketProtection {
 public:
  explicit IpsecProtection(IMB_MGR* manager)
      : manager_(manager, &free_mb_mgr), gnutls_(make_gnutls_protection()) {}

  std::string_view name() const override { return "ipsec-mb"; }

  std::unique_ptr<AeadKey> make_aead(AeadAlgorithm algorithm, ByteView key) const override {
    CHECK(key.size() == key_size(algorithm));
    if (algorithm == AeadAlgorithm::kChaCha20Poly1305) return gnutls_->make_aead(algorithm, key);
    return std::make_unique<IpsecAeadKey>(manager_.get(), algorithm, key);
  }

  std::unique_ptr<HeaderKey> make_header(AeadAlgorithm algorithm, ByteView key) const override {
    CHECK(key.size() == key_size(algorithm));
    if (algorithm == AeadAlgorithm::kChaCha20Poly1305) return gnutls_->make_header(algorithm, key);
    return std::make_unique<AesniHeaderKey>(manager_.get(), algorithm, key);
  }

 private:
  std::unique_ptr<IMB_MGR, void (*)(IMB_MGR*)> manager_;
  std::unique_ptr<PacketProtection> gnutls_;
};

}  // namespace

std::unique_ptr<PacketProtection> make_ipsec_mb_protection() {
  if (!has_aes_instructions()) return nullptr;
  IMB_MGR* const manager = alloc_mb_mgr(0);
  CHECK(manager != nullptr);
  init_mb_mgr_auto(manager, nullptr);
  return std::make_unique<IpsecProtection>(manager);
}

}  // namespace openp2p::quic

#else

namespace openp2p::quic {

std::unique_ptr<PacketProtection> make_ipsec_mb_protection() { return nullptr; }

}  // namespace openp2p::quic

#endif
