#include "agent/throttle_check.h"

#include <array>
#include <utility>

#include "wire/each_datagram.h"

namespace openp2p::agent {

ThrottleCheck::ThrottleCheck(NodeContext& context, const Address& server,
                             std::function<void()> on_done)
    : context_(context), server_(server), on_done_(std::move(on_done)) {}

ThrottleCheck::~ThrottleCheck() = default;

bool ThrottleCheck::start() {
  const bool is_v4 = server_.ip.is_v4();
  auto udp = context_.platform.open_datagrams(
      is_v4, [this](const Address& from, ByteView datagram, TimePoint now) {
        context_.now = now;
        if (!probe_ || from != server_) return;
        probe_->on_datagram(datagram, /*is_stream=*/false, now);
        pump();
        context_.wake();
      });
  auto port = context_.platform.open_connections(is_v4, *this);
  if (!udp || !port) return false;
  udp_ = std::move(*udp);
  port_ = std::move(*port);
  stream_ = port_->connect(server_, kConnectPatience);
  return stream_.has_value();
}

std::optional<nat::ThrottleReport> ThrottleCheck::report() const {
  if (!probe_) return std::nullopt;
  return probe_->report();
}

void ThrottleCheck::on_timeout() {
  if (!probe_ || is_done_) return;
  probe_->on_timeout(context_.now);
  pump();
}

std::optional<TimePoint> ThrottleCheck::next_timeout() const {
  if (!probe_ || is_done_) return std::nullopt;
  return probe_->next_timeout();
}

void ThrottleCheck::on_connected(SocketId socket, const Address&, const Address&, bool,
                                 TimePoint now) {
  context_.now = now;
  if (socket != stream_) return;
  probe_.emplace(context_.endpoint->new_tag().value(), context_.secrets, now);
  pump();
  context_.wake();
}

void ThrottleCheck::on_disconnected(SocketId socket, std::error_code, TimePoint now) {
  context_.now = now;
  if (socket != stream_ || is_done_) return;
  if (!probe_) return finish();
  probe_->give_up_stream(now);
  pump();
  context_.wake();
}

void ThrottleCheck::on_datagrams(SocketId socket, const Address&, const DatagramTrain& train,
                                 TimePoint now) {
  context_.now = now;
  if (socket != stream_ || !probe_) return;
  for_each_datagram(
      train, [&](ByteView datagram) { probe_->on_datagram(datagram, /*is_stream=*/true, now); });
  pump();
  context_.wake();
}

void ThrottleCheck::pump() {
  if (is_done_) return;
  std::array<std::byte, nat::kStunBytesMax> out;
  bool is_stream = false;
  while (const std::size_t size = probe_->poll_datagram(is_stream, out, context_.now)) {
    const ByteView datagram = ByteView(out).first(size);
    if (is_stream) {
      port_->send(*stream_, datagram);
    } else {
      udp_->send(server_, datagram);
    }
  }
  if (probe_->is_done()) finish();
}

void ThrottleCheck::finish() {
  is_done_ = true;
  on_done_();
  context_.wake();
}

}  // namespace openp2p::agent
