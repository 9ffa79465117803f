#include "agent/peer_services.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "forward/destination.h"
#include "net/dial_error.h"

namespace openp2p::agent {
namespace {

using forward::OpenAnswer;
using forward::OpenRequest;
using forward::OpenStatus;

constexpr std::uint64_t kRefusedCode = 2;
/// An echo stream carries a few bytes at a time; more is not what it is for.
constexpr std::size_t kEchoHeldMax = 16 << 10;

OpenStatus to_status(const std::error_code& error) {
  if (error == net::DialError::kRefused) return OpenStatus::kRefused;
  if (error == net::DialError::kUnreachable) return OpenStatus::kUnreachable;
  if (error == net::DialError::kTimedOut) return OpenStatus::kTimedOut;
  if (error == net::DialError::kNameNotFound) return OpenStatus::kNameNotFound;
  if (error == net::DialError::kVetoed) return OpenStatus::kDenied;
  if (error == net::DialError::kNoResources) return OpenStatus::kBusy;
  return OpenStatus::kFailed;
}

OpenAnswer to_answer(const OpenRequest& request, const std::error_code& error) {
  const std::string where = forward::destination_text({request.host, request.port});
  const OpenStatus status = to_status(error);
  if (status == OpenStatus::kDenied) {
    return {status, where +
                        " is not allowed by that node; to allow it, restart its agent with: "
                        "openp2p up --accept " +
                        where + " (or --accept-lan for its whole local network)"};
  }
  return {status,
          where + ": " + std::string(forward::open_status_text(status)) + ", says that node"};
}

}  // namespace

/// Decodes the request, then is a forward::Flow's owner, or echoes.
class PeerServices::IncomingStream final : public forward::StreamUser, public forward::FlowOwner {
 public:
  IncomingStream(PeerServices& services, PeerLink& peer, session::Session& session,
                 session::StreamId id)
      : services_(services), peer_(&peer), session_(&session), id_(id) {}

  bool is_finished() const { return is_finished_; }

  void on_stream_data(ByteView data, bool is_end) override {
    if (is_finished_) return;
    if (flow_) return flow_->on_stream_data(data, is_end);
    if (!decoder_) return echo(data, is_end);
    const auto used = decoder_->feed(data);
    if (!used) return refuse_unread();
    session_->consume(id_, *used);
    if (decoder_->message()) return start(*decoder_->message(), data.subspan(*used), is_end);
    if (is_end) reject();
  }
  void on_stream_writable() override {
    if (flow_) return flow_->on_stream_writable();
    if (!decoder_ && !is_finished_) echo({}, false);
  }
  void on_stream_reset() override { flow_ ? flow_->on_stream_reset() : finish(); }
  void on_stream_stopped() override { flow_ ? flow_->on_stream_stopped() : finish(); }
  void on_stream_closed() override { flow_ ? flow_->on_stream_closed() : finish(); }
  void on_batch_end() override {
    if (flow_) flow_->on_batch_end();
  }
  void on_session_lost() override {
    peer_ = nullptr;
    flow_ ? flow_->on_session_lost() : finish();  // A flow may still deliver what has arrived.
  }

  void on_answer(forward::Flow&, const OpenAnswer&) override {}  // Only openers are answered.
  void on_finished(forward::Flow&) override { finish(); }

 private:
  void start(const OpenRequest& request, ByteView data, bool is_end) {
    const OpenRequest asked = request;
    decoder_.reset();
    if (asked.kind == forward::StreamKind::kEcho) return echo(data, is_end);
    flow_.emplace(*session_, id_, *this, services_.buffers_);
    flow_->accept(data, is_end);
    const auto allows = [this, asked](const IpAddress& ip) {
      const auto own = services_.context_.platform.local_addresses();
      return services_.policy_.allows(asked.host, ip, asked.port, own);
    };
    const auto done = [this, asked](Result<Platform::Stream> stream, TimePoint now) {
      services_.context_.now = now;
      services_.context_.wake();
      dial_.reset();
      if (is_finished_) return;
      if (stream) return flow_->set_local(std::move(*stream));
      services_.context_.log.debug(now, "forward.refused to={}:{} why=\"{}\"", asked.host,
                                   asked.port, stream.error().message());
      flow_->refuse(to_answer(asked, stream.error()));
    };
    dial_ = services_.context_.platform.dial(asked.host, asked.port, kDialTimeout, allows, done);
  }

  void echo(ByteView data, bool is_end) {
    if (held_.size() + data.size() > kEchoHeldMax) return reject();
    held_.insert(held_.end(), data.begin(), data.end());
    const std::size_t written = session_->write(id_, held_);
    session_->consume(id_, written);
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(written));
    has_end_ |= is_end;
    if (!has_end_ || !held_.empty()) return;
    session_->finish(id_);
    finish();
  }

  /// The peer wants what this version does not know, or it is no peer of ours at all.
  void refuse_unread() {
    session_->write(
        id_, forward::encode(
                 OpenAnswer{OpenStatus::kUnsupported,
                            "that node does not understand the request; is it an older version?"}));
    session_->finish(id_);
    session_->stop(id_, kRefusedCode);
    finish();
  }

  void reject() {
    session_->reset(id_, kRefusedCode);
    session_->stop(id_, kRefusedCode);
    finish();
  }

  void finish() {
    if (std::exchange(is_finished_, true)) return;
    services_.has_finished_ = true;
    dial_.reset();
    if (peer_ != nullptr) peer_->use(id_, nullptr);
  }

  PeerServices& services_;
  PeerLink* peer_;
  session::Session* session_;
  const session::StreamId id_;
  std::optional<forward::OpenDecoder<OpenRequest>> decoder_{std::in_place};
  std::optional<forward::Flow> flow_;
  std::unique_ptr<Platform::Pending> dial_;
  Bytes held_;
  bool has_end_ = false;
  bool is_finished_ = false;
};

PeerServices::PeerServices(NodeContext& context, forward::BufferPool& buffers)
    : context_(context), buffers_(buffers) {}

PeerServices::~PeerServices() = default;

void PeerServices::on_peer_stream(PeerLink& peer, session::StreamId id) {
  session::Session* session = peer.session();
  if (session == nullptr) return;
  if (streams_.size() >= kStreamsMax) {
    const OpenAnswer busy{OpenStatus::kBusy, "that node has too many connections now"};
    session->write(id, forward::encode(busy));
    session->finish(id);
    return session->stop(id, kRefusedCode);
  }
  streams_.push_back(std::make_unique<IncomingStream>(*this, peer, *session, id));
  peer.use(id, streams_.back().get());
}

void PeerServices::sweep() {
  if (!std::exchange(has_finished_, false)) return;
  std::erase_if(streams_, [](const auto& stream) { return stream->is_finished(); });
}

}  // namespace openp2p::agent
