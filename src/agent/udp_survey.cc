#include "agent/udp_survey.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace openp2p::agent {
namespace {

constexpr std::size_t kDatagramBytesMax = 1'280;
constexpr std::size_t kBehaviourSocket = ~std::size_t{0};

std::vector<IpAddress> own_addresses(const Platform& platform, bool is_v4) {
  std::vector<IpAddress> own = platform.local_addresses();
  std::erase_if(own, [&](const IpAddress& ip) { return ip.is_v4() != is_v4; });
  return own;
}

}  // namespace

UdpSurvey::UdpSurvey(NodeContext& context, const Config& config, std::function<void()> on_step)
    : context_(context), config_(config), on_step_(std::move(on_step)) {
  CHECK(!config.servers.empty() && config.sockets > 0);
  CHECK(config.sockets <= nat::kSurveySocketsMax);
}

UdpSurvey::~UdpSurvey() = default;

bool UdpSurvey::start() {
  const bool is_v4 = config_.servers.front().ip.is_v4();
  nat::MappingSurveyConfig config;
  config.tag = context_.endpoint->new_tag().value();
  config.servers = config_.servers;
  config.asks_other_address = config_.sockets > 1;  // One socket: a new port is all that is wanted.
  config.local_addresses = own_addresses(context_.platform, is_v4);
  while (sockets_.size() < config_.sockets) {
    auto socket = open(sockets_.size());
    if (!socket) break;
    config.ports.push_back(socket->local().port);
    sockets_.push_back(std::move(socket));
  }
  if (sockets_.empty()) return false;
  survey_.emplace(config, context_.secrets, context_.now);
  pump();
  return true;
}

std::unique_ptr<Platform::DatagramSocket> UdpSurvey::open(std::size_t index) {
  auto socket = context_.platform.open_datagrams(
      config_.servers.front().ip.is_v4(),
      [this, index](const Address& from, ByteView datagram, TimePoint now) {
        on_datagram(index, from, datagram, now);
      });
  return socket ? std::move(*socket) : nullptr;
}

void UdpSurvey::on_datagram(std::size_t socket, const Address& from, ByteView datagram,
                            TimePoint now) {
  context_.now = now;
  const bool is_ours = socket == kBehaviourSocket
                           ? behaviour_ && behaviour_->on_datagram(from, datagram, now)
                           : survey_->on_datagram(socket, from, datagram, now);
  if (!is_ours || is_done_) return;
  pump();
  context_.wake();
}

void UdpSurvey::on_timeout() {
  if (survey_) survey_->on_timeout(context_.now);
  if (behaviour_) behaviour_->on_timeout(context_.now);
  if (survey_ && !is_done_) pump();
}

std::optional<TimePoint> UdpSurvey::next_timeout() const {
  if (!survey_ || is_done_) return std::nullopt;
  return behaviour_ ? behaviour_->next_timeout() : survey_->next_timeout();
}

const nat::SurveyReport* UdpSurvey::survey() const {
  return survey_ && survey_->is_done() ? &survey_->report() : nullptr;
}

const nat::BehaviourReport* UdpSurvey::behaviour() const {
  return behaviour_ && behaviour_->is_done() ? &behaviour_->report() : nullptr;
}

/// After the survey, since through some NATs the two would disturb each other's sequence of ports.
void UdpSurvey::start_behaviour() {
  behaviour_socket_ = open(kBehaviourSocket);
  if (!behaviour_socket_) return;
  const Address& server = config_.servers.front();
  nat::BehaviourDiscoveryConfig config;
  config.tag = context_.endpoint->new_tag().value();
  config.server = server;
  const auto other = std::ranges::find_if(config_.servers, [&](const Address& a) {
    return a.ip == server.ip && a.port != server.port;
  });
  if (other != config_.servers.end()) config.alternate_port = other->port;
  for (const IpAddress& ip : own_addresses(context_.platform, server.ip.is_v4())) {
    config.local_addresses.push_back({ip, behaviour_socket_->local().port});
  }
  behaviour_.emplace(config, context_.secrets, context_.now);
}

void UdpSurvey::pump() {
  std::array<std::byte, kDatagramBytesMax> out;
  Address to;
  std::size_t socket = 0;
  while (const std::size_t size = survey_->poll_datagram(socket, to, out, context_.now)) {
    sockets_[socket]->send(to, ByteView(out).first(size));
  }
  if (!survey_->is_done()) return;
  if (!std::exchange(is_told_, true)) {
    if (config_.with_behaviour && !survey_->report().is_silent()) start_behaviour();
    is_done_ = !behaviour_;
    on_step_();
  }
  if (!behaviour_ || is_done_) return;
  while (const std::size_t size = behaviour_->poll_datagram(to, out, context_.now)) {
    behaviour_socket_->send(to, ByteView(out).first(size));
  }
  if (!behaviour_->is_done()) return;
  is_done_ = true;
  on_step_();
}

}  // namespace openp2p::agent
