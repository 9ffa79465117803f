#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "sim/packet.h"
#include "sim/tcp_receiver.h"
#include "sim/tcp_sender.h"
#include "sim/world.h"

namespace openp2p::sim {

class TcpStack;

/// A TCP connection of a simulated host (RFC 9293), with simultaneous open. Behaves as Linux where
/// the RFC leaves a choice: an ICMP error ends an attempt to connect and nothing else.
///
/// Made by TcpStack, and valid as long as its host, also when closed. Handlers are called from
/// events of the world, never from inside a call; from inside them every call is legal.
class TcpConnection {
 public:
  enum class State {
    kSynSent,
    kSynReceived,
    kEstablished,
    kFinWait1,
    kFinWait2,
    kCloseWait,
    kClosing,
    kLastAck,
    kTimeWait,
    kClosed,
  };
  using Handler = std::function<void(TimePoint now)>;
  using DataHandler = std::function<void(ByteView bytes, TimePoint now)>;
  using ClosedHandler = std::function<void(std::error_code why, TimePoint now)>;

  TcpConnection(TcpStack& stack, SocketId id, const Address& local, const Address& remote,
                std::uint32_t initial_sequence, std::size_t send_buffer_bytes);
  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  void on_connected(Handler handler) { connected_ = std::move(handler); }
  void on_data(DataHandler handler) { data_ = std::move(handler); }
  void on_end(Handler handler) { end_ = std::move(handler); }  ///< The peer writes no more.
  /// Called once: refused, reset, timed out, unreachable, or (no error) both sides have finished.
  /// Not after close() or abort().
  void on_closed(ClosedHandler handler) { closed_ = std::move(handler); }

  std::size_t write(ByteView bytes);  ///< Takes what fits, nothing unless it is connected.
  void shutdown_write();              ///< FIN behind what was written.
  void close();                       ///< Nobody is interested any more: FIN, and RST to data.
  void abort();                       ///< RST.

  SocketId id() const { return id_; }
  const Address& local() const { return local_; }
  const Address& remote() const { return remote_; }
  State state() const { return state_; }
  bool is_connected() const { return state_ == State::kEstablished || state_ == State::kCloseWait; }
  std::size_t writable_bytes() const { return is_connected() ? sender_->writable_bytes() : 0; }
  std::size_t queued_bytes() const { return sender_ ? sender_->queued_bytes() : 0; }
  std::size_t unsent_bytes() const { return sender_ ? sender_->unsent_bytes() : 0; }
  /// Since when the oldest byte that was never sent waits.
  std::optional<TimePoint> unsent_since() const;
  std::uint64_t retransmissions() const { return sender_ ? sender_->retransmissions() : 0; }

 private:
  friend class TcpStack;
  static constexpr Duration kSynTimeout = std::chrono::seconds(1);       // Doubled each time.
  static constexpr Duration kSynReceivedMax = std::chrono::seconds(63);  // Five SYN-ACKs more.
  static constexpr Duration kTimeWait = std::chrono::seconds(60);
  static constexpr Duration kFinWaitMax = std::chrono::seconds(60);  // Of a closed one.
  /// Of a closed one with data that nobody acknowledges: what our drivers ask Linux for
  /// (TCP_USER_TIMEOUT).
  static constexpr Duration kOrphanMax = std::chrono::seconds(60);

  // From the stack.
  void open(Duration timeout);
  void accept(const TcpHeader& syn);
  void on_segment(const TcpHeader& segment, ByteView bytes);
  void on_icmp(const IcmpError& error);

  void on_syn_sent(const TcpHeader& segment);
  void on_synchronized(const TcpHeader& segment, ByteView bytes);
  void on_reset(std::int64_t offset);
  void on_syn(const TcpHeader& segment, std::int64_t offset);
  bool on_ack(const TcpHeader& segment, bool is_pure);
  void on_bytes(std::uint64_t offset, ByteView bytes, bool is_fin);
  void on_fin_acknowledged();
  void on_fin();
  void wait_for_stragglers();
  void establish();
  void end(std::error_code why);

  std::int64_t offset_of(std::uint32_t sequence) const;
  std::int64_t acknowledged_offset(std::uint32_t acknowledgment) const;
  TcpHeader header(std::uint64_t offset) const;
  void send_syn();
  void send_ack();
  void send_reset(std::uint32_t sequence);
  void pump();
  void arm();
  void on_timer();
  TimePoint now() const;

  TcpStack& stack_;
  const SocketId id_;
  const Address local_;
  const Address remote_;
  const std::uint32_t initial_sequence_;
  const std::size_t send_buffer_bytes_;
  State state_ = State::kSynSent;
  std::uint32_t remote_initial_sequence_ = 0;
  std::optional<TcpSender> sender_;  // Once the peer's SYN was seen.
  TcpReceiver receiver_;
  std::optional<TimePoint> syn_at_;  // When the SYN or SYN-ACK is to be sent again.
  Duration syn_timeout_ = kSynTimeout;
  std::optional<TimePoint> syn_sent_at_;  // For its round trip, unless it was sent again.
  std::optional<TimePoint> ends_at_;      // No connection by then, or the end of TIME-WAIT.
  bool is_passive_ = false;
  bool is_abandoned_ = false;
  Timer timer_;
  Handler connected_;
  DataHandler data_;
  Handler end_;
  ClosedHandler closed_;
};

}  // namespace openp2p::sim
