#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "quic/connection_impl.h"

/// The owner's commands on streams, and what ngtcp2 says of them.
namespace openp2p::quic {

Stream* ConnectionImpl::find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

Stream& ConnectionImpl::add_stream(StreamId id, bool is_local) {
  auto stream =
      std::make_unique<Stream>(id, is_local, shared_.chunks, send_budget_, send_ring_bytes_);
  const auto [place, is_new] = streams_.emplace(id, std::move(stream));
  CHECK(is_new);
  return *place->second;
}

void ConnectionImpl::make_ready(Stream& stream) {
  if (!stream.send_hook.is_linked()) ready_.push_back(stream);
}

void ConnectionImpl::note_command(Stream& stream) {
  if (!stream.command_hook.is_linked()) commands_.push_back(stream);
}

Result<StreamId> ConnectionImpl::open_stream() {
  if (is_closed() || !peer_) return QuicError::kNotConnected;
  std::int64_t number = 0;
  if (ngtcp2_conn_open_bidi_stream(conn(), &number, /*stream_user_data=*/nullptr) != 0) {
    return QuicError::kStreamLimit;
  }
  Stream& stream = add_stream(StreamId(number), /*is_local=*/true);
  CHECK(ngtcp2_conn_set_stream_user_data(conn(), number, &stream) == 0);
  return stream.id;
}

MutableByteView ConnectionImpl::write_room(StreamId id) {
  Stream* const stream = find(id);
  if (stream == nullptr || !stream->may_write() || is_closed()) return {};
  stream->out.set_limit(send_ring_bytes_);
  const MutableByteView room = stream->out.room();
  if (room.empty()) stream->wants_room = true;
  return room;
}

void ConnectionImpl::commit(StreamId id, std::size_t bytes) {
  Stream* const stream = find(id);
  if (stream == nullptr || !stream->may_write()) return;
  stream->out.commit(bytes);
  if (stream->out.has_unsent()) make_ready(*stream);
}

std::size_t ConnectionImpl::write(StreamId id, ByteView data) {
  std::size_t written = 0;
  while (written < data.size()) {
    const MutableByteView room = write_room(id);
    if (room.empty()) break;
    const std::size_t bytes = std::min(room.size(), data.size() - written);
    std::memcpy(room.data(), data.data() + written, bytes);
    commit(id, bytes);
    written += bytes;
  }
  return written;
}

void ConnectionImpl::finish(StreamId id) {
  Stream* const stream = find(id);
  if (stream == nullptr || !stream->may_write()) return;
  stream->out.commit(0);  // A room that was given out is taken back.
  stream->is_fin_wanted = true;
  make_ready(*stream);
}

void ConnectionImpl::reset(StreamId id, std::uint64_t code) {
  CHECK(code <= kErrorCodeMax);
  Stream* const stream = find(id);
  if (stream == nullptr || stream->is_closed || stream->is_send_ended) return;
  stream->is_send_ended = true;
  stream->reset_code = code;
  stream->send_hook.unlink();
  note_command(*stream);
  answer_until_ = 0;  // This is one.
}

void ConnectionImpl::stop(StreamId id, std::uint64_t code) {
  CHECK(code <= kErrorCodeMax);
  Stream* const stream = find(id);
  if (stream == nullptr) return;
  give_back_all(*stream);
  if (stream->is_closed || stream->is_receive_ended) return;
  stream->is_receive_ended = true;
  stream->stop_code = code;
  note_command(*stream);
  answer_until_ = 0;
}

void ConnectionImpl::consume(StreamId id, std::size_t bytes) {
  Stream* const stream = find(id);
  if (stream == nullptr) return;
  // A reset or stop() gave everything back already: the rest of the owner's count is no mistake.
  const std::uint64_t counted = std::min<std::uint64_t>(bytes, stream->unconsumed());
  if (counted == 0) return;
  stream->consumed += counted;
  stream->credit_waiting += counted;
  note_command(*stream);
  unconsumed_ -= counted;
  const std::uint64_t paid = std::min(counted, credit_withheld_);
  credit_withheld_ -= paid;
  connection_credit_ += paid;
}

void ConnectionImpl::give_back_all(Stream& stream) {
  consume(stream.id, static_cast<std::size_t>(stream.unconsumed()));
}

void ConnectionImpl::on_stream_opened(std::int64_t number) {
  Stream& stream = add_stream(StreamId(number), /*is_local=*/false);
  CHECK(ngtcp2_conn_set_stream_user_data(conn(), number, &stream) == 0);
  if (!is_closed()) handler_.on_stream_opened(stream.id);
}

/// The connection's credit is given back on arrival, not on consumption: a stream that nobody reads
/// is held by its own credit, and must not hold the others. Only when too much waits here
/// altogether is credit withheld until readers catch up.
void ConnectionImpl::count_received(std::size_t bytes) {
  unconsumed_ += bytes;
  if (unconsumed_ <= config_.connection_window_bytes) {
    connection_credit_ += bytes;
  } else {
    credit_withheld_ += bytes;
  }
}

void ConnectionImpl::on_stream_data(Stream& stream, ByteView data, bool is_end) {
  stream.received += data.size();
  count_received(data.size());
  if (is_closed()) return;
  if (stream.is_receive_ended) return give_back_all(stream);
  note_question();
  handler_.on_stream_data(stream.id, data, is_end);
}

void ConnectionImpl::on_stream_acknowledged(Stream& stream, std::uint64_t offset,
                                            std::uint64_t bytes) {
  bytes_acknowledged_ += bytes;
  stream.out.mark_acknowledged(offset);
  // Waking a writer for each packet's worth would cost more than it moves.
  stream.out.set_limit(send_ring_bytes_);
  const std::size_t enough = send_ring_bytes_ / 4;
  if (!stream.wants_room || !stream.may_write() || stream.out.free_bytes() < enough) return;
  stream.wants_room = false;
  if (!is_closed()) handler_.on_stream_writable(stream.id);
}

void ConnectionImpl::on_stream_reset(Stream& stream, std::uint64_t code) {
  const bool was_known = stream.is_receive_ended;
  stream.is_receive_ended = true;
  give_back_all(stream);
  if (!was_known && !is_closed()) handler_.on_stream_reset(stream.id, code);
}

void ConnectionImpl::on_packet_opened(ByteView payload) {
  ++packets_opened_;
  FrameScan scan(payload);
  while (const auto stop = scan.next()) stops_.push_back(*stop);
}

/// After the library has read the datagram: it may have opened the stream only by this frame.
void ConnectionImpl::tell_stops() {
  for (const FrameScan::StopSending& stop : stops_) {
    Stream* const stream = find(StreamId(stop.stream));
    if (stream != nullptr && !stream->is_closed) on_stream_stopped(*stream, stop.code);
  }
  stops_.clear();
}

void ConnectionImpl::on_stream_stopped(Stream& stream, std::uint64_t code) {
  const bool was_known = stream.is_send_ended;
  stream.is_send_ended = true;  // ngtcp2 answers with RESET_STREAM itself (RFC 9000 section 3.5).
  stream.reset_code.reset();
  stream.send_hook.unlink();
  stream.out.abandon();
  if (!was_known && !is_closed()) handler_.on_stream_stopped(stream.id, code);
}

void ConnectionImpl::on_stream_closed(Stream& stream) {
  packets_lost_ += ngtcp2_conn_get_stream_loss_count(conn(), stream.id.value());
  stream.is_closed = true;
  stream.is_send_ended = true;
  stream.is_receive_ended = true;
  stream.reset_code.reset();
  stream.stop_code.reset();
  stream.send_hook.unlink();
  stream.out.clear();
  if (!is_closed()) handler_.on_stream_closed(stream.id);
  note_command(stream);  // To be forgotten, once nothing of it is left to consume.
}

void ConnectionImpl::on_stream_credit(Stream& stream) {
  if (stream.wants_to_send() && !stream.is_send_ended) make_ready(stream);
}

void ConnectionImpl::apply_commands() {
  while (!commands_.empty()) {
    Stream& stream = commands_.front();
    commands_.pop_front();
    apply_commands(stream);
  }
  if (connection_credit_ > 0) {
    ngtcp2_conn_extend_max_offset(conn(), connection_credit_);
    connection_credit_ = 0;
  }
  if (streams_to_allow_ > 0) {
    ngtcp2_conn_extend_max_streams_bidi(conn(), streams_to_allow_);
    streams_to_allow_ = 0;
  }
}

void ConnectionImpl::apply_commands(Stream& stream) {
  const std::int64_t number = stream.id.value();
  if (!stream.is_closed) {
    if (stream.credit_waiting > 0) {
      ngtcp2_conn_extend_max_stream_offset(conn(), number, stream.credit_waiting);
    }
    if (stream.reset_code) {
      ngtcp2_conn_shutdown_stream_write(conn(), number, *stream.reset_code);
      stream.out.abandon();
    }
    if (stream.stop_code) ngtcp2_conn_shutdown_stream_read(conn(), number, *stream.stop_code);
  }
  stream.credit_waiting = 0;
  stream.reset_code.reset();
  stream.stop_code.reset();
  if (!stream.is_closed || stream.unconsumed() > 0) return;
  // Only now may the peer open another one, and so a peer whose data waits here for a slow reader
  // cannot pile up ended streams.
  if (!stream.is_local) ++streams_to_allow_;
  streams_.erase(stream.id);
}

}  // namespace openp2p::quic
