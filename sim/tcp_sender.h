#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"

namespace openp2p::sim {

/// The sending half of a TCP connection once it is established: keeps what was written until it is
/// acknowledged, and decides what is sent when.
///
/// Source: RFC 6298 (retransmission timer, with Linux's minimum of 200 ms), RFC 5681 (slow start,
/// congestion avoidance, fast retransmit), RFC 6582 (NewReno). No SACK, no delayed ACKs.
/// Counts in 64-bit offsets: the SYN has offset 0, the first byte 1, the FIN the one behind the
/// last byte. Sans-I/O.
class TcpSender {
 public:
  /// Linux's largest automatic send buffer (tcp_wmem).
  static constexpr std::size_t kBufferBytesMax = 4 << 20;
  static constexpr Duration kRtoInitial = std::chrono::seconds(1);
  static constexpr Duration kRtoMin = std::chrono::milliseconds(200);
  static constexpr Duration kRtoMax = std::chrono::seconds(120);
  /// Linux's tcp_retries2: then the connection is given up.
  static constexpr unsigned kRetriesMax = 15;

  struct Segment {
    std::uint64_t offset = 0;
    Bytes bytes;
    bool is_fin = false;
  };

  TcpSender(std::size_t buffer_bytes, std::size_t mss);

  std::size_t write(ByteView bytes, TimePoint now);  ///< Takes what fits, possibly nothing.
  void finish();                                     ///< A FIN follows what was written.

  std::optional<Segment> next_segment(TimePoint now);
  /// `is_duplicate`: the segment carried nothing but this acknowledgment.
  void on_ack(std::uint64_t offset, std::size_t window, bool is_duplicate, TimePoint now);
  void measure(Duration rtt);  ///< Of the handshake, too.
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const { return retransmit_at_; }
  void lower_mss(std::size_t mss, TimePoint now);  ///< And sends again what was too big.

  bool is_dead() const { return retries_ > kRetriesMax; }
  bool is_finished() const { return finished_at_ && acknowledged_ > *finished_at_; }
  bool is_finishing() const { return finished_at_.has_value(); }
  std::uint64_t next_offset() const { return next_; }
  std::uint64_t highest_offset() const { return highest_; }
  std::size_t mss() const { return mss_; }
  std::size_t writable_bytes() const;
  std::size_t queued_bytes() const { return bytes_.size(); }  ///< Not acknowledged.
  std::size_t unsent_bytes() const;                           ///< Of those: never sent.
  /// Since when the oldest unsent byte waits for its turn.
  std::optional<TimePoint> unsent_since() const;
  std::uint64_t retransmissions() const { return retransmissions_; }

 private:
  std::uint64_t end() const { return acknowledged_bytes_ + bytes_.size(); }
  std::size_t in_flight() const { return static_cast<std::size_t>(next_ - acknowledged_); }
  Duration rto() const;
  std::optional<Segment> segment_at(std::uint64_t offset, std::size_t size_max);
  void acknowledge(std::uint64_t offset, TimePoint now);
  void grow(std::uint64_t acknowledged);
  void on_duplicate();

  const std::size_t buffer_bytes_;
  std::size_t mss_;
  std::deque<std::byte> bytes_;           // Not acknowledged.
  std::uint64_t acknowledged_ = 1;        // Everything below is.
  std::uint64_t acknowledged_bytes_ = 1;  // The offset of bytes_.front(): without the FIN.
  std::uint64_t next_ = 1;
  std::uint64_t highest_ = 1;  // What next_ was at most: it goes back when a timer ends.
  std::optional<std::uint64_t> finished_at_;
  std::size_t window_;
  std::size_t congestion_window_;
  std::size_t slow_start_max_ = SIZE_MAX;
  unsigned duplicates_ = 0;
  std::optional<std::uint64_t> recovery_end_;
  bool resends_first_ = false;

  struct Mark {
    std::uint64_t end;
    TimePoint written_at;
  };
  std::deque<Mark> marks_;  // Of what was never sent.
  struct Timed {
    std::uint64_t end;
    TimePoint sent_at;
  };
  std::optional<Timed> timed_;  // RFC 6298 section 3 (Karn): never one that was sent twice.
  std::optional<Duration> smoothed_rtt_;
  Duration rtt_variation_{};
  unsigned retries_ = 0;
  std::optional<TimePoint> retransmit_at_;
  std::uint64_t retransmissions_ = 0;
};

}  // namespace openp2p::sim
