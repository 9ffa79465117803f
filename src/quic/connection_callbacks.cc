#include "base/check.h"
#include "quic/connection_impl.h"
#include "quic/connection_keys.h"

/// The table that ngtcp2 calls: each entry only turns C types into ours.
namespace openp2p::quic {
namespace {

ConnectionImpl& connection(void* user_data) { return *static_cast<ConnectionImpl*>(user_data); }
Stream& stream(void* stream_user_data) { return *static_cast<Stream*>(stream_user_data); }

int handshake_completed(ngtcp2_conn*, void* user_data) noexcept {
  return connection(user_data).on_handshake_completed() ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

int handshake_confirmed(ngtcp2_conn*, void* user_data) noexcept {
  connection(user_data).on_handshake_confirmed();
  return 0;
}

int stream_open(ngtcp2_conn*, std::int64_t id, void* user_data) noexcept {
  connection(user_data).on_stream_opened(id);
  return 0;
}

int recv_stream_data(ngtcp2_conn*, std::uint32_t flags, std::int64_t, std::uint64_t,
                     const std::uint8_t* data, std::size_t size, void* user_data,
                     void* stream_user_data) noexcept {
  connection(user_data).on_stream_data(stream(stream_user_data),
                                       std::as_bytes(std::span(data, size)),
                                       (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
  return 0;
}

int acked_stream_data_offset(ngtcp2_conn*, std::int64_t, std::uint64_t offset, std::uint64_t size,
                             void* user_data, void* stream_user_data) noexcept {
  connection(user_data).on_stream_acknowledged(stream(stream_user_data), offset + size, size);
  return 0;
}

int stream_reset(ngtcp2_conn*, std::int64_t, std::uint64_t, std::uint64_t code, void* user_data,
                 void* stream_user_data) noexcept {
  // A stream that was reset before anything else of it came is never opened here.
  if (stream_user_data != nullptr) {
    connection(user_data).on_stream_reset(stream(stream_user_data), code);
  }
  return 0;
}

int stream_close(ngtcp2_conn*, std::uint32_t, std::int64_t, std::uint64_t, void* user_data,
                 void* stream_user_data) noexcept {
  connection(user_data).on_stream_closed(stream(stream_user_data));
  return 0;
}

int extend_max_stream_data(ngtcp2_conn*, std::int64_t, std::uint64_t, void* user_data,
                           void* stream_user_data) noexcept {
  connection(user_data).on_stream_credit(stream(stream_user_data));
  return 0;
}

int recv_stateless_reset(ngtcp2_conn*, const ngtcp2_pkt_stateless_reset*,
                         void* user_data) noexcept {
  connection(user_data).on_stateless_reset();
  return 0;
}

void random(std::uint8_t* out, std::size_t size, const ngtcp2_rand_ctx* context) noexcept {
  static_cast<SecretSource*>(context->native_handle)
      ->fill(std::as_writable_bytes(std::span(out, size)));
}

int get_path_challenge_data(ngtcp2_conn*, std::uint8_t* out, void* user_data) noexcept {
  connection(user_data).secrets().fill(
      std::as_writable_bytes(std::span(out, NGTCP2_PATH_CHALLENGE_DATALEN)));
  return 0;
}

int get_new_connection_id(ngtcp2_conn*, ngtcp2_cid* id, std::uint8_t* token, std::size_t size,
                          void* user_data) noexcept {
  CHECK(size == Connection::kConnectionIdSize);
  connection(user_data).make_connection_id(
      *id,
      std::span<std::byte, kResetTokenSize>(reinterpret_cast<std::byte*>(token), kResetTokenSize));
  return 0;
}

int remove_connection_id(ngtcp2_conn*, const ngtcp2_cid* id, void* user_data) noexcept {
  connection(user_data).note_connection_id(*id, /*is_added=*/false);
  return 0;
}

}  // namespace

ngtcp2_callbacks make_callbacks(bool is_server) {
  ngtcp2_callbacks table{};
  if (is_server) {
    table.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
  } else {
    table.client_initial = ngtcp2_crypto_client_initial_cb;
    table.recv_retry = ngtcp2_crypto_recv_retry_cb;
  }
  table.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb;
  table.version_negotiation = ngtcp2_crypto_version_negotiation_cb;
  set_key_callbacks(table);
  table.handshake_completed = handshake_completed;
  table.handshake_confirmed = handshake_confirmed;
  table.stream_open = stream_open;
  table.recv_stream_data = recv_stream_data;
  table.acked_stream_data_offset = acked_stream_data_offset;
  table.stream_reset = stream_reset;
  table.stream_close = stream_close;
  table.extend_max_stream_data = extend_max_stream_data;
  table.recv_stateless_reset = recv_stateless_reset;
  table.rand = random;
  table.get_path_challenge_data = get_path_challenge_data;
  table.get_new_connection_id = get_new_connection_id;
  table.remove_connection_id = remove_connection_id;
  return table;
}

}  // namespace openp2p::quic
