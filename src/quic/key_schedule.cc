#include "quic/key_schedule.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "base/check.h"
#include "base/crypto.h"
#include "wire/codec.h"

namespace openp2p::quic {

void expand_label(AeadAlgorithm suite, ByteView secret, std::string_view label,
                  MutableByteView out) {
  static constexpr std::string_view kPrefix = "tls13 ";
  CHECK(out.size() <= 255);
  std::array<std::byte, 64> info_bytes;
  Writer info(info_bytes);
  info.u16(static_cast<std::uint16_t>(out.size()));
  info.u8(static_cast<std::uint8_t>(kPrefix.size() + label.size()));
  info.bytes(as_bytes(kPrefix));
  info.bytes(as_bytes(label));
  info.u8(0);
  CHECK(info.ok());

  const auto hash = suite == AeadAlgorithm::kAes256Gcm ? GNUTLS_MAC_SHA384 : GNUTLS_MAC_SHA256;
  const gnutls_datum_t secret_datum{const_cast<unsigned char*>(as_u8(secret)),
                                    static_cast<unsigned>(secret.size())};
  const gnutls_datum_t info_datum{const_cast<unsigned char*>(as_u8(info.written())),
                                  static_cast<unsigned>(info.size())};
  CHECK(gnutls_hkdf_expand(hash, &secret_datum, &info_datum, out.data(), out.size()) == 0);
}

PacketKeys::PacketKeys(AeadAlgorithm suite, ByteView secret) : size(key_size(suite)) {
  expand_label(suite, secret, "quic key", MutableByteView(key_bytes).first(size));
  expand_label(suite, secret, "quic hp", MutableByteView(header_bytes).first(size));
  expand_label(suite, secret, "quic iv", iv);
}

PacketKeys::~PacketKeys() {
  wipe(key_bytes);
  wipe(header_bytes);
  wipe(iv);
}

}  // namespace openp2p::quic
