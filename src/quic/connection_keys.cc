#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include <cstring>

#include "base/check.h"
#include "quic/connection_impl.h"
#include "quic/connection_keys.h"
#include "quic/key_schedule.h"

namespace openp2p::quic {
namespace {

/// What ngtcp2 holds as a key's native handle. Its callbacks are given nothing else, so each key
/// knows its connection.
struct AeadHandle {
  std::unique_ptr<AeadKey> key;
  ConnectionImpl* connection;
};

// Initial keys are made by the library and protect nothing from anyone (RFC 9001 section 5.2); they
// pass through the same callbacks. Our handles carry a mark in the lowest bit, which an address of
// these types never has.
constexpr std::uintptr_t kOurs = 1;
static_assert(alignof(AeadHandle) > 1 && alignof(HeaderKey) > 1);

bool is_ours(const void* handle) { return (reinterpret_cast<std::uintptr_t>(handle) & kOurs) != 0; }

template <class T>
T* unmark(const void* handle) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(handle) & ~kOurs);
}

template <class T>
void* mark(std::unique_ptr<T> owned) {
  return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(owned.release()) | kOurs);
}

ByteView view(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}
MutableByteView view(std::uint8_t* data, std::size_t size) {
  return std::as_writable_bytes(std::span(data, size));
}

void* make_aead_handle(const PacketProtection& protection, AeadAlgorithm algorithm, ByteView key,
                       ConnectionImpl* connection) {
  return mark(std::make_unique<AeadHandle>(
      AeadHandle{.key = protection.make_aead(algorithm, key), .connection = connection}));
}

int seal(std::uint8_t* dest, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
         const std::uint8_t* plain, std::size_t plain_size, const std::uint8_t* nonce,
         std::size_t nonce_size, const std::uint8_t* aad, std::size_t aad_size) noexcept {
  if (!is_ours(context->native_handle)) {
    return ngtcp2_crypto_encrypt_cb(dest, aead, context, plain, plain_size, nonce, nonce_size, aad,
                                    aad_size);
  }
  const auto* const handle = unmark<AeadHandle>(context->native_handle);
  handle->key->seal(view(nonce, nonce_size).first<kAeadNonceSize>(), view(aad, aad_size),
                    view(plain, plain_size), view(dest, plain_size + kAeadTagSize));
  handle->connection->on_packet_sealed();
  return 0;
}

int open(std::uint8_t* dest, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
         const std::uint8_t* sealed, std::size_t sealed_size, const std::uint8_t* nonce,
         std::size_t nonce_size, const std::uint8_t* aad, std::size_t aad_size) noexcept {
  if (!is_ours(context->native_handle)) {
    return ngtcp2_crypto_decrypt_cb(dest, aead, context, sealed, sealed_size, nonce, nonce_size,
                                    aad, aad_size);
  }
  if (sealed_size < kAeadTagSize) return NGTCP2_ERR_DECRYPT;
  const auto* const handle = unmark<AeadHandle>(context->native_handle);
  const bool is_authentic =
      handle->key->open(view(nonce, nonce_size).first<kAeadNonceSize>(), view(aad, aad_size),
                        view(sealed, sealed_size), view(dest, sealed_size - kAeadTagSize));
  if (!is_authentic) return NGTCP2_ERR_DECRYPT;
  handle->connection->on_packet_opened(view(dest, sealed_size - kAeadTagSize));
  return 0;
}

int header_mask(std::uint8_t* dest, const ngtcp2_crypto_cipher* cipher,
                const ngtcp2_crypto_cipher_ctx* context, const std::uint8_t* sample) noexcept {
  if (!is_ours(context->native_handle)) {
    return ngtcp2_crypto_hp_mask_cb(dest, cipher, context, sample);
  }
  const auto* const key = unmark<HeaderKey>(context->native_handle);
  const HeaderMask mask = key->mask(view(sample, kHeaderSampleSize).first<kHeaderSampleSize>());
  std::memcpy(dest, mask.data(), mask.size());
  return 0;
}

void delete_aead(ngtcp2_conn* conn, ngtcp2_crypto_aead_ctx* context, void* user_data) noexcept {
  if (!is_ours(context->native_handle)) {
    return ngtcp2_crypto_delete_crypto_aead_ctx_cb(conn, context, user_data);
  }
  delete unmark<AeadHandle>(context->native_handle);
}

void delete_header(ngtcp2_conn* conn, ngtcp2_crypto_cipher_ctx* context, void* user_data) noexcept {
  if (!is_ours(context->native_handle)) {
    return ngtcp2_crypto_delete_crypto_cipher_ctx_cb(conn, context, user_data);
  }
  delete unmark<HeaderKey>(context->native_handle);
}

int update_key(ngtcp2_conn*, std::uint8_t* receive_secret, std::uint8_t* send_secret,
               ngtcp2_crypto_aead_ctx* receive_key, std::uint8_t* receive_iv,
               ngtcp2_crypto_aead_ctx* send_key, std::uint8_t* send_iv,
               const std::uint8_t* old_receive_secret, const std::uint8_t* old_send_secret,
               std::size_t size, void* user_data) noexcept {
  const bool done = static_cast<ConnectionImpl*>(user_data)->update_keys(
      view(receive_secret, size), view(send_secret, size), *receive_key, receive_iv, *send_key,
      send_iv, view(old_receive_secret, size), view(old_send_secret, size));
  return done ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

ConnectionImpl& connection_of(gnutls_session_t session) {
  auto* const ref = static_cast<ngtcp2_crypto_conn_ref*>(gnutls_session_get_ptr(session));
  return *static_cast<ConnectionImpl*>(ref->user_data);
}

int on_secrets(gnutls_session_t session, gnutls_record_encryption_level_t level,
               const void* receive, const void* send, std::size_t size) noexcept {
  const auto secret = [size](const void* data) {
    return data == nullptr ? ByteView() : ByteView(static_cast<const std::byte*>(data), size);
  };
  const bool done = connection_of(session).install_secrets(
      ngtcp2_crypto_gnutls_from_gnutls_record_encryption_level(level), secret(receive),
      secret(send));
  return done ? 0 : -1;
}

int on_verify(gnutls_session_t session) noexcept {
  return connection_of(session).verify_peer(session);
}

}  // namespace

void set_key_callbacks(ngtcp2_callbacks& callbacks) {
  callbacks.encrypt = seal;
  callbacks.decrypt = open;
  callbacks.hp_mask = header_mask;
  callbacks.update_key = update_key;
  callbacks.delete_crypto_aead_ctx = delete_aead;
  callbacks.delete_crypto_cipher_ctx = delete_header;
}

void connect_tls_hooks(gnutls_session_t session, bool is_server) {
  const int done = is_server ? ngtcp2_crypto_gnutls_configure_server_session(session)
                             : ngtcp2_crypto_gnutls_configure_client_session(session);
  CHECK(done == 0);
  gnutls_handshake_set_secret_function(session, on_secrets);
  gnutls_session_set_verify_function(session, on_verify);
}

int ConnectionImpl::verify_peer(gnutls_session_t session) {
  const auto key = presented_key(session);
  if (!key || !verifier_.is_welcome(*key)) {
    was_refused_by_us_ = true;
    return GNUTLS_E_CERTIFICATE_ERROR;
  }
  presented_peer_ = key;
  return 0;
}

bool ConnectionImpl::install_secrets(ngtcp2_crypto_level level, ByteView receive, ByteView send) {
  // There is no early data here: a peer that makes TLS derive its keys breaks the rules.
  if (level != NGTCP2_CRYPTO_LEVEL_HANDSHAKE && level != NGTCP2_CRYPTO_LEVEL_APPLICATION) {
    return false;
  }
  if (ngtcp2_conn_get_crypto_ctx(conn())->aead.native_handle == nullptr) {
    ngtcp2_crypto_ctx context{};
    ngtcp2_crypto_ctx_tls(&context, tls_->handle());
    ngtcp2_conn_set_crypto_ctx(conn(), &context);
  }
  if (!receive.empty() && !install_key(level, /*is_send=*/false, receive)) return false;
  return send.empty() || install_key(level, /*is_send=*/true, send);
}

bool ConnectionImpl::install_key(ngtcp2_crypto_level level, bool is_send, ByteView secret) {
  const AeadAlgorithm algorithm = negotiated_aead(tls_->handle());
  const PacketKeys keys(algorithm, secret);
  const ngtcp2_crypto_aead_ctx aead{
      make_aead_handle(shared_.protection, algorithm, keys.key(), this)};
  const ngtcp2_crypto_cipher_ctx header{
      mark(shared_.protection.make_header(algorithm, keys.header()))};
  const std::uint8_t* const iv = as_u8(ByteView(keys.iv));
  int error = 0;
  if (level == NGTCP2_CRYPTO_LEVEL_HANDSHAKE) {
    const auto install =
        is_send ? ngtcp2_conn_install_tx_handshake_key : ngtcp2_conn_install_rx_handshake_key;
    error = install(conn(), &aead, iv, keys.iv.size(), &header);
  } else {
    const auto install = is_send ? ngtcp2_conn_install_tx_key : ngtcp2_conn_install_rx_key;
    error = install(conn(), as_u8(secret), secret.size(), &aead, iv, keys.iv.size(), &header);
  }
  if (error == 0) return true;
  delete unmark<AeadHandle>(aead.native_handle);
  delete unmark<HeaderKey>(header.native_handle);
  return false;
}

bool ConnectionImpl::update_keys(std::span<std::byte> receive_secret,
                                 std::span<std::byte> send_secret,
                                 ngtcp2_crypto_aead_ctx& receive_key, std::uint8_t* receive_iv,
                                 ngtcp2_crypto_aead_ctx& send_key, std::uint8_t* send_iv,
                                 ByteView old_receive_secret, ByteView old_send_secret) {
  const AeadAlgorithm algorithm = negotiated_aead(tls_->handle());
  expand_label(algorithm, old_receive_secret, "quic ku", receive_secret);
  expand_label(algorithm, old_send_secret, "quic ku", send_secret);
  const PacketKeys receive(algorithm, receive_secret);
  const PacketKeys send(algorithm, send_secret);
  receive_key.native_handle = make_aead_handle(shared_.protection, algorithm, receive.key(), this);
  send_key.native_handle = make_aead_handle(shared_.protection, algorithm, send.key(), this);
  std::memcpy(receive_iv, receive.iv.data(), receive.iv.size());
  std::memcpy(send_iv, send.iv.data(), send.iv.size());
  return true;
}

void ConnectionImpl::update_key_if_due(ngtcp2_tstamp ts) {
  const std::uint64_t sealed = packets_sealed_ - packets_sealed_at_update_;
  if (!is_key_update_wanted_ && sealed < config_.packets_per_key_max) return;
  // The library refuses while the last update is not confirmed (RFC 9001 section 6.1), and needs a
  // packet or two to make the next keys: ask again, but not for each packet.
  static constexpr std::uint64_t kPacketsBetweenTries = 8;
  if (packets_sealed_ < key_update_tried_at_ + kPacketsBetweenTries && !is_key_update_wanted_)
    return;
  key_update_tried_at_ = packets_sealed_;
  if (!is_confirmed_ || ngtcp2_conn_initiate_key_update(conn(), ts) != 0) return;
  packets_sealed_at_update_ = packets_sealed_;
  is_key_update_wanted_ = false;
}

void ConnectionImpl::initiate_key_update(TimePoint now) {
  advance(now);
  is_key_update_wanted_ = true;
}

}  // namespace openp2p::quic
