#pragma once

#include <gnutls/gnutls.h>

#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "quic/packet_protection.h"

/// TLS 1.3 for our connections: both sides present their Ed25519 key as a raw public key (RFC 7250,
/// RFC 8446 section 4.4.2) and prove it. No names, no expiry dates, no ASN.1 of a stranger to
/// parse: the key is the identity. No resumption, no tickets, no early data.
namespace openp2p::quic {

/// What all sessions of one identity share.
class TlsCredentials {
 public:
  explicit TlsCredentials(const IdentityKey& identity);

  gnutls_certificate_credentials_t certificate() const { return certificate_.get(); }
  gnutls_priority_t priority() const { return priority_.get(); }

 private:
  struct DeleteCertificate {
    void operator()(gnutls_certificate_credentials_t it) const {
      gnutls_certificate_free_credentials(it);
    }
  };
  struct DeletePriority {
    void operator()(gnutls_priority_t it) const { gnutls_priority_deinit(it); }
  };
  std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>, DeleteCertificate>
      certificate_;
  std::unique_ptr<std::remove_pointer_t<gnutls_priority_t>, DeletePriority> priority_;
};

class TlsSession {
 public:
  enum class Side { kClient, kServer };

  TlsSession(const TlsCredentials& credentials, Side side, const std::string& alpn);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  gnutls_session_t handle() const { return session_.get(); }
  bool has_agreed_alpn() const;  ///< After the handshake: the peer chose ours.
  void export_key(std::string_view label, ByteView context, MutableByteView out) const;

 private:
  struct Delete {
    void operator()(gnutls_session_t it) const { gnutls_deinit(it); }
  };
  std::string alpn_;
  std::unique_ptr<std::remove_pointer_t<gnutls_session_t>, Delete> session_;
};

/// The key that the peer of `session` presented and, when TLS asks, has yet to prove; nullopt where
/// it is no Ed25519 key.
std::optional<NodeId> presented_key(gnutls_session_t session);

/// The suite that the handshake chose.
AeadAlgorithm negotiated_aead(gnutls_session_t session);

}  // namespace openp2p::quic
