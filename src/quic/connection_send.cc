#include <algorithm>
#include <utility>

#include "base/check.h"
#include "quic/connection_impl.h"

/// Packets out.
namespace openp2p::quic {
namespace {

/// One UDP_SEGMENT send carries less than 64 KiB, headers included.
constexpr std::size_t kBurstBytesMax = 65000;

/// A packet full of stream data may miss the datagram's size by a few bytes of varint; a packet
/// that misses it by more is a small one, and setting the segment size by it would make all that
/// follow small.
constexpr std::size_t kSegmentSlackBytes = 16;

/// Frames of that many streams go into one packet at most; a bound for the loop.
constexpr int kStreamsPerPacketMax = 64;

/// What one stream sends on a LAN before the next has its turn: a burst. There the receiver hands
/// each stream's part of a batch on with one write, and turns of one packet make many small ones.
constexpr std::size_t kTurnBytes = 64 << 10;

/// Below this round-trip time a whole window is shorter than what a timer can space out, and the
/// path is a LAN whose queues take the burst: there, spacing costs half of the speed and gains
/// nothing.
constexpr ngtcp2_duration kPacedRttMin = 2 * NGTCP2_MILLISECONDS;

/// A paced burst is what the rate sends in a millisecond, as fine as timers are; but no less than
/// an initial window, which RFC 9002 section 7.7 lets anyone send at once.
constexpr double kPacedBurstSpan = NGTCP2_MILLISECONDS;
constexpr std::size_t kPacedBurstDatagramsMin = 10;

/// ngtcp2's pacer lets packets go this long before their time, and so would let all go at once: it
/// is told a time that is later by as much.
constexpr ngtcp2_duration kPacerLeniency = NGTCP2_MILLISECONDS;

/// How long a lone packet's acknowledgement waits for data to carry it; RFC 9000 section 13.2.1
/// allows 25 ms. Services on the peer's own machine answer within less as a rule. Then a question
/// and its answer are two datagrams, and not four that wake each side twice as often.
constexpr ngtcp2_duration kAnswerPatience = 2 * NGTCP2_MILLISECONDS;

/// Bytes a nanosecond: the window in a round trip, and a quarter more, so that pacing never starves
/// it (RFC 9002 section 7.7). The same as ngtcp2's own.
double pacing_rate(const ngtcp2_conn_stat& stat) {
  return 1.25 * static_cast<double>(stat.cwnd) / static_cast<double>(stat.smoothed_rtt);
}

bool is_paced(const ngtcp2_conn_stat& stat) { return stat.smoothed_rtt >= kPacedRttMin; }

/// Twice the window: while one is on its way, the local program fills the next.
std::size_t send_ring_bytes(const ngtcp2_conn_stat& stat, const ConnectionConfig& config) {
  if (!is_paced(stat)) return config.send_ring_bytes;  // More would only be colder memory.
  const std::size_t largest = std::max(config.send_ring_bytes, config.send_ring_bytes_max);
  return std::clamp<std::size_t>(2 * stat.cwnd, config.send_ring_bytes, largest);
}

std::size_t paced_burst_bytes(const ngtcp2_conn_stat& stat, std::size_t datagram_bytes) {
  const auto bytes = static_cast<std::size_t>(pacing_rate(stat) * kPacedBurstSpan);
  return std::max(bytes, kPacedBurstDatagramsMin * datagram_bytes);
}

}  // namespace

ngtcp2_conn_stat ConnectionImpl::statistics() const {
  ngtcp2_conn_stat stat{};
  ngtcp2_conn_get_conn_stat(conn(), &stat);
  return stat;
}

Traffic ConnectionImpl::traffic() const {
  const ngtcp2_conn_stat stat = statistics();
  Traffic traffic{bytes_acknowledged_,
                  packets_sealed_,
                  packets_lost_,
                  !ready_.empty(),
                  Duration(static_cast<Duration::rep>(stat.smoothed_rtt)),
                  Duration(static_cast<Duration::rep>(stat.min_rtt))};
  for (const auto& [id, stream] : streams_) {
    if (stream->is_closed) continue;
    traffic.packets_lost += ngtcp2_conn_get_stream_loss_count(conn(), id.value());
  }
  return traffic;
}

Burst ConnectionImpl::poll_burst(MutableByteView out, std::size_t datagram_bytes, TimePoint now) {
  CHECK(datagram_bytes >= Connection::kDatagramBytesMin);
  const ngtcp2_tstamp ts = advance(now);
  if (out.size() < Connection::kDatagramBytesMin) return {};
  if (state_ == State::kOpen && is_close_wanted_) finish_close();
  if (state_ != State::kOpen) return poll_close(out, ts);
  apply_commands();
  update_key_if_due(ts);
  if (is_answer_awaited(ts)) return {};
  const Burst burst = fill_burst(out, datagram_bytes, ts);
  if (is_asking_ && burst.bytes > 0) {
    is_asking_ = false;
    set_keep_alive();
  }
  if (state_ != State::kOpen && burst.bytes == 0) return poll_close(out, ts);
  return burst;
}

void ConnectionImpl::note_question() {
  answer_until_ = last_ts_ + kAnswerPatience;
  if (std::exchange(last_data_packet_, packets_opened_) != packets_opened_) ++unanswered_packets_;
}

/// Only one packet brought data since any were written (RFC 9000 section 13.2.2: each second one is
/// acknowledged), and nothing of ours is on its way, or lost: that never waits.
bool ConnectionImpl::is_answer_awaited(ngtcp2_tstamp ts) const {
  return ts < answer_until_ && unanswered_packets_ == 1 && state_ == State::kOpen &&
         is_confirmed_ && ready_.empty() && send_budget_.used_bytes == 0;
}

Burst ConnectionImpl::fill_burst(MutableByteView out, std::size_t datagram_bytes,
                                 ngtcp2_tstamp ts) {
  const ngtcp2_conn_stat stat = statistics();
  send_ring_bytes_ = send_ring_bytes(stat, config_);
  unanswered_packets_ = 0;
  if (paced_until_ <= ts) paced_until_ = UINT64_MAX;
  std::size_t limit = std::min(out.size(), kBurstBytesMax);
  turn_bytes_ = kTurnBytes;
  if (is_paced(stat)) {
    limit = std::min(limit, paced_burst_bytes(stat, datagram_bytes));
    turn_bytes_ = 0;  // A packet each, so that nobody waits long for a slow line.
  }
  std::size_t segment = std::min({datagram_bytes, config_.datagram_bytes_max, limit});
  const std::size_t full = segment;

  Burst burst;
  while (burst.bytes + segment <= limit) {
    const ngtcp2_ssize size = write_datagram(out.subspan(burst.bytes, segment), ts);
    if (size < 0) on_library_error(static_cast<int>(size));
    if (size <= 0) break;
    const auto bytes = static_cast<std::size_t>(size);
    burst.bytes += bytes;
    if (burst.segment_bytes == 0) {
      burst.segment_bytes = bytes;
      segment = bytes;
      if (bytes + kSegmentSlackBytes < full || bytes < Connection::kDatagramBytesMin) break;
    }
    if (bytes < segment) break;
  }
  if (state_ == State::kOpen && burst.bytes > 0) {
    // One small packet out of silence (a keep-alive, an acknowledgement) has nothing to be spaced
    // from, and the timers for it would wake an idle program twice.
    const bool is_lone = stat.bytes_in_flight == 0 && burst.bytes < full;
    finish_pacing(stat, is_lone ? 0 : burst.bytes, ts);
  }
  return burst;
}

/// ngtcp2 sends nothing more until what was written has had its time at the controller's rate. On a
/// LAN, and for 0 bytes, that is undone at once, with only its count of bytes reset.
void ConnectionImpl::finish_pacing(const ngtcp2_conn_stat& stat, std::size_t bytes,
                                   ngtcp2_tstamp ts) {
  if (is_paced(stat) && bytes > 0) {
    ngtcp2_conn_update_pkt_tx_time(conn(), ts + kPacerLeniency);
    paced_until_ =
        ts + static_cast<ngtcp2_duration>(static_cast<double>(bytes) / pacing_rate(stat));
    return;
  }
  ngtcp2_conn_update_pkt_tx_time(conn(), ts);
  paced_until_ = UINT64_MAX;
  if (const int error = ngtcp2_conn_handle_expiry(conn(), ts); error != 0) on_library_error(error);
}

ngtcp2_ssize ConnectionImpl::write_datagram(MutableByteView out, ngtcp2_tstamp ts) {
  for (int streams = 0;; ++streams) {
    Stream* const stream = ready_.empty() ? nullptr : &ready_.front();
    SendBuffer::Unsent unsent;
    std::uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    std::array<ngtcp2_vec, 2> pieces{};
    std::size_t piece_count = 0;
    if (stream != nullptr) {
      unsent = stream->out.unsent();
      for (const ByteView piece : unsent.pieces) {
        if (piece.empty()) continue;
        pieces[piece_count++] = {const_cast<std::uint8_t*>(as_u8(piece)), piece.size()};
      }
      if (stream->is_fin_wanted && unsent.is_all) flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
      const bool has_more = &ready_.back() != stream && streams < kStreamsPerPacketMax;
      if (has_more) flags |= NGTCP2_WRITE_STREAM_FLAG_MORE;
    }
    ngtcp2_ssize taken = -1;
    const ngtcp2_ssize size = ngtcp2_conn_writev_stream(
        conn(), /*path=*/nullptr, /*pi=*/nullptr, as_u8(out), out.size(), &taken, flags,
        stream == nullptr ? -1 : stream->id.value(), pieces.data(), piece_count, ts);
    if (size == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
      block(*stream);
      continue;
    }
    if (size == NGTCP2_ERR_STREAM_SHUT_WR || size == NGTCP2_ERR_STREAM_NOT_FOUND) {
      stream->send_hook.unlink();
      continue;
    }
    if (stream != nullptr && taken >= 0) {
      const auto bytes = static_cast<std::size_t>(taken);
      const bool has_fin = (flags & NGTCP2_WRITE_STREAM_FLAG_FIN) != 0 && bytes == unsent.bytes;
      note_written(*stream, bytes, has_fin);
    }
    if (size == NGTCP2_ERR_WRITE_MORE) continue;
    return size;
  }
}

void ConnectionImpl::note_written(Stream& stream, std::size_t bytes, bool has_fin) {
  stream.out.mark_sent(bytes);
  if (has_fin) stream.is_fin_sent = true;
  stream.turn_bytes += bytes;
  if (stream.wants_to_send() && stream.turn_bytes < turn_bytes_) return;
  stream.turn_bytes = 0;
  stream.send_hook.unlink();
  if (stream.wants_to_send()) ready_.push_back(stream);  // Behind the others: round-robin.
}

/// The peer's credit is used up: either the connection's, and then every stream waits for it, or
/// this stream's, and then on_stream_credit() brings it back.
void ConnectionImpl::block(Stream& stream) {
  stream.send_hook.unlink();
  if (ngtcp2_conn_get_max_data_left(conn()) == 0) credit_queue_.push_back(stream);
}

Burst ConnectionImpl::poll_close(MutableByteView out, ngtcp2_tstamp ts) {
  if (state_ != State::kClosing) return {};
  if (close_datagram_.empty() && has_close_to_send_) write_close_datagram(ts);
  if (!has_close_to_send_ || close_datagram_.size() > out.size()) return {};
  has_close_to_send_ = false;
  std::ranges::copy(close_datagram_, out.begin());
  return {.bytes = close_datagram_.size(), .segment_bytes = close_datagram_.size()};
}

void ConnectionImpl::write_close_datagram(ngtcp2_tstamp ts) {
  close_datagram_.resize(Connection::kDatagramBytesMin);
  const ngtcp2_ssize size = ngtcp2_conn_write_connection_close(
      conn(), /*path=*/nullptr, /*pi=*/nullptr, as_u8(MutableByteView(close_datagram_)),
      close_datagram_.size(), &close_error_, ts);
  if (size <= 0) has_close_to_send_ = false;  // No keys yet to say it with.
  close_datagram_.resize(static_cast<std::size_t>(std::max<ngtcp2_ssize>(size, 0)));
}

}  // namespace openp2p::quic
