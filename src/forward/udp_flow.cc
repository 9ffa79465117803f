#include "forward/udp_flow.h"

#include <utility>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::forward {
namespace {

constexpr std::uint64_t kEndCode = 0;  ///< "This flow is over", which is no failure.

}  // namespace

UdpFlow::UdpFlow(session::Session& session, session::StreamId stream, SealedFlows& flows,
                 UdpFlowOwner& owner)
    : session_(&session), stream_(stream), flows_(flows), owner_(owner) {}

UdpFlow::~UdpFlow() {
  if (is_joined_) flows_.remove(flow_id_of(stream_));
}

void UdpFlow::join() {
  is_joined_ = flows_.add(flow_id_of(stream_), *this);
  if (!is_joined_) end();
}

void UdpFlow::open(const OpenRequest& request, const EarlyDatagrams& early) {
  CHECK(request.kind == StreamKind::kUdp);
  answer_.emplace();
  outgoing_ = encode(request);
  const ByteView frames = early.frames();
  outgoing_.insert(outgoing_.end(), frames.begin(), frames.end());
  early_bytes_ = frames.size();
  counters_.sent += early.count();
  counters_.bytes_sent += frames.size() - early.count() * kEarlyHeaderBytes;
  join();
  write_outgoing();
}

void UdpFlow::accept(ByteView early_data, bool is_end) {
  join();
  if (!is_finished_) take_early(early_data);
  if (is_end) end();
}

void UdpFlow::set_opened() {
  if (is_finished_) return;
  session_->write(stream_, encode(OpenAnswer{}));
  is_opened_ = true;
  deliver_early();
}

void UdpFlow::refuse(const OpenAnswer& answer) {
  if (is_finished_) return;
  session_->write(stream_, encode(answer));
  end();
}

void UdpFlow::tell(const OpenAnswer& answer) {
  if (is_finished_ || !is_opened_) return;
  const Bytes message = encode(answer);
  // A peer that reads no answers gets none: half of one would be nonsense.
  if (session_->write_room(stream_).size() >= message.size()) session_->write(stream_, message);
}

void UdpFlow::send(ByteView datagram) {
  if (is_finished_) return;
  if (answer_ && !is_opened_) {
    if (early_bytes_ + kEarlyHeaderBytes + datagram.size() > EarlyDatagrams::kBytesMax) {
      ++counters_.dropped;
      return;
    }
    early_bytes_ += kEarlyHeaderBytes + datagram.size();
    append_frame(outgoing_, datagram);
    write_outgoing();
  } else if (!flows_.send(flow_id_of(stream_), datagram)) {
    ++counters_.dropped;
    return;
  }
  ++counters_.sent;
  counters_.bytes_sent += datagram.size();
}

void UdpFlow::write_outgoing() {
  if (is_finished_ || outgoing_.empty()) return;
  outgoing_start_ += session_->write(stream_, ByteView(outgoing_).subspan(outgoing_start_));
  if (outgoing_start_ < outgoing_.size()) return;  // on_stream_writable() goes on.
  Bytes().swap(outgoing_);
  outgoing_start_ = 0;
}

void UdpFlow::on_stream_data(ByteView data, bool is_end) {
  if (is_finished_) return;
  answer_ ? take_answers(data) : take_early(data);
  if (is_end) end();
}

void UdpFlow::take_answers(ByteView data) {
  while (!data.empty() && !is_finished_) {
    const auto used = answer_->feed(data);
    if (!used) return end();
    session_->consume(stream_, *used);
    data = data.subspan(*used);
    if (!answer_->message()) continue;
    const OpenAnswer answer = *answer_->message();
    answer_.emplace();
    is_opened_ |= answer.status == OpenStatus::kOpened;
    owner_.on_answer(*this, answer);
    if (!is_opened_) return end();
  }
}

/// The peer's early datagrams, of which it sends kBytesMax at most.
void UdpFlow::take_early(ByteView data) {
  session_->consume(stream_, data.size());
  if (incoming_.size() + data.size() > EarlyDatagrams::kBytesMax) return end();
  incoming_.insert(incoming_.end(), data.begin(), data.end());
  if (is_opened_) deliver_early();
}

void UdpFlow::deliver_early() {
  std::size_t taken = 0;
  while (!is_finished_) {
    Reader in(ByteView(incoming_).subspan(taken));
    const auto size = in.u16();
    if (!size) break;
    if (*size > kDatagramBytesMax) return end();
    const auto datagram = in.bytes(*size);
    if (!datagram) break;
    taken += kEarlyHeaderBytes + *size;
    on_datagram(*datagram);
  }
  if (taken == 0) return;
  incoming_.erase(incoming_.begin(), incoming_.begin() + static_cast<std::ptrdiff_t>(taken));
  if (incoming_.empty()) Bytes().swap(incoming_);
  on_datagrams_end();
}

/// A peer that refuses reads no more, and may say so before its answer arrives: that gives the
/// reason.
void UdpFlow::on_stream_stopped() {
  if (!answer_ || is_opened_) end();
}

void UdpFlow::on_stream_closed() {
  is_stream_closed_ = true;
  end();
}

void UdpFlow::on_session_lost() {
  session_ = nullptr;
  end();
}

void UdpFlow::on_datagram(ByteView datagram) {
  // An opener that seals before it was answered breaks the protocol: there is nobody to send to.
  if (is_finished_ || (!answer_ && !is_opened_)) return;
  is_opened_ = true;  // Only an opened flow answers: it may overtake the stream, which is paced.
  ++counters_.received;
  counters_.bytes_received += datagram.size();
  owner_.on_datagram(*this, datagram);
}

void UdpFlow::on_datagrams_end() {
  if (!is_finished_) owner_.on_datagrams_end(*this);
}

void UdpFlow::end() {
  if (is_finished_) return;
  if (session_ != nullptr && !is_stream_closed_) {
    session_->finish(stream_);
    session_->stop(stream_, kEndCode);
  }
  finish();
}

void UdpFlow::finish() {
  is_finished_ = true;
  if (std::exchange(is_joined_, false)) flows_.remove(flow_id_of(stream_));
  Bytes().swap(outgoing_);
  outgoing_start_ = 0;
  owner_.on_finished(*this);
}

}  // namespace openp2p::forward
