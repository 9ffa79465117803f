#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"

/// Authenticated encryption of packets and masks for their headers (RFC 9001 section 5, RFC 5116),
/// with the fastest code that this processor can run. It knows nothing of QUIC connections, and so
/// also serves datagrams that are sealed outside QUIC.
///
/// Hot path, per packet: one virtual call, no allocation, in place where the caller wants it.
/// Target: 10 GB/s a core at packet size with AES instructions.
namespace openp2p::quic {

enum class AeadAlgorithm { kAes128Gcm, kAes256Gcm, kChaCha20Poly1305 };

inline constexpr std::size_t kAeadTagSize = 16;
inline constexpr std::size_t kAeadNonceSize = 12;
inline constexpr std::size_t kHeaderSampleSize = 16;
inline constexpr std::size_t kHeaderMaskSize = 5;

constexpr std::size_t key_size(AeadAlgorithm algorithm) {
  return algorithm == AeadAlgorithm::kAes128Gcm ? 16 : 32;
}

using Nonce = std::span<const std::byte, kAeadNonceSize>;
using HeaderSample = std::span<const std::byte, kHeaderSampleSize>;
using HeaderMask = std::array<std::byte, kHeaderMaskSize>;

/// One key of one AEAD. Its memory is overwritten when it is destroyed. Threading: one owner.
class AeadKey {
 public:
  AeadKey() = default;
  virtual ~AeadKey() = default;
  AeadKey(const AeadKey&) = delete;
  AeadKey& operator=(const AeadKey&) = delete;

  /// Needs out.size() == plain.size() + kAeadTagSize. `out` may begin where `plain` begins.
  /// A nonce must never be used twice with one key.
  virtual void seal(Nonce nonce, ByteView aad, ByteView plain, MutableByteView out) const = 0;
  /// Needs out.size() + kAeadTagSize == sealed.size(). `out` may begin where `sealed` begins.
  /// False: not authentic, and what `out` then holds must not be used.
  [[nodiscard]] virtual bool open(Nonce nonce, ByteView aad, ByteView sealed,
                                  MutableByteView out) const = 0;
};

/// One header-protection key (RFC 9001 section 5.4).
class HeaderKey {
 public:
  HeaderKey() = default;
  virtual ~HeaderKey() = default;
  HeaderKey(const HeaderKey&) = delete;
  HeaderKey& operator=(const HeaderKey&) = delete;

  virtual HeaderMask mask(HeaderSample sample) const = 0;
};

/// A back end: makes keys. Outlives them.
class PacketProtection {
 public:
  PacketProtection() = default;
  virtual ~PacketProtection() = default;
  PacketProtection(const PacketProtection&) = delete;
  PacketProtection& operator=(const PacketProtection&) = delete;

  virtual std::string_view name() const = 0;
  /// `key` is of key_size(algorithm) bytes and is copied.
  virtual std::unique_ptr<AeadKey> make_aead(AeadAlgorithm algorithm, ByteView key) const = 0;
  virtual std::unique_ptr<HeaderKey> make_header(AeadAlgorithm algorithm, ByteView key) const = 0;
};

enum class Backend {
  kAutomatic,  ///< The fastest that this processor can run.
  kGnutls,     ///< Everywhere.
  kIpsecMb,    ///< intel-ipsec-mb and AES instructions, on x86-64. ChaCha20 stays with GnuTLS.
};

/// nullptr where this build or this processor has no such back end; never for kAutomatic.
std::unique_ptr<PacketProtection> make_packet_protection(Backend choice = Backend::kAutomatic);

/// Whether this processor has instructions for AES: without them ChaCha20 is several times faster
/// than AES-GCM, with them several times slower.
bool has_aes_instructions();

}  // namespace openp2p::quic
