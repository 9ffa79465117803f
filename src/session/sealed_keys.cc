#include "session/sealed_keys.h"

#include <algorithm>

#include "base/check.h"
#include "base/crypto.h"
#include "quic/key_schedule.h"

namespace openp2p::session {
namespace {

constexpr std::uint8_t kForm = 0b0100'0000;
constexpr std::size_t kCounterAt = kSealedIdAt + sizeof(SealedId);

template <class T>
T read_big_endian(ByteView bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value << 8 | std::to_integer<T>(bytes[i]));
  }
  return value;
}

template <class T>
void write_big_endian(T value, MutableByteView out) {
  for (std::size_t i = sizeof(T); i-- > 0; value >>= 8) out[i] = static_cast<std::byte>(value);
}

}  // namespace

SealedKey::SealedKey(const quic::PacketProtection& protection, quic::AeadAlgorithm algorithm,
                     SealedSecret secret) {
  std::array<std::byte, quic::PacketKeys::kKeySizeMax> bytes;
  const auto key = MutableByteView(bytes).first(quic::key_size(algorithm));
  quic::expand_label(algorithm, secret, "sealed key", key);
  quic::expand_label(algorithm, secret, "sealed iv", iv_);
  aead_ = protection.make_aead(algorithm, key);
  wipe(bytes);
}

SealedKey::~SealedKey() { wipe(iv_); }

/// RFC 8446 section 5.3: the number, as wide as the IV, mixed into it.
SealedKey::NonceBytes SealedKey::nonce(std::uint32_t counter) const {
  NonceBytes nonce = iv_;
  for (std::size_t i = nonce.size(); counter != 0; counter >>= 8) {
    nonce[--i] ^= static_cast<std::byte>(counter);
  }
  return nonce;
}

void SealedKey::seal(std::uint32_t counter, ByteView header, ByteView payload,
                     MutableByteView out) const {
  aead_->seal(nonce(counter), header, payload, out);
}

bool SealedKey::open(std::uint32_t counter, ByteView header, ByteView sealed,
                     MutableByteView out) const {
  return aead_->open(nonce(counter), header, sealed, out);
}

SealedRatchet::SealedRatchet(const quic::PacketProtection& protection,
                             quic::AeadAlgorithm algorithm, SealedSecret secret)
    : protection_(&protection), algorithm_(algorithm) {
  std::ranges::copy(secret, secret_.begin());
}

SealedRatchet::~SealedRatchet() { wipe(secret_); }

std::unique_ptr<SealedKey> SealedRatchet::make_key() const {
  return std::make_unique<SealedKey>(*protection_, algorithm_, secret_);
}

void SealedRatchet::advance() {
  std::array<std::byte, kSealedSecretSize> next;
  quic::expand_label(algorithm_, secret_, "sealed next", next);
  secret_ = next;
  wipe(next);
  ++epoch_;
}

bool read_sealed_header(ByteView datagram, SealedHeader& header) {
  if (datagram.size() < kSealedOverhead || !is_sealed_form(datagram)) return false;
  header.epoch_bits = std::to_integer<std::uint8_t>(datagram[0]) % kSealedEpochsTold;
  header.id = read_big_endian<SealedId>(datagram.subspan(kSealedIdAt));
  header.counter = read_big_endian<std::uint32_t>(datagram.subspan(kCounterAt));
  return true;
}

void write_sealed_header(const SealedHeader& header, std::span<std::byte, kSealedHeaderSize> out) {
  CHECK(header.epoch_bits < kSealedEpochsTold);
  out[0] = static_cast<std::byte>(kForm | header.epoch_bits);
  write_big_endian(header.id, out.subspan(kSealedIdAt));
  write_big_endian(header.counter, out.subspan(kCounterAt));
}

}  // namespace openp2p::session
