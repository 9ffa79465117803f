#pragma once

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "quic/connection.h"
#include "quic/frame_scan.h"
#include "quic/retry_token.h"
#include "quic/stream.h"
#include "quic/tls_session.h"

namespace openp2p::quic {

inline constexpr std::size_t kResetTokenSize = NGTCP2_STATELESS_RESET_TOKENLEN;

/// What the connections of one factory share.
struct SharedParts {
  SharedParts(const IdentityKey& identity, const PacketProtection& packet_protection,
              SecretSource& secret_source);
  ~SharedParts();

  TlsCredentials credentials;
  const PacketProtection& protection;
  SecretSource& secrets;
  RetryTokens retry_tokens;
  /// Made from the identity and not at random, so that a node that restarted can tell its peers
  /// (RFC 9000 section 10.3).
  Digest reset_key;
  ChunkPool chunks;
};

/// The server's side of what a connection begins with.
struct AcceptedInitial {
  ngtcp2_pkt_hd header;
  std::optional<RetryTokens::OriginalId> original_id;  ///< After a Retry.
};

/// One connection around one ngtcp2_conn. In several files by concern:
/// connection_impl.cc life and time; connection_callbacks.cc what ngtcp2 says; connection_send.cc
/// packets out; connection_streams.cc the owner's stream commands; connection_keys.cc TLS secrets
/// to packet-protection keys.
///
/// Reentrancy: the owner's calls from inside a ConnectionHandler call arrive while ngtcp2 works.
/// They only change our own state and are applied before the next packet is written; the one
/// exception, ngtcp2_conn_open_bidi_stream(), is legal there.
class ConnectionImpl {
 public:
  ConnectionImpl(SharedParts& shared, const ConnectionConfig& config, ConnectionHandler& handler,
                 PeerVerifier& verifier, TimePoint now);
  ~ConnectionImpl();
  ConnectionImpl(const ConnectionImpl&) = delete;
  ConnectionImpl& operator=(const ConnectionImpl&) = delete;
  void start_client();
  void start_server(const AcceptedInitial& initial);

  void on_datagram(ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  Burst poll_burst(MutableByteView out, std::size_t datagram_bytes, TimePoint now);
  void close(std::uint64_t code, std::string_view reason, TimePoint now);
  bool is_closed() const { return state_ != State::kOpen || is_close_wanted_; }
  std::optional<Connection::IdChange> poll_id_change();

  Result<StreamId> open_stream();
  MutableByteView write_room(StreamId id);
  void commit(StreamId id, std::size_t bytes);
  std::size_t write(StreamId id, ByteView data);
  void finish(StreamId id);
  void reset(StreamId id, std::uint64_t code);
  void stop(StreamId id, std::uint64_t code);
  void consume(StreamId id, std::size_t bytes);

  const std::optional<NodeId>& peer() const { return peer_; }
  void export_key(std::string_view label, ByteView context, MutableByteView out) const;
  std::uint64_t packets_opened() const { return packets_opened_; }
  ngtcp2_conn_stat statistics() const;
  Traffic traffic() const;
  void initiate_key_update(TimePoint now);
  void ask();
  bool probe_now(TimePoint now);

  /// From ngtcp2 and GnuTLS, during calls into them.
  bool on_handshake_completed();  ///< False: the peer did not agree to our protocol.
  void on_handshake_confirmed() { is_confirmed_ = true; }  ///< Told to clients only.
  void on_stream_opened(std::int64_t id);
  void on_stream_data(Stream& stream, ByteView data, bool is_end);
  void on_stream_acknowledged(Stream& stream, std::uint64_t offset, std::uint64_t bytes);
  void on_stream_reset(Stream& stream, std::uint64_t code);
  void on_stream_closed(Stream& stream);
  void on_stream_credit(Stream& stream);
  void on_packet_sealed() { ++packets_sealed_; }
  void on_packet_opened(ByteView payload);
  void on_stateless_reset() { was_reset_ = true; }
  void make_connection_id(ngtcp2_cid& id, std::span<std::byte, kResetTokenSize> reset_token);
  void note_connection_id(const ngtcp2_cid& id, bool is_added);
  int verify_peer(gnutls_session_t session);
  bool install_secrets(ngtcp2_crypto_level level, ByteView receive, ByteView send);
  bool update_keys(std::span<std::byte> receive_secret, std::span<std::byte> send_secret,
                   ngtcp2_crypto_aead_ctx& receive_key, std::uint8_t* receive_iv,
                   ngtcp2_crypto_aead_ctx& send_key, std::uint8_t* send_iv,
                   ByteView old_receive_secret, ByteView old_send_secret);
  ngtcp2_conn* conn() const { return conn_.get(); }
  SecretSource& secrets() const { return shared_.secrets; }

 private:
  enum class State {
    kOpen,
    kClosing,   ///< CONNECTION_CLOSE is ours to send, and to repeat for a while.
    kDraining,  ///< The peer closed, or is gone: nothing more is sent.
    kDone,
  };
  struct DeleteConn {
    void operator()(ngtcp2_conn* it) const { ngtcp2_conn_del(it); }
  };

  // Life and time.
  ngtcp2_tstamp advance(TimePoint now);
  void configure(ngtcp2_settings& settings, ngtcp2_transport_params& params) const;
  void attach(ngtcp2_conn* conn);
  void set_keep_alive();
  void on_library_error(int error);
  void end(State next, CloseReason reason);
  CloseReason peers_reason() const;
  CloseReason reason_of_error(int error) const;
  void finish_close();
  Burst poll_close(MutableByteView out, ngtcp2_tstamp ts);
  void write_close_datagram(ngtcp2_tstamp ts);

  // Packets out.
  void note_question();
  bool is_answer_awaited(ngtcp2_tstamp ts) const;
  Burst fill_burst(MutableByteView out, std::size_t datagram_bytes, ngtcp2_tstamp ts);
  ngtcp2_ssize write_datagram(MutableByteView out, ngtcp2_tstamp ts);
  void note_written(Stream& stream, std::size_t bytes, bool has_fin);
  void block(Stream& stream);
  void apply_commands();
  void apply_commands(Stream& stream);
  void finish_pacing(const ngtcp2_conn_stat& stat, std::size_t bytes, ngtcp2_tstamp ts);
  void update_key_if_due(ngtcp2_tstamp ts);

  // Streams.
  void tell_stops();
  void count_received(std::size_t bytes);
  void on_stream_stopped(Stream& stream, std::uint64_t code);
  Stream* find(StreamId id);
  Stream& add_stream(StreamId id, bool is_local);
  void make_ready(Stream& stream);
  void note_command(Stream& stream);
  void give_back_all(Stream& stream);

  // Keys.
  bool install_key(ngtcp2_crypto_level level, bool is_send, ByteView secret);

  SharedParts& shared_;
  const ConnectionConfig config_;
  ConnectionHandler& handler_;
  PeerVerifier& verifier_;
  bool is_server_ = false;
  State state_ = State::kOpen;
  std::unique_ptr<TlsSession> tls_;
  ngtcp2_crypto_conn_ref conn_ref_{};
  ngtcp2_tstamp last_ts_ = 0;

  std::optional<NodeId> presented_peer_;  // Said to be; proved once the handshake completes.
  std::optional<NodeId> peer_;
  bool is_confirmed_ = false;  // RFC 9001 section 4.1.2.
  bool was_refused_by_us_ = false;
  bool was_reset_ = false;
  std::uint64_t packets_opened_ = 0;
  std::uint64_t packets_sealed_ = 0;            // With all keys.
  std::uint64_t bytes_acknowledged_ = 0;        // Of all streams.
  std::uint64_t packets_lost_ = 0;              // Of streams that are closed.
  std::uint64_t packets_sealed_at_update_ = 0;  // When the present key came.
  std::uint64_t key_update_tried_at_ = 0;
  bool is_key_update_wanted_ = false;
  bool is_asking_ = false;  // A PING is due with the next packet.

  SendBudget send_budget_;
  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  SendList ready_;               // Round-robin.
  std::size_t send_ring_bytes_;  // As large as the path is long now.
  std::size_t turn_bytes_ = 0;   // What a stream sends before the next has its turn.
  SendList credit_queue_;        // Wait for the peer's connection-level credit.
  CommandList commands_;
  std::vector<FrameScan::StopSending> stops_;  // Of the datagram that is being read.
  std::uint64_t unconsumed_ = 0;               // Bytes of all streams that wait for their readers.
  std::uint64_t credit_withheld_ = 0;    // Of these, bytes without credit for the connection yet.
  std::uint64_t connection_credit_ = 0;  // Credit that the peer has not been told of.
  std::size_t streams_to_allow_ = 0;     // Peer's streams that ended, likewise.

  ngtcp2_tstamp paced_until_ = UINT64_MAX;  // UINT64_MAX: may send.
  // A lone packet's acknowledgement waits for the answer to what it brought.
  ngtcp2_tstamp answer_until_ = 0;
  std::size_t unanswered_packets_ = 0;  // That brought data, since packets were last written.
  std::uint64_t last_data_packet_ = 0;  // As packets_opened_ counts.

  std::deque<Connection::IdChange> id_changes_;

  bool is_close_wanted_ = false;
  ngtcp2_connection_close_error close_error_{};
  std::string close_text_;
  Bytes close_datagram_;
  bool has_close_to_send_ = false;
  std::uint64_t datagrams_after_close_ = 0;
  ngtcp2_tstamp close_deadline_ = 0;

  std::unique_ptr<ngtcp2_conn, DeleteConn> conn_;  // Last: deleting it calls back into us.
};

/// The table that connects ngtcp2 with ConnectionImpl.
ngtcp2_callbacks make_callbacks(bool is_server);

inline ngtcp2_cid to_cid(ByteView bytes) {
  ngtcp2_cid cid;
  ngtcp2_cid_init(&cid, as_u8(bytes), bytes.size());
  return cid;
}

}  // namespace openp2p::quic
