#include "agent/pinger.h"

#include <algorithm>
#include <array>
#include <utility>

#include "forward/open_message.h"
#include "wire/codec.h"

namespace openp2p::agent {

/// One `ping` command: one echo at a time, each on a stream of its own.
class Pinger::Run final : public forward::StreamUser {
 public:
  Run(Pinger& pinger, PeerLink& peer, unsigned count, Reply reply)
      : pinger_(pinger), peer_(&peer), left_(count), reply_(std::move(reply)) {}
  ~Run() override { leave_stream(); }

  bool is_over() const { return is_over_; }
  PeerLink* peer() const { return peer_; }

  void next() {
    const TimePoint now = pinger_.context_.now;
    if (left_ == 0) return end();
    leave_stream();  // The last one's answer may have come without its end.
    --left_;
    ++number_;
    next_at_ = now + kInterval;
    // The first may have to make the session, for which the peer has to be there.
    const bool makes_session = number_ == 1 && peer_->record().is_online;
    deadline_ = now + (makes_session ? kFirstTimeout : kTimeout);
    is_answered_ = false;
    peer_->want(*deadline_);
    send();
  }

  void send() {
    session::Session* session = peer_ ? peer_->session() : nullptr;
    if (session == nullptr || is_answered_ || stream_ || !deadline_) return;
    const auto stream = session->open_stream();
    if (!stream) return;
    stream_ = *stream;
    peer_->use(*stream_, this);
    forward::OpenRequest request;
    request.kind = forward::StreamKind::kEcho;
    Bytes message = forward::encode(request);
    std::array<std::byte, 4> payload;
    Writer out(payload);
    out.u32(number_);
    message.insert(message.end(), payload.begin(), payload.end());
    sent_at_ = pinger_.context_.now;
    session->write(*stream_, message);
    session->finish(*stream_);
  }

  void on_timeout() {
    const TimePoint now = pinger_.context_.now;
    if (deadline_ && (now >= *deadline_ || pinger_.is_hopeless_(*peer_))) {
      leave_stream();
      PingReply reply;
      reply.number = number_;
      pinger_.describe_(*peer_, reply);
      if (reply.reason.empty()) reply.reason = "no answer in time";
      answer(reply);
    }
    if (!is_over_ && !deadline_ && next_at_ && now >= *next_at_) next();
  }

  std::optional<TimePoint> next_timeout() const {
    if (is_over_) return std::nullopt;
    return deadline_ ? deadline_ : next_at_;
  }

  void on_stream_data(ByteView data, bool) override {
    peer_->session()->consume(*stream_, data.size());
    if (data.empty() || is_answered_) return;
    PingReply reply;
    reply.number = number_;
    reply.rtt = pinger_.context_.now - sent_at_;
    pinger_.describe_(*peer_, reply);
    answer(reply);
  }
  void on_stream_writable() override {}
  void on_stream_reset() override { leave_stream(); }
  void on_stream_stopped() override {}
  void on_stream_closed() override { leave_stream(); }
  void on_batch_end() override {}
  void on_session_lost() override { stream_.reset(); }

  void on_peer_gone() {
    stream_.reset();
    end();
    peer_ = nullptr;
  }

 private:
  void answer(const PingReply& reply) {
    is_answered_ = true;
    deadline_.reset();
    if (!reply_(reply)) is_over_ = true;  // Whoever asked is gone.
    if (!is_over_ && left_ == 0) end();
  }

  void end() {
    if (std::exchange(is_over_, true)) return;
    PingReply last;
    if (peer_ != nullptr) pinger_.describe_(*peer_, last);
    reply_(last);
  }

  /// Ends the stream too: a peer that does not would have all of them at last.
  void leave_stream() {
    const auto stream = std::exchange(stream_, std::nullopt);
    if (!stream || peer_ == nullptr) return;
    peer_->use(*stream, nullptr);
    session::Session* const session = peer_->session();
    if (session == nullptr) return;
    session->reset(*stream, 0);
    session->stop(*stream, 0);
  }

  Pinger& pinger_;
  PeerLink* peer_;
  unsigned left_;
  Reply reply_;
  unsigned number_ = 0;
  std::optional<session::StreamId> stream_;
  TimePoint sent_at_;
  std::optional<TimePoint> next_at_;
  std::optional<TimePoint> deadline_;
  bool is_answered_ = false;
  bool is_over_ = false;
};

Pinger::Pinger(NodeContext& context, Describe describe, IsHopeless is_hopeless)
    : context_(context), describe_(std::move(describe)), is_hopeless_(std::move(is_hopeless)) {}

Pinger::~Pinger() = default;

bool Pinger::start(PeerLink& peer, unsigned count, Reply reply) {
  if (runs_.size() >= kRunsMax) return false;
  runs_.push_back(std::make_unique<Run>(*this, peer, count, std::move(reply)));
  runs_.back()->next();
  return true;
}

bool Pinger::needs(const PeerLink& peer) const {
  return std::ranges::any_of(
      runs_, [&](const auto& run) { return run->peer() == &peer && !run->is_over(); });
}

void Pinger::on_session_up(PeerLink& peer) {
  for (auto& run : runs_) {
    if (run->peer() == &peer) run->send();
  }
}

void Pinger::on_peer_gone(PeerLink& peer) {
  for (auto& run : runs_) {
    if (run->peer() == &peer) run->on_peer_gone();
  }
}

void Pinger::on_timeout() {
  for (auto& run : runs_) {
    if (run->peer() != nullptr) run->on_timeout();
  }
}

std::optional<TimePoint> Pinger::next_timeout() const {
  std::optional<TimePoint> next;
  for (const auto& run : runs_) next = earlier(next, run->next_timeout());
  return next;
}

void Pinger::sweep() {
  std::erase_if(runs_, [](const auto& run) { return run->is_over(); });
}

}  // namespace openp2p::agent
