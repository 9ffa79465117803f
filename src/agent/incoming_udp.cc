#include "agent/incoming_udp.h"

#include <utility>

#include "agent/open_outcome.h"
#include "wire/each_datagram.h"

namespace openp2p::agent {

IncomingUdp::IncomingUdp(NodeContext& context, const forward::AcceptPolicy& policy, Ends ends,
                         const forward::OpenRequest& request)
    : context_(context),
      policy_(policy),
      request_(request),
      on_finished_(std::move(ends.on_finished)),
      used_at_(context.now),
      flow_(ends.session, ends.stream, ends.flows, *this) {}

IncomingUdp::~IncomingUdp() = default;

void IncomingUdp::start(ByteView early_data, bool is_end) {
  flow_.accept(early_data, is_end);
  if (flow_.is_finished()) return;
  const auto allows = [this](const IpAddress& ip) {
    return policy_.allows(request_.host, ip, request_.port, context_.platform.local_addresses());
  };
  dial_ = context_.platform.dial_datagrams(
      request_.host, request_.port, kDialTimeout, allows, *this,
      [this](Result<Platform::Datagrams> datagrams, TimePoint now) {
        on_dialled(std::move(datagrams), now);
      });
}

void IncomingUdp::on_dialled(Result<Platform::Datagrams> datagrams, TimePoint now) {
  context_.now = now;
  context_.wake();
  dial_.reset();
  if (flow_.is_finished()) return;
  if (datagrams) {
    datagrams_ = std::move(*datagrams);
    return flow_.set_opened();
  }
  context_.log.debug(now, "forward.refused to={}:{} why=\"{}\"", request_.host, request_.port,
                     datagrams.error().message());
  flow_.refuse(to_answer(request_, datagrams.error()));
}

void IncomingUdp::end_if_idle() {
  if (context_.now - used_at_ >= kIdleMax) flow_.end();
}

void IncomingUdp::on_datagram(forward::UdpFlow&, ByteView datagram) {
  used_at_ = context_.now;
  datagrams_->send({}, datagram);
}

void IncomingUdp::on_datagrams_end(forward::UdpFlow&) { datagrams_->flush(context_.now); }

void IncomingUdp::on_finished(forward::UdpFlow&) {
  dial_.reset();
  on_finished_();
}

void IncomingUdp::on_datagrams(const forward::LocalEnds&, const DatagramTrain& train,
                               TimePoint now) {
  context_.now = used_at_ = now;
  for_each_datagram(train, [this](ByteView datagram) { flow_.send(datagram); });
  context_.wake();
}

void IncomingUdp::on_failed(std::error_code error, TimePoint now) {
  context_.now = now;
  if (told_at_ && now - *told_at_ < kTroublePause) return;
  told_at_ = now;
  flow_.tell(to_answer(request_, error));
  context_.wake();
}

}  // namespace openp2p::agent
