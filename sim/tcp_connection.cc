#include "sim/tcp_connection.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/tcp_stack.h"

namespace openp2p::sim {
namespace {

std::error_code error(std::errc code) { return std::make_error_code(code); }

template <class Handler, class... Arguments>
void call(const Handler& handler, Arguments... arguments) {
  const Handler copy = handler;  // The handler may replace itself.
  if (copy) copy(arguments...);
}

}  // namespace

TcpConnection::TcpConnection(TcpStack& stack, SocketId id, const Address& local,
                             const Address& remote, std::uint32_t initial_sequence,
                             std::size_t send_buffer_bytes)
    : stack_(stack),
      id_(id),
      local_(local),
      remote_(remote),
      initial_sequence_(initial_sequence),
      send_buffer_bytes_(send_buffer_bytes),
      timer_(stack.world(), [this] { on_timer(); }) {}

TimePoint TcpConnection::now() const { return stack_.world().now(); }

void TcpConnection::open(Duration timeout) {
  ends_at_ = now() + timeout;
  syn_sent_at_ = now();
  send_syn();
}

void TcpConnection::accept(const TcpHeader& syn) {
  is_passive_ = true;
  syn_sent_at_ = now();
  ends_at_ = now() + kSynReceivedMax;
  on_syn_sent(syn);
}

std::size_t TcpConnection::write(ByteView bytes) {
  if (!is_connected()) return 0;
  const std::size_t taken = sender_->write(bytes, now());
  pump();
  return taken;
}

void TcpConnection::shutdown_write() {
  if (!is_connected()) return;
  state_ = state_ == State::kEstablished ? State::kFinWait1 : State::kLastAck;
  sender_->finish();
  pump();
}

void TcpConnection::close() {
  is_abandoned_ = true;
  if (state_ == State::kSynSent || state_ == State::kSynReceived) return abort();
  if (state_ != State::kTimeWait && state_ != State::kClosed) {
    ends_at_ = now() + (state_ == State::kFinWait2 ? kFinWaitMax : kOrphanMax);
  }
  shutdown_write();
  arm();
}

void TcpConnection::abort() {
  is_abandoned_ = true;
  if (state_ == State::kClosed) return;
  // RFC 9293 section 3.10.5: none where the peer has nothing, or everything.
  const bool is_silent = state_ == State::kSynSent || state_ == State::kTimeWait;
  if (!is_silent)
    send_reset(initial_sequence_ + static_cast<std::uint32_t>(sender_->next_offset()));
  end({});
}

std::optional<TimePoint> TcpConnection::unsent_since() const {
  return sender_ ? sender_->unsent_since() : std::nullopt;
}

std::int64_t TcpConnection::offset_of(std::uint32_t sequence) const {
  const std::uint64_t next = receiver_.next_offset();
  const std::uint32_t expected = remote_initial_sequence_ + static_cast<std::uint32_t>(next);
  return static_cast<std::int64_t>(next) + static_cast<std::int32_t>(sequence - expected);
}

std::int64_t TcpConnection::acknowledged_offset(std::uint32_t acknowledgment) const {
  const std::uint64_t highest = sender_->highest_offset();
  const std::uint32_t expected = initial_sequence_ + static_cast<std::uint32_t>(highest);
  return static_cast<std::int64_t>(highest) + static_cast<std::int32_t>(acknowledgment - expected);
}

void TcpConnection::on_segment(const TcpHeader& segment, ByteView bytes) {
  if (state_ == State::kSynSent) {
    on_syn_sent(segment);
  } else {
    on_synchronized(segment, bytes);
  }
  if (state_ == State::kClosed) return;
  pump();
}

// RFC 9293 section 3.10.7.3; also of a listener's SYN, which differs in nothing that is left.
void TcpConnection::on_syn_sent(const TcpHeader& segment) {
  if (segment.is_ack && segment.acknowledgment != initial_sequence_ + 1) {
    if (!segment.is_rst) send_reset(segment.acknowledgment);
    return;
  }
  if (segment.is_rst) {
    if (segment.is_ack) end(error(std::errc::connection_refused));
    return;
  }
  if (!segment.is_syn) return;
  remote_initial_sequence_ = segment.sequence;
  const std::size_t mss = stack_.mss(*this);
  sender_.emplace(send_buffer_bytes_,
                  segment.mss == 0 ? mss : std::min<std::size_t>(mss, segment.mss));
  if (segment.is_ack) {
    sender_->on_ack(1, segment.window, /*is_duplicate=*/false, now());
    state_ = State::kEstablished;
    send_ack();
    return establish();
  }
  state_ = State::kSynReceived;  // Simultaneous open, or a listener's.
  syn_timeout_ = kSynTimeout;
  send_syn();
}

// RFC 9293 section 3.10.7.4.
void TcpConnection::on_synchronized(const TcpHeader& segment, ByteView bytes) {
  const std::int64_t offset = offset_of(segment.sequence);
  if (segment.is_rst) return on_reset(offset);
  if (segment.is_syn) return on_syn(segment, offset);
  const std::uint64_t length = bytes.size() + (segment.is_fin ? 1 : 0);
  if (offset < 0 || !receiver_.is_acceptable(static_cast<std::uint64_t>(offset), length)) {
    return send_ack();
  }
  if (!segment.is_ack || !on_ack(segment, /*is_pure=*/length == 0)) return;
  if (length > 0) on_bytes(static_cast<std::uint64_t>(offset), bytes, segment.is_fin);
}

void TcpConnection::on_reset(std::int64_t offset) {
  // RFC 5961 section 3.2: only one that knows the exact number ends the connection.
  if (offset != static_cast<std::int64_t>(receiver_.next_offset())) return send_ack();
  if (state_ != State::kSynReceived) return end(error(std::errc::connection_reset));
  if (is_passive_) is_abandoned_ = true;  // The listener never heard of it.
  end(error(std::errc::connection_refused));
}

void TcpConnection::on_syn(const TcpHeader& segment, std::int64_t offset) {
  if (state_ != State::kSynReceived || offset != 0) return send_ack();  // RFC 5961 section 4.2.
  if (!segment.is_ack) return send_syn();                               // It did not hear ours.
  // Both SYNs crossed: the peer acknowledges ours with its own (RFC 9293 figure 8).
  if (segment.acknowledgment != initial_sequence_ + 1) return send_reset(segment.acknowledgment);
  sender_->on_ack(1, segment.window, /*is_duplicate=*/false, now());
  establish();
}

bool TcpConnection::on_ack(const TcpHeader& segment, bool is_pure) {
  const std::int64_t offset = acknowledged_offset(segment.acknowledgment);
  const bool is_of_us = offset <= static_cast<std::int64_t>(sender_->highest_offset());
  if (state_ == State::kSynReceived) {
    if (!is_of_us || offset < 1) {
      send_reset(segment.acknowledgment);
      return false;
    }
    establish();
  } else if (!is_of_us) {
    send_ack();
    return false;
  }
  if (state_ == State::kClosed) return false;  // The user did not want it after all.
  if (offset >= 1) {
    sender_->on_ack(static_cast<std::uint64_t>(offset), segment.window, is_pure, now());
  }
  if (sender_->is_finished()) on_fin_acknowledged();
  return state_ != State::kClosed;
}

void TcpConnection::on_fin_acknowledged() {
  if (state_ == State::kFinWait1) {
    state_ = State::kFinWait2;
    if (is_abandoned_) ends_at_ = now() + kFinWaitMax;
  } else if (state_ == State::kClosing) {
    wait_for_stragglers();
  } else if (state_ == State::kLastAck) {
    end({});
  }
}

void TcpConnection::on_bytes(std::uint64_t offset, ByteView bytes, bool is_fin) {
  if (is_abandoned_ && !bytes.empty()) {
    send_reset(initial_sequence_ + static_cast<std::uint32_t>(sender_->next_offset()));
    return end({});
  }
  const bool was_finished = receiver_.is_finished();
  receiver_.put(offset, bytes, is_fin);
  Bytes in_order;
  while (const auto next = receiver_.take()) {
    in_order.insert(in_order.end(), next->begin(), next->end());
  }
  send_ack();
  if (!in_order.empty()) call(data_, ByteView(in_order), stack_.host_time());
  if (state_ == State::kClosed) return;
  if (receiver_.is_finished() && !was_finished) on_fin();
}

void TcpConnection::on_fin() {
  if (state_ == State::kEstablished) {
    state_ = State::kCloseWait;
    return call(end_, stack_.host_time());
  }
  if (state_ == State::kFinWait1) {
    state_ = State::kClosing;
  } else {
    wait_for_stragglers();
  }
}

void TcpConnection::wait_for_stragglers() {
  state_ = State::kTimeWait;
  ends_at_ = now() + kTimeWait;
  if (!std::exchange(is_abandoned_, true)) call(closed_, std::error_code(), stack_.host_time());
}

void TcpConnection::establish() {
  state_ = State::kEstablished;
  // RFC 6298 section 2.2: the SYN is the first that is measured, and section 3: not if sent twice.
  if (syn_sent_at_) sender_->measure(now() - *syn_sent_at_);
  syn_at_.reset();
  ends_at_.reset();
  call(connected_, stack_.host_time());
}

void TcpConnection::end(std::error_code why) {
  state_ = State::kClosed;
  sender_.reset();
  receiver_ = {};
  syn_at_.reset();
  ends_at_.reset();
  timer_.arm(std::nullopt);
  stack_.release(*this);
  if (!std::exchange(is_abandoned_, true)) call(closed_, why, stack_.host_time());
}

void TcpConnection::on_icmp(const IcmpError& icmp) {
  if (icmp.kind == ErrorKind::kTooBig) {
    if (!sender_ || icmp.mtu <= tcp_header_bytes(family_of(remote_.ip))) return;
    sender_->lower_mss(icmp.mtu - tcp_header_bytes(family_of(remote_.ip)), now());
    return pump();
  }
  if (state_ != State::kSynSent && state_ != State::kSynReceived) return;
  if (is_passive_) return;
  end(error(icmp.kind == ErrorKind::kPortUnreachable ? std::errc::connection_refused
                                                     : std::errc::host_unreachable));
}

TcpHeader TcpConnection::header(std::uint64_t offset) const {
  TcpHeader header;
  header.sequence = initial_sequence_ + static_cast<std::uint32_t>(offset);
  header.window = TcpReceiver::kWindowBytes;
  header.is_ack = state_ != State::kSynSent;
  if (header.is_ack) {
    header.acknowledgment =
        remote_initial_sequence_ + static_cast<std::uint32_t>(receiver_.next_offset());
  }
  return header;
}

void TcpConnection::send_syn() {
  TcpHeader syn = header(0);
  syn.is_syn = true;
  syn.mss = static_cast<std::uint16_t>(stack_.mss(*this));
  stack_.send(*this, syn, {});
  syn_at_ = now() + syn_timeout_;
  arm();
}

/// With SND.NXT, which does not go back with what is sent again: the peer would refuse it as old.
void TcpConnection::send_ack() { stack_.send(*this, header(sender_->highest_offset()), {}); }

void TcpConnection::send_reset(std::uint32_t sequence) {
  TcpHeader reset;
  reset.sequence = sequence;
  reset.is_rst = true;
  stack_.send(*this, reset, {});
}

void TcpConnection::pump() {
  if (state_ == State::kClosed) return;
  if (state_ != State::kSynSent && state_ != State::kSynReceived) {
    while (const auto segment = sender_->next_segment(now())) {
      TcpHeader out = header(segment->offset);
      out.is_fin = segment->is_fin;
      stack_.send(*this, out, segment->bytes);
    }
  }
  arm();
}

void TcpConnection::arm() {
  std::optional<TimePoint> next = ends_at_;
  const auto consider = [&next](std::optional<TimePoint> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  consider(syn_at_);
  if (sender_) consider(sender_->next_timeout());
  timer_.arm(next);
}

void TcpConnection::on_timer() {
  if (ends_at_ && *ends_at_ <= now()) {
    if (is_passive_ && state_ == State::kSynReceived) is_abandoned_ = true;
    return end(error(std::errc::timed_out));
  }
  if (syn_at_ && *syn_at_ <= now()) {
    syn_timeout_ *= 2;
    syn_sent_at_.reset();
    return send_syn();
  }
  if (sender_) {
    sender_->on_timeout(now());
    if (sender_->is_dead()) return end(error(std::errc::timed_out));
  }
  pump();
}

}  // namespace openp2p::sim
