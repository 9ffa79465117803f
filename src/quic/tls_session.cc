#include "quic/tls_session.h"

#include <gnutls/abstract.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace openp2p::quic {
namespace {

/// RFC 8410: how an Ed25519 public key (SubjectPublicKeyInfo) and a private key (PKCS #8) begin;
/// the 32 bytes of the key follow, and end them.
constexpr std::array<std::uint8_t, 12> kPublicKeyPrefix = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                                           0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
constexpr std::array<std::uint8_t, 16> kPrivateKeyPrefix = {
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};

template <std::size_t N>
std::array<std::byte, N + 32> with_prefix(const std::array<std::uint8_t, N>& prefix, ByteView key) {
  CHECK(key.size() == 32);
  std::array<std::byte, N + 32> out;
  std::ranges::copy(std::as_bytes(std::span(prefix)), out.begin());
  std::ranges::copy(key, out.begin() + N);
  return out;
}

gnutls_datum_t datum(ByteView bytes) {
  return {const_cast<unsigned char*>(as_u8(bytes)), static_cast<unsigned>(bytes.size())};
}

/// The client's order decides, but a server without AES instructions insists on ChaCha20.
std::string priority_text() {
  const char* const ciphers = has_aes_instructions()
                                  ? "+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
                                  : "+CHACHA20-POLY1305:+AES-128-GCM:+AES-256-GCM";
  std::string text = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:";
  text += ciphers;
  text +=
      ":-GROUP-ALL:+GROUP-X25519:-SIGN-ALL:+SIGN-EDDSA-ED25519"
      ":-CTYPE-ALL:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK:%DISABLE_TLS13_COMPAT_MODE";
  if (!has_aes_instructions()) text += ":%SERVER_PRECEDENCE";
  return text;
}

}  // namespace

TlsCredentials::TlsCredentials(const IdentityKey& identity) {
  gnutls_certificate_credentials_t certificate = nullptr;
  CHECK(gnutls_certificate_allocate_credentials(&certificate) == 0);
  certificate_.reset(certificate);
  const auto public_key = with_prefix(kPublicKeyPrefix, identity.id().key);
  auto private_key = with_prefix(kPrivateKeyPrefix, identity.seed());
  const gnutls_datum_t public_datum = datum(public_key);
  const gnutls_datum_t private_datum = datum(private_key);
  CHECK(gnutls_certificate_set_rawpk_key_mem(certificate, &public_datum, &private_datum,
                                             GNUTLS_X509_FMT_DER, /*pass=*/nullptr,
                                             /*key_usage=*/0, /*names=*/nullptr, /*names_length=*/0,
                                             /*flags=*/0) >= 0);
  wipe(private_key);

  gnutls_priority_t priority = nullptr;
  CHECK(gnutls_priority_init(&priority, priority_text().c_str(), nullptr) == 0);
  priority_.reset(priority);
}

TlsSession::TlsSession(const TlsCredentials& credentials, Side side, const std::string& alpn)
    : alpn_(alpn) {
  const unsigned side_flags =
      side == Side::kServer ? GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET : GNUTLS_CLIENT;
  gnutls_session_t session = nullptr;
  CHECK(gnutls_init(&session, side_flags | GNUTLS_ENABLE_RAWPK | GNUTLS_NO_TICKETS |
                                  GNUTLS_NO_END_OF_EARLY_DATA) == 0);
  session_.reset(session);
  CHECK(gnutls_priority_set(session, credentials.priority()) == 0);
  CHECK(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials.certificate()) == 0);
  const gnutls_datum_t alpn_datum = datum(as_bytes(alpn_));
  CHECK(gnutls_alpn_set_protocols(session, &alpn_datum, 1, GNUTLS_ALPN_MANDATORY) == 0);
  if (side == Side::kServer) gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
}

bool TlsSession::has_agreed_alpn() const {
  gnutls_datum_t chosen{};
  if (gnutls_alpn_get_selected_protocol(session_.get(), &chosen) != 0) return false;
  return std::string_view(reinterpret_cast<const char*>(chosen.data), chosen.size) == alpn_;
}

void TlsSession::export_key(std::string_view label, ByteView context, MutableByteView out) const {
  CHECK(gnutls_prf_rfc5705(session_.get(), label.size(), label.data(), context.size(),
                           reinterpret_cast<const char*>(context.data()), out.size(),
                           reinterpret_cast<char*>(out.data())) == 0);
}

std::optional<NodeId> presented_key(gnutls_session_t session) {
  unsigned count = 0;
  const gnutls_datum_t* const keys = gnutls_certificate_get_peers(session, &count);
  if (keys == nullptr || count != 1) return std::nullopt;
  const ByteView key = std::as_bytes(std::span(keys[0].data, keys[0].size));
  const ByteView prefix = std::as_bytes(std::span(kPublicKeyPrefix));
  if (key.size() != prefix.size() + NodeId::kSize) return std::nullopt;
  if (!std::ranges::equal(key.first(prefix.size()), prefix)) return std::nullopt;
  return NodeId::from_bytes(key.last(NodeId::kSize));
}

AeadAlgorithm negotiated_aead(gnutls_session_t session) {
  const gnutls_cipher_algorithm_t cipher = gnutls_cipher_get(session);
  if (cipher == GNUTLS_CIPHER_AES_128_GCM) return AeadAlgorithm::kAes128Gcm;
  if (cipher == GNUTLS_CIPHER_AES_256_GCM) return AeadAlgorithm::kAes256Gcm;
  CHECK(cipher == GNUTLS_CIPHER_CHACHA20_POLY1305);  // The priority string allows no other.
  return AeadAlgorithm::kChaCha20Poly1305;
}

}  // namespace openp2p::quic
