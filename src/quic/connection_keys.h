#pragma once

#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>

/// Puts our packet protection under ngtcp2 and our judgement of keys into GnuTLS.
namespace openp2p::quic {

void set_key_callbacks(ngtcp2_callbacks& callbacks);
void connect_tls_hooks(gnutls_session_t session, bool is_server);

}  // namespace openp2p::quic
