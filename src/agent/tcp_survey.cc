#include "agent/tcp_survey.h"

#include <array>
#include <utility>

#include "wire/each_datagram.h"

namespace openp2p::agent {

TcpSurvey::TcpSurvey(NodeContext& context, std::vector<Address> servers,
                     std::function<void()> on_done)
    : context_(context), servers_(std::move(servers)), on_done_(std::move(on_done)) {}

TcpSurvey::~TcpSurvey() = default;

bool TcpSurvey::start() {
  auto port = context_.platform.open_connections(servers_.front().ip.is_v4(), *this);
  if (!port) return false;
  port_ = std::move(*port);
  nat::StreamSurveyConfig config;
  config.tag = context_.endpoint->new_tag().value();
  config.servers = servers_;
  config.local_addresses = context_.platform.local_addresses();
  config.port = port_->number();
  survey_.emplace(config, context_.secrets, context_.now);
  pump();
  return true;
}

void TcpSurvey::on_timeout() {
  if (!survey_ || is_done_) return;
  survey_->on_timeout(context_.now);
  pump();
}

std::optional<TimePoint> TcpSurvey::next_timeout() const {
  if (!survey_ || is_done_) return std::nullopt;
  return survey_->next_timeout();
}

void TcpSurvey::on_connected(SocketId socket, const Address&, const Address& remote,
                             bool is_incoming, TimePoint now) {
  context_.now = now;
  survey_->on_connected(socket, remote, is_incoming, now);
  pump();
  context_.wake();
}

void TcpSurvey::on_disconnected(SocketId socket, std::error_code, TimePoint now) {
  context_.now = now;
  survey_->on_disconnected(socket, now);
  pump();
  context_.wake();
}

void TcpSurvey::on_datagrams(SocketId socket, const Address&, const DatagramTrain& train,
                             TimePoint now) {
  context_.now = now;
  for_each_datagram(train, [&](ByteView datagram) { survey_->on_datagram(socket, datagram, now); });
  pump();
  context_.wake();
}

void TcpSurvey::pump() {
  if (is_done_) return;
  while (const auto to = survey_->poll_connect()) {
    survey_->on_connecting(*to, port_->connect(*to, nat::StreamSurvey::kPatience), context_.now);
  }
  std::array<std::byte, nat::kStunBytesMax> out;
  SocketId over;
  while (const std::size_t size = survey_->poll_datagram(over, out)) {
    port_->send(over, ByteView(out).first(size));
  }
  if (!survey_->is_done()) return;
  is_done_ = true;
  on_done_();
}

}  // namespace openp2p::agent
