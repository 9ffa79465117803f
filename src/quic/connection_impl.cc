#include "quic/connection_impl.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "quic/connection_keys.h"
#include "wire/codec.h"

/// Life and time of a connection.
namespace openp2p::quic {
namespace {

/// ngtcp2 takes 0 for "never" in places; simulated time may start there.
constexpr ngtcp2_tstamp kTimeBase = NGTCP2_SECONDS;

/// Called exactly at its deadline, ngtcp2 0.12 finds connection ids not yet due for removal and
/// gives the same deadline again.
constexpr ngtcp2_tstamp kExpirySlack = NGTCP2_MICROSECONDS;

/// Credit that a peer gets at first; it doubles, up to the configured windows, while the peer uses
/// it within two round trips. So an idle or slow connection pins little.
constexpr std::uint64_t kFirstStreamWindowBytes = 1 << 20;
constexpr std::uint64_t kFirstConnectionWindowBytes = 2 << 20;

/// Acknowledging each second packet (RFC 9000 section 13.2.2) is for small windows; datagrams come
/// here in batches of up to 64, and each batch is acknowledged in any case.
constexpr std::size_t kPacketsPerAck = 8;

/// TLS alerts (RFC 8446 section 6.2) that tell what was refused.
constexpr std::uint8_t kAlertNoApplicationProtocol = 120;

/// Transport errors 0x100 to 0x1ff carry a TLS alert (RFC 9001 section 4.8).
constexpr std::uint64_t kCryptoErrorFirst = 0x100;
constexpr std::uint64_t kCryptoErrorLast = 0x1ff;

/// A peer that closes during the handshake may not show its own code (RFC 9000 section 10.2.3).
constexpr std::uint64_t kApplicationError = 0x0c;

/// So far ahead of its time the probe timer may be fired. Far less than the idle timeout, which
/// would be told the same time.
constexpr ngtcp2_duration kProbeAheadMax = 20 * NGTCP2_SECONDS;

constexpr std::size_t kReasonBytesMax = 200;

/// The one path that ngtcp2 ever sees: real ones are chosen below the connection.
struct ConstantPath {
  ConstantPath() {
    local_address.sin_family = AF_INET;
    local_address.sin_port = 1;
    remote_address.sin_family = AF_INET;
    remote_address.sin_port = 2;
    path.local = {reinterpret_cast<sockaddr*>(&local_address), sizeof local_address};
    path.remote = {reinterpret_cast<sockaddr*>(&remote_address), sizeof remote_address};
  }
  sockaddr_in local_address{};
  sockaddr_in remote_address{};
  ngtcp2_path path{};
};

ngtcp2_duration to_duration(Duration duration) {
  return static_cast<ngtcp2_duration>(std::max(duration, Duration::zero()).count());
}

Connection::ConnectionId to_number(const ngtcp2_cid& id) {
  CHECK(id.datalen >= Connection::kConnectionIdSize);
  Connection::ConnectionId number = 0;
  for (std::size_t i = 0; i < Connection::kConnectionIdSize; ++i) {
    number = number << 8 | id.data[i];
  }
  return number;
}

}  // namespace

SharedParts::SharedParts(const IdentityKey& identity, const PacketProtection& packet_protection,
                         SecretSource& secret_source)
    : credentials(identity),
      protection(packet_protection),
      secrets(secret_source),
      retry_tokens(secret_source) {
  hkdf_sha256(identity.seed(), /*salt=*/{}, as_bytes("openp2p stateless reset"), reset_key);
}

SharedParts::~SharedParts() { wipe(reset_key); }

ConnectionImpl::ConnectionImpl(SharedParts& shared, const ConnectionConfig& config,
                               ConnectionHandler& handler, PeerVerifier& verifier, TimePoint now)
    : shared_(shared),
      config_(config),
      handler_(handler),
      verifier_(verifier),
      send_ring_bytes_(config.send_ring_bytes) {
  CHECK(config.datagram_bytes_max >= Connection::kDatagramBytesMin);
  advance(now);
}

ConnectionImpl::~ConnectionImpl() = default;

ngtcp2_tstamp ConnectionImpl::advance(TimePoint now) {
  const auto ts = static_cast<ngtcp2_tstamp>(now.time_since_epoch().count()) + kTimeBase;
  last_ts_ = std::max(last_ts_, ts);
  return last_ts_;
}

void ConnectionImpl::configure(ngtcp2_settings& settings, ngtcp2_transport_params& params) const {
  ngtcp2_settings_default(&settings);
  settings.initial_ts = last_ts_;
  settings.initial_rtt = std::max<ngtcp2_duration>(to_duration(config_.initial_rtt), 1);
  settings.handshake_timeout = to_duration(config_.handshake_timeout);
  settings.cc_algo = NGTCP2_CC_ALGO_CUBIC;  // 0.12's BBR collapses under 1 % loss.
  settings.max_tx_udp_payload_size = config_.datagram_bytes_max;
  settings.no_tx_udp_payload_size_shaping = 1;  // The path layer knows the size that fits.
  settings.no_pmtud = 1;
  settings.ack_thresh = kPacketsPerAck;
  settings.max_window = config_.connection_window_bytes;
  settings.max_stream_window = config_.stream_window_bytes;
  settings.rand_ctx.native_handle = &shared_.secrets;

  ngtcp2_transport_params_default(&params);
  const std::uint64_t stream_window =
      std::min(config_.stream_window_bytes, kFirstStreamWindowBytes);
  params.initial_max_data = std::min(config_.connection_window_bytes, kFirstConnectionWindowBytes);
  params.initial_max_stream_data_bidi_local = stream_window;
  params.initial_max_stream_data_bidi_remote = stream_window;
  params.initial_max_streams_bidi = config_.peer_streams_max;
  params.max_idle_timeout = to_duration(config_.idle_timeout);
  params.disable_active_migration = 1;
}

void ConnectionImpl::attach(ngtcp2_conn* conn) {
  conn_.reset(conn);
  tls_ = std::make_unique<TlsSession>(
      shared_.credentials, is_server_ ? TlsSession::Side::kServer : TlsSession::Side::kClient,
      config_.alpn);
  connect_tls_hooks(tls_->handle(), is_server_);
  conn_ref_.get_conn = [](ngtcp2_crypto_conn_ref* ref) {
    return static_cast<ConnectionImpl*>(ref->user_data)->conn();
  };
  conn_ref_.user_data = this;
  gnutls_session_set_ptr(tls_->handle(), &conn_ref_);
  ngtcp2_conn_set_tls_native_handle(conn, tls_->handle());
  set_keep_alive();
}

/// Both sides would ping at the same moment, each for both: the accepting one waits a little
/// longer, and has nothing left to do.
void ConnectionImpl::set_keep_alive() {
  const Duration keep_alive = is_server_ ? config_.keep_alive * 5 / 4 : config_.keep_alive;
  ngtcp2_conn_set_keep_alive_timeout(conn(), to_duration(keep_alive));
}

/// The library knows PINGs only of silence: for a moment, the shortest silence is too long.
void ConnectionImpl::ask() {
  if (state_ != State::kOpen || !peer_) return;
  is_asking_ = true;
  ngtcp2_conn_set_keep_alive_timeout(conn(), 1);
}

/// The library has no call for it, but takes the time from us: the timer that is due first is fired
/// ahead of time, if it is the one for probes. All times that follow from it are counted from when
/// the probes are really sent.
bool ConnectionImpl::probe_now(TimePoint now) {
  const ngtcp2_tstamp ts = advance(now);
  if (state_ != State::kOpen || !is_confirmed_) return false;
  const ngtcp2_conn_stat stat = statistics();
  if (stat.loss_detection_timer == UINT64_MAX) return false;
  const ngtcp2_tstamp soon = ts + kProbeAheadMax;
  // None has passed: perhaps nothing is lost. Or too far ahead for other timers. Then the answer to
  // a PING does it a round trip later.
  if (stat.pto_count == 0 || stat.loss_detection_timer > soon) {
    ask();
    return true;
  }
  const int error = ngtcp2_conn_handle_expiry(conn(), std::max(ts, stat.loss_detection_timer));
  if (error != 0) on_library_error(error);
  return error == 0;
}

void ConnectionImpl::start_client() {
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  configure(settings, params);
  ngtcp2_cid own_id;
  std::array<std::byte, kResetTokenSize> unused_token;
  make_connection_id(own_id, unused_token);
  std::array<std::byte, Connection::kConnectionIdSize> first_id;
  shared_.secrets.fill(first_id);
  if (config_.initial_destination) {
    Writer out(first_id);
    out.u64(*config_.initial_destination);
  }
  const ngtcp2_cid server_id = to_cid(first_id);
  const ngtcp2_callbacks callbacks = make_callbacks(/*is_server=*/false);
  ConstantPath constant;
  ngtcp2_conn* conn = nullptr;
  CHECK(ngtcp2_conn_client_new(&conn, &server_id, &own_id, &constant.path, NGTCP2_PROTO_VER_V1,
                               &callbacks, &settings, &params, /*mem=*/nullptr, this) == 0);
  attach(conn);
}

void ConnectionImpl::start_server(const AcceptedInitial& initial) {
  is_server_ = true;
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  configure(settings, params);
  params.original_dcid = initial.header.dcid;
  if (initial.original_id) {
    params.original_dcid = to_cid(initial.original_id->view());
    params.retry_scid = initial.header.dcid;
    params.retry_scid_present = 1;
    settings.token = initial.header.token;
  }
  ngtcp2_cid own_id;
  make_connection_id(own_id, std::as_writable_bytes(std::span<std::uint8_t, kResetTokenSize>(
                                 params.stateless_reset_token, kResetTokenSize)));
  params.stateless_reset_token_present = 1;
  // The id that the client chose stays known for as long as the connection lives: a late copy of
  // its first datagram must not look like a new connection.
  note_connection_id(initial.header.dcid, /*is_added=*/true);
  const ngtcp2_callbacks callbacks = make_callbacks(/*is_server=*/true);
  ConstantPath constant;
  ngtcp2_conn* conn = nullptr;
  CHECK(ngtcp2_conn_server_new(&conn, &initial.header.scid, &own_id, &constant.path,
                               initial.header.version, &callbacks, &settings, &params,
                               /*mem=*/nullptr, this) == 0);
  attach(conn);
}

void ConnectionImpl::make_connection_id(ngtcp2_cid& id,
                                        std::span<std::byte, kResetTokenSize> reset_token) {
  std::array<std::byte, Connection::kConnectionIdSize> bytes;
  shared_.secrets.fill(bytes);
  id = to_cid(bytes);
  const Digest digest = hmac_sha256(shared_.reset_key, bytes);
  std::ranges::copy(ByteView(digest).first(kResetTokenSize), reset_token.begin());
  note_connection_id(id, /*is_added=*/true);
}

void ConnectionImpl::note_connection_id(const ngtcp2_cid& id, bool is_added) {
  id_changes_.push_back({.id = to_number(id), .is_added = is_added});
}

std::optional<Connection::IdChange> ConnectionImpl::poll_id_change() {
  if (id_changes_.empty()) return std::nullopt;
  const Connection::IdChange change = id_changes_.front();
  id_changes_.pop_front();
  return change;
}

void ConnectionImpl::on_datagram(ByteView datagram, TimePoint now) {
  const ngtcp2_tstamp ts = advance(now);
  if (datagram.empty()) return;
  if (state_ == State::kClosing) {
    // RFC 9000 section 10.2.1: repeat what was said, ever more rarely.
    ++datagrams_after_close_;
    const bool is_power_of_two = (datagrams_after_close_ & (datagrams_after_close_ - 1)) == 0;
    if (is_power_of_two && !close_datagram_.empty()) has_close_to_send_ = true;
  }
  if (is_closed()) return;
  ConstantPath constant;
  const ngtcp2_pkt_info info{};
  const int error =
      ngtcp2_conn_read_pkt(conn(), &constant.path, &info, as_u8(datagram), datagram.size(), ts);
  tell_stops();
  if (error != 0) return on_library_error(error);
  if (!credit_queue_.empty() && ngtcp2_conn_get_max_data_left(conn()) > 0) {
    ready_.splice(ready_.end(), credit_queue_);
  }
}

void ConnectionImpl::on_timeout(TimePoint now) {
  const ngtcp2_tstamp ts = advance(now);
  if (state_ == State::kOpen) {
    if (paced_until_ <= ts) paced_until_ = UINT64_MAX;
    if (ngtcp2_conn_get_expiry(conn()) > ts) return;
    if (const int error = ngtcp2_conn_handle_expiry(conn(), ts); error != 0) {
      on_library_error(error);
    }
  } else if (ts >= close_deadline_) {
    state_ = State::kDone;
    has_close_to_send_ = false;
  }
}

std::optional<TimePoint> ConnectionImpl::next_timeout() const {
  if (state_ == State::kDone) return std::nullopt;
  ngtcp2_tstamp expiry = state_ == State::kOpen
                             ? std::min(ngtcp2_conn_get_expiry(conn()), paced_until_)
                             : close_deadline_;
  if (is_answer_awaited(last_ts_)) expiry = std::max(expiry, answer_until_);
  if (expiry == UINT64_MAX) return std::nullopt;
  const ngtcp2_tstamp at = std::max(expiry + kExpirySlack, kTimeBase);
  return TimePoint(Duration(static_cast<Duration::rep>(at - kTimeBase)));
}

bool ConnectionImpl::on_handshake_completed() {
  if (!tls_->has_agreed_alpn()) {
    ngtcp2_conn_set_tls_alert(conn(), kAlertNoApplicationProtocol);
    return false;
  }
  CHECK(presented_peer_.has_value());  // TLS completes only after verify_peer().
  peer_ = presented_peer_;
  is_confirmed_ = is_server_;
  if (!is_closed()) handler_.on_authenticated(*peer_);
  return true;
}

void ConnectionImpl::export_key(std::string_view label, ByteView context,
                                MutableByteView out) const {
  CHECK(peer_.has_value());
  tls_->export_key(label, context, out);
}

void ConnectionImpl::close(std::uint64_t code, std::string_view reason, TimePoint now) {
  CHECK(code <= kErrorCodeMax);
  advance(now);
  if (is_closed()) return;
  is_close_wanted_ = true;
  close_text_ = reason.substr(0, kReasonBytesMax);
  ngtcp2_connection_close_error_set_application_error(
      &close_error_, code, as_u8(as_bytes(close_text_)), close_text_.size());
}

void ConnectionImpl::finish_close() {
  end(State::kClosing, {.kind = CloseReason::Kind::kLocal,
                        .code = close_error_.error_code,
                        .text = printable(close_text_)});
}

void ConnectionImpl::end(State next, CloseReason reason) {
  CHECK(state_ == State::kOpen);
  state_ = next;
  has_close_to_send_ = next == State::kClosing;
  close_deadline_ = last_ts_ + 3 * ngtcp2_conn_get_pto(conn());  // RFC 9000 section 10.2.
  handler_.on_closed(reason);
}

void ConnectionImpl::on_library_error(int error) {
  if (state_ != State::kOpen) return;
  if (is_close_wanted_) return finish_close();
  switch (error) {
    case NGTCP2_ERR_DRAINING:
      return end(State::kDraining, peers_reason());
    case NGTCP2_ERR_IDLE_CLOSE:
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
    case NGTCP2_ERR_DROP_CONN:
    case NGTCP2_ERR_RETRY:
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      return end(State::kDone, reason_of_error(error));  // Nobody is there to be told.
    default:
      break;
  }
  const std::uint8_t alert = ngtcp2_conn_get_tls_alert(conn());
  if (alert != 0) {
    ngtcp2_connection_close_error_set_transport_error_tls_alert(&close_error_, alert, nullptr, 0);
  } else {
    ngtcp2_connection_close_error_set_transport_error_liberr(&close_error_, error, nullptr, 0);
  }
  end(State::kClosing, reason_of_error(error));
}

CloseReason ConnectionImpl::reason_of_error(int error) const {
  using Kind = CloseReason::Kind;
  if (error == NGTCP2_ERR_IDLE_CLOSE) return {Kind::kIdle, 0, "nothing was heard for too long"};
  if (error == NGTCP2_ERR_HANDSHAKE_TIMEOUT) {
    return {Kind::kHandshakeTimeout, 0, "the handshake took too long"};
  }
  if (error == NGTCP2_ERR_RECV_VERSION_NEGOTIATION) {
    return {Kind::kRefused, 0, "the peer speaks other versions of QUIC"};
  }
  const std::uint8_t alert = ngtcp2_conn_get_tls_alert(conn());
  if (was_refused_by_us_) return {Kind::kRefused, alert, "the peer's key is not the expected one"};
  if (alert == kAlertNoApplicationProtocol) {
    return {Kind::kRefused, alert, "the peer speaks another protocol version"};
  }
  if (alert != 0) {
    const char* const name = gnutls_alert_get_name(static_cast<gnutls_alert_description_t>(alert));
    return {Kind::kRefused, alert, std::string("TLS: ") + (name != nullptr ? name : "alert")};
  }
  return {Kind::kProtocol, ngtcp2_err_infer_quic_transport_error_code(error),
          ngtcp2_strerror(error)};
}

CloseReason ConnectionImpl::peers_reason() const {
  using Kind = CloseReason::Kind;
  if (was_reset_) return {Kind::kProtocol, 0, "the peer does not know the connection any more"};
  ngtcp2_connection_close_error error;
  ngtcp2_conn_get_connection_close_error(conn(), &error);
  const std::string text =
      printable(std::string_view(reinterpret_cast<const char*>(error.reason), error.reasonlen),
                kReasonBytesMax);
  if (error.type == NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_APPLICATION) {
    return {Kind::kPeer, error.error_code, text};
  }
  if (error.error_code == kApplicationError || error.error_code == NGTCP2_NO_ERROR) {
    return {Kind::kPeer, 0, text};
  }
  if (error.error_code >= kCryptoErrorFirst && error.error_code <= kCryptoErrorLast) {
    const std::uint64_t alert = error.error_code - kCryptoErrorFirst;
    const char* const name = gnutls_alert_get_name(static_cast<gnutls_alert_description_t>(alert));
    return {Kind::kRefused, alert,
            std::string("the peer refused: ") + (name != nullptr ? name : "TLS alert")};
  }
  return {Kind::kProtocol, error.error_code, text};
}

}  // namespace openp2p::quic
