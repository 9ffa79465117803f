#include "forward/flow.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::forward {
namespace {

constexpr std::uint64_t kAbortCode = 1;  ///< "The connection behind this stream is gone."

}  // namespace

Bytes BufferPool::take() {
  if (free_.empty()) return {};
  Bytes buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void BufferPool::give(Bytes buffer) {
  if (free_.size() >= kKeptMax || buffer.capacity() > kKeptBytesMax) return;
  buffer.clear();
  free_.push_back(std::move(buffer));
}

Flow::Flow(session::Session& session, session::StreamId stream, FlowOwner& owner,
           BufferPool& buffers)
    : session_(&session), stream_(stream), owner_(owner), buffers_(buffers) {}

Flow::~Flow() {
  if (!local_) return;
  local_->set_handler(nullptr);
  if (!is_finished_) local_->reset();  // An end would say that what came so far is the whole.
}

void Flow::open(const OpenRequest& request, std::unique_ptr<LocalStream> local) {
  const Bytes message = encode(request);
  CHECK(session_->write(stream_, message) == message.size());  // A new stream's ring is empty.
  answer_.emplace();
  local_ = std::move(local);
  local_->set_handler(this);
  local_->want_read(true);
}

void Flow::accept(ByteView early_data, bool is_end) {
  hold(early_data);
  has_end_from_peer_ = is_end;
}

void Flow::set_local(std::unique_ptr<LocalStream> local) {
  if (is_finished_) return;
  session_->write(stream_, encode(OpenAnswer{}));
  local_ = std::move(local);
  local_->set_handler(this);
  local_->want_read(true);
  write_pending();
}

void Flow::refuse(const OpenAnswer& answer) {
  if (is_finished_) return;
  session_->write(stream_, encode(answer));
  session_->finish(stream_);
  session_->stop(stream_, kAbortCode);
  is_stream_write_done_ = true;
  is_finished_ = true;
  owner_.on_finished(*this);
}

void Flow::abort() {
  if (!is_finished_) fail();
}

void Flow::on_stream_data(ByteView data, bool is_end) {
  if (is_finished_) return;
  if (answer_) data = take_answer(data);
  if (is_finished_) return;
  hold(data);
  has_end_from_peer_ |= is_end;
  if (is_end && answer_) return fail();  // The stream ended in the middle of the answer.
}

/// Takes the peer's answer off the front; what is left is data.
ByteView Flow::take_answer(ByteView data) {
  const auto used = answer_->feed(data);
  if (!used) {
    fail();
    return {};
  }
  session_->consume(stream_, *used);
  if (!answer_->message()) return {};
  const OpenAnswer answer = *answer_->message();
  answer_.reset();
  owner_.on_answer(*this, answer);
  if (answer.status != OpenStatus::kOpened || is_stopped_) fail();
  return data.subspan(*used);
}

void Flow::hold(ByteView data) {
  if (data.empty()) return;
  if (pending_.capacity() == 0) pending_ = buffers_.take();
  pending_.insert(pending_.end(), data.begin(), data.end());
}

void Flow::on_batch_end() {
  if (!is_finished_ && local_) write_pending();
}

/// One write for all that was gathered. What the local stream does not take waits for room.
void Flow::write_pending() {
  const ByteView data = ByteView(pending_).subspan(pending_start_);
  if (!data.empty() && !is_local_write_done_) {
    const IoResult result = local_->write(data);
    if (result.state == IoState::kError) return fail();
    pending_start_ += result.bytes;
    bytes_received_ += result.bytes;
    if (result.bytes > 0 && session_) session_->consume(stream_, result.bytes);
  }
  const bool is_drained = pending_start_ == pending_.size();
  local_->want_write(!is_drained);
  if (!is_drained) {
    // Keeps the space in bounds where the reader is slow: the front half is free again.
    if (pending_start_ > pending_.size() / 2) {
      pending_.erase(pending_.begin(),
                     pending_.begin() + static_cast<std::ptrdiff_t>(pending_start_));
      pending_start_ = 0;
    }
    return;
  }
  pending_start_ = 0;
  pending_.clear();
  if (pending_.capacity() > 0) buffers_.give(std::exchange(pending_, {}));
  if (has_end_from_peer_ && !std::exchange(is_local_write_done_, true)) local_->shutdown_write();
  check_finished();
}

void Flow::on_readable(TimePoint) { read_local(); }

void Flow::read_local() {
  if (is_finished_ || is_stream_write_done_ || session_ == nullptr) return;
  for (std::size_t turn = 0; turn < kTurnBytesMax;) {
    const MutableByteView room = session_->write_room(stream_);
    if (room.empty()) return local_->want_read(false);  // on_stream_writable() goes on.
    const IoResult result = local_->read(room.first(std::min(room.size(), kReadBytesMax)));
    if (result.bytes > 0) session_->commit(stream_, result.bytes);
    bytes_sent_ += result.bytes;
    turn += result.bytes;
    if (result.state == IoState::kError) return fail();
    if (result.state == IoState::kEnd) {
      local_->want_read(false);
      is_stream_write_done_ = true;
      session_->finish(stream_);
      return check_finished();
    }
    if (result.state == IoState::kWouldBlock) return;
  }
}

void Flow::on_writable(TimePoint) {
  if (!is_finished_) write_pending();
}

void Flow::on_failed(std::error_code, TimePoint) { fail(); }

void Flow::on_stream_writable() {
  if (!is_finished_ && local_ && !is_stream_write_done_) local_->want_read(true);
}

void Flow::on_stream_reset() {
  if (!is_finished_) fail();
}

/// A peer that refuses reads no more, and may say so before its answer arrives: that gives the
/// reason. Until then the stream has no room, so that nothing is read here either.
void Flow::on_stream_stopped() {
  is_stopped_ = true;
  if (!is_finished_ && !answer_) fail();
}

/// Both directions ended in order, or were reset. Data that the local stream has not taken yet is
/// kept.
void Flow::on_stream_closed() {
  is_stream_closed_ = true;
  if (is_finished_) return;
  if (!has_end_from_peer_ || !local_) return fail();
  check_finished();
}

void Flow::on_session_lost() {
  session_ = nullptr;
  if (is_finished_) return;
  // Everything may have arrived although the session is gone.
  if (has_end_from_peer_ && is_stream_write_done_ && local_) return check_finished();
  fail();
}

void Flow::check_finished() {
  if (is_finished_ || !is_local_write_done_ || !is_stream_write_done_) return;
  is_finished_ = true;
  owner_.on_finished(*this);
}

/// Something in the middle broke: neither end may take what it got for the whole.
void Flow::fail() {
  if (is_finished_) return;
  is_finished_ = true;
  if (local_) {
    local_->set_handler(nullptr);
    local_->reset();
  }
  if (session_ != nullptr && !is_stream_closed_) {
    session_->reset(stream_, kAbortCode);
    session_->stop(stream_, kAbortCode);
  }
  owner_.on_finished(*this);
}

}  // namespace openp2p::forward
