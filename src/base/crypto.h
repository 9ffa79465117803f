#pragma once

#include <array>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"

/// The few cryptographic functions that are used outside TLS. GnuTLS and its Nettle do the work; no
/// header of ours shows them. Keys and secrets are overwritten when they are destroyed.
namespace openp2p {

using Digest = std::array<std::byte, 32>;
using Sha1Digest = std::array<std::byte, 20>;
using SharedSecret = std::array<std::byte, 32>;

Digest sha256(ByteView data);
Digest hmac_sha256(ByteView key, ByteView data);
Sha1Digest hmac_sha1(ByteView key,
                     ByteView data);  ///< Only for STUN's MESSAGE-INTEGRITY (RFC 8489).
/// HKDF-SHA-256 (RFC 5869), extract then expand, `out` of at most 255 * 32 bytes.
void hkdf_sha256(ByteView secret, ByteView salt, ByteView info, MutableByteView out);
/// Time does not depend on where the bytes differ. Different sizes are unequal.
bool equal_constant_time(ByteView a, ByteView b);
void wipe(MutableByteView secret);

/// Where keys, nonces and tokens come from. The programs use the system's generator; simulations a
/// seeded one.
class SecretSource {
 public:
  virtual ~SecretSource() = default;
  virtual void fill(MutableByteView out) = 0;
};
/// The operating system's generator.
class SystemSecrets final : public SecretSource {
 public:
  void fill(MutableByteView out) override;
};

/// A party's Ed25519 key pair (RFC 8032), kept as the 32-byte seed.
class IdentityKey {
 public:
  static constexpr std::size_t kSeedSize = 32;
  using Signature = std::array<std::byte, 64>;

  explicit IdentityKey(std::span<const std::byte, kSeedSize> seed);
  static IdentityKey generate(SecretSource& secrets);
  ~IdentityKey();
  IdentityKey(const IdentityKey&) = default;
  IdentityKey& operator=(const IdentityKey&) = default;

  const NodeId& id() const { return id_; }
  std::span<const std::byte, kSeedSize> seed() const { return seed_; }
  Signature sign(ByteView message) const;

 private:
  std::array<std::byte, kSeedSize> seed_;
  NodeId id_;
};

bool verify_signature(const NodeId& signer, ByteView message, ByteView signature);

/// An ephemeral X25519 key (RFC 7748): one per connection attempt.
class AgreementKey {
 public:
  using PublicKey = std::array<std::byte, 32>;

  static AgreementKey generate(SecretSource& secrets);
  ~AgreementKey();
  AgreementKey(const AgreementKey&) = default;
  AgreementKey& operator=(const AgreementKey&) = default;

  const PublicKey& public_key() const { return public_key_; }
  /// nullopt where the peer's key is of low order (all-zero result, RFC 7748 section 6.1).
  std::optional<SharedSecret> agree(const PublicKey& peer) const;

 private:
  AgreementKey() = default;
  std::array<std::byte, 32> scalar_{};
  PublicKey public_key_{};
};

}  // namespace openp2p
