#include "agent/lifetime_check.h"

#include <array>
#include <utility>

namespace openp2p::agent {

LifetimeCheck::LifetimeCheck(NodeContext& context, const Address& server,
                             std::function<void()> on_done)
    : context_(context), server_(server), on_done_(std::move(on_done)) {}

LifetimeCheck::~LifetimeCheck() = default;

bool LifetimeCheck::start() {
  for (std::size_t i = 0; i <= nat::LifetimeProbe::kAsker; ++i) {
    if (!open_socket(i)) return false;
  }
  nat::LifetimeProbe::Config config;
  config.tag = context_.endpoint->new_tag().value();
  config.server = server_;
  probe_.emplace(config, context_.secrets, context_.now);
  pump();
  return true;
}

bool LifetimeCheck::open_socket(std::size_t number) {
  auto socket = context_.platform.open_datagrams(
      server_.ip.is_v4(), [this, number](const Address& from, ByteView datagram, TimePoint now) {
        context_.now = now;
        if (is_done_ || !probe_ || !probe_->on_datagram(number, from, datagram, now)) return;
        pump();
        context_.wake();
      });
  if (!socket) return false;
  sockets_.push_back(std::move(*socket));
  return true;
}

void LifetimeCheck::on_timeout() {
  if (is_done_ || !probe_) return;
  probe_->on_timeout(context_.now);
  pump();
}

std::optional<TimePoint> LifetimeCheck::next_timeout() const {
  if (is_done_ || !probe_) return std::nullopt;
  return probe_->next_timeout();
}

void LifetimeCheck::pump() {
  std::array<std::byte, nat::kStunBytesMax> out;
  std::size_t socket = 0;
  Address to;
  while (const std::size_t size = probe_->poll_datagram(socket, to, out, context_.now)) {
    sockets_[socket]->send(to, ByteView(out).first(size));
  }
  if (!probe_->is_done()) return;
  is_done_ = true;
  on_done_();
}

}  // namespace openp2p::agent
