#include "base/crypto.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <nettle/curve25519.h>
#include <nettle/eddsa.h>
#include <nettle/memops.h>
#include <string.h>

#include "base/check.h"

namespace openp2p {
namespace {

template <class Out>
Out mac(gnutls_mac_algorithm_t algorithm, ByteView key, ByteView data) {
  Out out;
  CHECK(gnutls_hmac_fast(algorithm, key.data(), key.size(), data.data(), data.size(), out.data()) ==
        0);
  return out;
}

gnutls_datum_t datum(ByteView bytes) {
  return {const_cast<unsigned char*>(as_u8(bytes)), static_cast<unsigned>(bytes.size())};
}

}  // namespace

Digest sha256(ByteView data) {
  Digest out;
  CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA256, data.data(), data.size(), out.data()) == 0);
  return out;
}

Digest hmac_sha256(ByteView key, ByteView data) {
  return mac<Digest>(GNUTLS_MAC_SHA256, key, data);
}

Sha1Digest hmac_sha1(ByteView key, ByteView data) {
  return mac<Sha1Digest>(GNUTLS_MAC_SHA1, key, data);
}

void hkdf_sha256(ByteView secret, ByteView salt, ByteView info, MutableByteView out) {
  Digest extracted;
  const gnutls_datum_t secret_datum = datum(secret);
  const gnutls_datum_t salt_datum = datum(salt);
  CHECK(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &secret_datum, &salt_datum, extracted.data()) == 0);
  const gnutls_datum_t extracted_datum = datum(extracted);
  const gnutls_datum_t info_datum = datum(info);
  CHECK(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &extracted_datum, &info_datum, out.data(),
                           out.size()) == 0);
  wipe(extracted);
}

bool equal_constant_time(ByteView a, ByteView b) {
  return a.size() == b.size() && nettle_memeql_sec(a.data(), b.data(), a.size()) != 0;
}

void wipe(MutableByteView secret) {
  if (!secret.empty()) explicit_bzero(secret.data(), secret.size());  // Empty ones may be null.
}

void SystemSecrets::fill(MutableByteView out) {
  CHECK(gnutls_rnd(GNUTLS_RND_KEY, out.data(), out.size()) == 0);
}

IdentityKey::IdentityKey(std::span<const std::byte, kSeedSize> seed) {
  std::copy(seed.begin(), seed.end(), seed_.begin());
  nettle_ed25519_sha512_public_key(as_u8(MutableByteView(id_.key)), as_u8(ByteView(seed_)));
}

IdentityKey IdentityKey::generate(SecretSource& secrets) {
  std::array<std::byte, kSeedSize> seed;
  secrets.fill(seed);
  IdentityKey key{std::span<const std::byte, kSeedSize>(seed)};
  wipe(seed);
  return key;
}

IdentityKey::~IdentityKey() { wipe(seed_); }

IdentityKey::Signature IdentityKey::sign(ByteView message) const {
  Signature signature;
  nettle_ed25519_sha512_sign(as_u8(ByteView(id_.key)), as_u8(ByteView(seed_)), message.size(),
                             as_u8(message), as_u8(MutableByteView(signature)));
  return signature;
}

bool verify_signature(const NodeId& signer, ByteView message, ByteView signature) {
  if (signature.size() != ED25519_SIGNATURE_SIZE) return false;
  return nettle_ed25519_sha512_verify(as_u8(ByteView(signer.key)), message.size(), as_u8(message),
                                      as_u8(signature)) != 0;
}

AgreementKey AgreementKey::generate(SecretSource& secrets) {
  AgreementKey key;
  secrets.fill(key.scalar_);
  nettle_curve25519_mul_g(as_u8(MutableByteView(key.public_key_)), as_u8(ByteView(key.scalar_)));
  return key;
}

AgreementKey::~AgreementKey() { wipe(scalar_); }

std::optional<SharedSecret> AgreementKey::agree(const PublicKey& peer) const {
  SharedSecret shared;
  nettle_curve25519_mul(as_u8(MutableByteView(shared)), as_u8(ByteView(scalar_)),
                        as_u8(ByteView(peer)));
  constexpr SharedSecret kZero{};
  if (equal_constant_time(shared, kZero)) return std::nullopt;
  return shared;
}

}  // namespace openp2p
