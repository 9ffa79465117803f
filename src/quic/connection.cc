#include "quic/connection.h"

#include "quic/connection_impl.h"

/// The public face: each call goes to the one object behind it.
namespace openp2p::quic {

Connection::Connection(std::unique_ptr<ConnectionImpl> impl) : impl_(std::move(impl)) {}
Connection::~Connection() = default;

void Connection::on_datagram(ByteView datagram, TimePoint now) {
  impl_->on_datagram(datagram, now);
}
void Connection::on_timeout(TimePoint now) { impl_->on_timeout(now); }
std::optional<TimePoint> Connection::next_timeout() const { return impl_->next_timeout(); }
Burst Connection::poll_burst(MutableByteView out, std::size_t datagram_bytes, TimePoint now) {
  return impl_->poll_burst(out, datagram_bytes, now);
}

Result<StreamId> Connection::open_stream() { return impl_->open_stream(); }
MutableByteView Connection::write_room(StreamId id) { return impl_->write_room(id); }
void Connection::commit(StreamId id, std::size_t bytes) { impl_->commit(id, bytes); }
std::size_t Connection::write(StreamId id, ByteView data) { return impl_->write(id, data); }
void Connection::finish(StreamId id) { impl_->finish(id); }
void Connection::reset(StreamId id, std::uint64_t code) { impl_->reset(id, code); }
void Connection::stop(StreamId id, std::uint64_t code) { impl_->stop(id, code); }
void Connection::consume(StreamId id, std::size_t bytes) { impl_->consume(id, bytes); }

void Connection::close(std::uint64_t code, std::string_view reason, TimePoint now) {
  impl_->close(code, reason, now);
}
bool Connection::is_closed() const { return impl_->is_closed(); }
bool Connection::is_authenticated() const { return impl_->peer().has_value(); }
std::optional<NodeId> Connection::peer() const { return impl_->peer(); }

void Connection::export_key(std::string_view label, ByteView context, MutableByteView out) const {
  impl_->export_key(label, context, out);
}
AeadAlgorithm Connection::aead() const {
  return negotiated_aead(
      static_cast<gnutls_session_t>(ngtcp2_conn_get_tls_native_handle(impl_->conn())));
}
std::uint64_t Connection::packets_opened() const { return impl_->packets_opened(); }
Duration Connection::smoothed_rtt() const {
  return Duration(static_cast<Duration::rep>(impl_->statistics().smoothed_rtt));
}
std::uint64_t Connection::bytes_in_flight() const { return impl_->statistics().bytes_in_flight; }
Traffic Connection::traffic() const { return impl_->traffic(); }
void Connection::initiate_key_update(TimePoint now) { impl_->initiate_key_update(now); }
void Connection::ask() { impl_->ask(); }
bool Connection::probe_now(TimePoint now) { return impl_->probe_now(now); }

std::optional<Connection::IdChange> Connection::poll_id_change() { return impl_->poll_id_change(); }

}  // namespace openp2p::quic
