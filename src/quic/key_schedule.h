#pragma once

#include <array>
#include <string_view>

#include "base/bytes.h"
#include "quic/packet_protection.h"

/// From a TLS 1.3 traffic secret to packet-protection keys: RFC 8446 section 7.1, RFC 9001
/// sections 5.1 and 6.1, for QUIC version 1.
namespace openp2p::quic {

/// HKDF-Expand-Label with an empty context. The hash is the cipher suite's: SHA-384 for
/// AES-256-GCM, else SHA-256. `out` is of at most 255 bytes.
void expand_label(AeadAlgorithm suite, ByteView secret, std::string_view label,
                  MutableByteView out);

/// One direction's keys. Overwritten on destruction.
struct PacketKeys {
  static constexpr std::size_t kKeySizeMax = 32;

  PacketKeys(AeadAlgorithm suite, ByteView secret);
  ~PacketKeys();
  PacketKeys(const PacketKeys&) = delete;
  PacketKeys& operator=(const PacketKeys&) = delete;

  ByteView key() const { return ByteView(key_bytes).first(size); }
  ByteView header() const { return ByteView(header_bytes).first(size); }

  std::size_t size;
  std::array<std::byte, kKeySizeMax> key_bytes{};
  std::array<std::byte, kKeySizeMax> header_bytes{};  ///< Stays the same over key updates.
  std::array<std::byte, kAeadNonceSize> iv{};
};

}  // namespace openp2p::quic
