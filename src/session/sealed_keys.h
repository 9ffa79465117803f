#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/time.h"
#include "quic/packet_protection.h"
#include "session/sealed.h"

/// The keys of one direction of one use: a secret from which each epoch's key and the next epoch's
/// secret come, so that who learns the present ones cannot read what went before (forward secrecy
/// within the session, as RFC 9001 section 6 does it).
///
/// A datagram on the wire, numbers big-endian:
///
///   0b01eeeeee (the low six bits of the epoch) | id (8) | counter (4) | ciphertext | tag (16)
///
/// The 13 bytes in front are authenticated with it. The first byte makes it look like a QUIC packet
/// with a short header (RFC 9000 section 17.3.1) whose connection id is `id`: one table tells both.
namespace openp2p::session {

/// Names a session, a use and a direction on the wire. Both sides know all six of a session.
using SealedId = std::uint64_t;

inline constexpr std::size_t kSealedHeaderSize = kSealedOverhead - quic::kAeadTagSize;
/// As long as the longest hash behind the suites (SHA-384).
inline constexpr std::size_t kSealedSecretSize = 48;
using SealedSecret = std::span<const std::byte, kSealedSecretSize>;
/// Epochs that the first byte tells apart.
inline constexpr std::uint64_t kSealedEpochsTold = 64;

struct SealedLimits {
  /// Datagrams sealed with one key: half of what AES-GCM may do (RFC 9001 section 6.6), and far
  /// from the counter's end, so that no nonce can come twice.
  std::uint32_t datagrams_per_key_max = 1 << 22;
  Duration key_age_max = std::chrono::hours(1);  ///< Of a key that is in use.
  /// Failed opens with one key: what ChaCha20-Poly1305 allows (RFC 9001 section 6.6), for all.
  std::uint64_t forged_per_key_max = std::uint64_t{1} << 36;
};

/// One epoch's key and its nonces.
class SealedKey {
 public:
  SealedKey(const quic::PacketProtection& protection, quic::AeadAlgorithm algorithm,
            SealedSecret secret);
  ~SealedKey();
  SealedKey(const SealedKey&) = delete;
  SealedKey& operator=(const SealedKey&) = delete;

  void seal(std::uint32_t counter, ByteView header, ByteView payload, MutableByteView out) const;
  [[nodiscard]] bool open(std::uint32_t counter, ByteView header, ByteView sealed,
                          MutableByteView out) const;

 private:
  using NonceBytes = std::array<std::byte, quic::kAeadNonceSize>;
  NonceBytes nonce(std::uint32_t counter) const;

  NonceBytes iv_{};
  std::unique_ptr<quic::AeadKey> aead_;
};

/// Walks from epoch to epoch; never back.
class SealedRatchet {
 public:
  SealedRatchet(const quic::PacketProtection& protection, quic::AeadAlgorithm algorithm,
                SealedSecret secret);
  ~SealedRatchet();
  SealedRatchet(const SealedRatchet&) = default;
  SealedRatchet& operator=(const SealedRatchet&) = default;

  std::uint64_t epoch() const { return epoch_; }
  std::unique_ptr<SealedKey> make_key() const;
  void advance();

 private:
  const quic::PacketProtection* protection_;
  quic::AeadAlgorithm algorithm_;
  std::array<std::byte, kSealedSecretSize> secret_;
  std::uint64_t epoch_ = 0;
};

/// Where the id is in a datagram.
inline constexpr std::size_t kSealedIdAt = 1;
/// The first byte's form; nothing says yet that it is one.
inline bool is_sealed_form(ByteView datagram) {
  return !datagram.empty() && (datagram[0] & std::byte{0b1100'0000}) == std::byte{0b0100'0000};
}

/// What is in front of a sealed datagram.
struct SealedHeader {
  std::uint8_t epoch_bits = 0;
  SealedId id = 0;
  std::uint32_t counter = 0;
};
/// False: too short, or not of this form.
bool read_sealed_header(ByteView datagram, SealedHeader& header);
void write_sealed_header(const SealedHeader& header, std::span<std::byte, kSealedHeaderSize> out);

}  // namespace openp2p::session
