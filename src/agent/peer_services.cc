#include "agent/peer_services.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/incoming_udp.h"
#include "agent/open_outcome.h"
#include "relay/relay_message.h"

namespace openp2p::agent {
namespace {

using forward::OpenAnswer;
using forward::OpenRequest;
using forward::OpenStatus;

constexpr std::uint64_t kRefusedCode = 2;
/// An echo stream carries a few bytes at a time; more is not what it is for.
constexpr std::size_t kEchoHeldMax = 16 << 10;

OpenAnswer busy() { return {OpenStatus::kBusy, "that node has too many connections now"}; }

}  // namespace

/// Decodes the request, then is a forward::Flow's owner, has an IncomingUdp, or echoes.
class PeerServices::IncomingStream final : public forward::StreamUser, public forward::FlowOwner {
 public:
  IncomingStream(PeerServices& services, PeerLink& peer, session::Session& session,
                 session::StreamId id)
      : services_(services), peer_(&peer), session_(&session), id_(id) {}

  bool is_finished() const { return is_finished_; }
  bool is_udp() const { return udp_ != nullptr; }
  void end_if_idle() {
    if (udp_) udp_->end_if_idle();
  }

  void on_stream_data(ByteView data, bool is_end) override {
    if (is_finished_) return;
    if (flow_) return flow_->on_stream_data(data, is_end);
    if (!decoder_) return echo(data, is_end);
    if (std::exchange(is_first_, false) && is_for_relay(data)) return hand_over(data, is_end);
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
    if (asked.kind == forward::StreamKind::kUdp) return start_udp(asked, data, is_end);
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

  bool is_for_relay(ByteView data) const {
    return services_.take_relay_ && !data.empty() && data.front() == relay::kStreamKind;
  }

  /// What relays is no service of this node's: it sees neither forwards nor policies.
  void hand_over(ByteView data, bool is_end) {
    PeerLink* peer = peer_;
    finish();
    forward::StreamUser* user = services_.take_relay_(*session_, id_);
    if (user == nullptr) return session_->consume(id_, data.size());
    peer->use(id_, user);
    user->on_stream_data(data, is_end);
  }

  /// From now on the stream is the flow's.
  void start_udp(const OpenRequest& request, ByteView data, bool is_end) {
    forward::SealedFlows* flows = services_.datagrams_.of(*peer_);
    if (flows == nullptr || services_.udp_flows_ >= kUdpFlowsMax) return refuse(busy());
    ++services_.udp_flows_;
    udp_ = std::make_unique<IncomingUdp>(
        services_.context_, services_.policy_,
        IncomingUdp::Ends{*session_, id_, *flows, [this] { finish(); }}, request);
    peer_->use(id_, &udp_->flow());
    udp_->start(data, is_end);
    services_.look_for_idle();
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
    refuse({OpenStatus::kUnsupported,
            "that node does not understand the request; is it an older version?"});
  }

  void refuse(const OpenAnswer& answer) {
    session_->write(id_, forward::encode(answer));
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
    if (udp_) --services_.udp_flows_;
    dial_.reset();
    if (peer_ != nullptr) peer_->use(id_, nullptr);
  }

  PeerServices& services_;
  PeerLink* peer_;
  session::Session* session_;
  const session::StreamId id_;
  std::optional<forward::OpenDecoder<OpenRequest>> decoder_{std::in_place};
  std::optional<forward::Flow> flow_;
  std::unique_ptr<IncomingUdp> udp_;
  std::unique_ptr<Platform::Pending> dial_;
  Bytes held_;
  bool is_first_ = true;  ///< No byte has come yet.
  bool has_end_ = false;
  bool is_finished_ = false;
};

PeerServices::PeerServices(NodeContext& context, forward::BufferPool& buffers,
                           PeerDatagrams& datagrams)
    : context_(context), buffers_(buffers), datagrams_(datagrams) {}

PeerServices::~PeerServices() = default;

void PeerServices::on_peer_stream(PeerLink& peer, session::StreamId id) {
  session::Session* session = peer.session();
  if (session == nullptr) return;
  if (streams_.size() >= kStreamsMax) {
    session->write(id, forward::encode(busy()));
    session->finish(id);
    return session->stop(id, kRefusedCode);
  }
  streams_.push_back(std::make_unique<IncomingStream>(*this, peer, *session, id));
  peer.use(id, streams_.back().get());
}

void PeerServices::look_for_idle() {
  if (!idle_look_at_) idle_look_at_ = context_.now + kIdleLookPause;
}

void PeerServices::on_timeout() {
  if (!idle_look_at_ || context_.now < *idle_look_at_) return;
  idle_look_at_.reset();
  for (auto& stream : streams_) stream->end_if_idle();
  if (udp_flows_ > 0) look_for_idle();
}

void PeerServices::sweep() {
  if (!std::exchange(has_finished_, false)) return;
  std::erase_if(streams_, [](const auto& stream) { return stream->is_finished(); });
}

}  // namespace openp2p::agent
