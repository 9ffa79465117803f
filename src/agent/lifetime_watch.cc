#include "agent/lifetime_watch.h"

#include <algorithm>
#include <utility>

namespace openp2p::agent {
namespace {

/// Without a NAT a stateful firewall forgets likewise.
bool is_forgetful(const nat::NatProfile& udp) {
  const bool is_filtered = udp.filtering != nat::Dependence::kUnknown &&
                           udp.filtering != nat::Dependence::kEndpointIndependent;
  return !udp.external.is_unspecified() && !udp.is_blocked && (udp.is_translated || is_filtered);
}

}  // namespace

LifetimeWatch::LifetimeWatch(NodeContext& context, std::function<void()> on_learned)
    : context_(context), on_learned_(std::move(on_learned)) {}

LifetimeWatch::~LifetimeWatch() = default;

void LifetimeWatch::on_nat(const nat::NatProfile& udp,
                           const std::vector<std::string>& stun_servers) {
  stun_servers_ = stun_servers;
  const IpAddress external = is_forgetful(udp) ? udp.external : IpAddress();
  if (external == external_) return;
  external_ = external;
  lookup_.reset();
  retire();
  measure_at_.reset();
  if (external_.is_unspecified()) return;
  measure_at_ = context_.now + kCalm;
  const auto known = std::ranges::find(networks_, external_, &Network::external);
  if (known == networks_.end()) return;
  measure_at_ = std::max(*measure_at_, known->measured_at + kAgainAfter);
  on_learned_();
}

void LifetimeWatch::learn(const nat::LifetimeReport& report) {
  if (external_.is_unspecified() || (!report.alive && !report.dead)) return;
  std::erase_if(networks_, [&](const Network& each) { return each.external == external_; });
  networks_.insert(networks_.begin(), {external_, report, context_.now});
  if (networks_.size() > kNetworksMax) networks_.pop_back();
  on_learned_();
}

nat::LifetimeReport LifetimeWatch::report() const {
  const auto found = std::ranges::find(networks_, external_, &Network::external);
  return found == networks_.end() ? nat::LifetimeReport() : found->report;
}

std::optional<Duration> LifetimeWatch::lifetime() const {
  const nat::LifetimeReport known = report();
  if (known.alive) return known.alive;
  if (known.dead) return *known.dead / 2;  // It did not live through the shortest silence tried.
  return std::nullopt;
}

// --- Time ---

void LifetimeWatch::on_timeout() {
  retired_.clear();
  if (check_) check_->on_timeout();
  if (check_ && check_->is_done()) retire();
  if (measure_at_ && context_.now >= *measure_at_) begin();
}

std::optional<TimePoint> LifetimeWatch::next_timeout() const {
  // Sockets of what is done are closed from on_timeout(), outside their own callbacks.
  if (!retired_.empty() || (check_ && check_->is_done())) return context_.now;
  return check_ ? earlier(measure_at_, check_->next_timeout()) : measure_at_;
}

void LifetimeWatch::begin() {
  measure_at_ = context_.now + kAgainAfter;  // Also where it comes to nothing.
  lookup_ = std::make_unique<StunLookup>(context_.platform, stun_servers_,
                                         [this](std::vector<Address> found, TimePoint now) {
                                           context_.now = now;
                                           on_servers_found(found);
                                           context_.wake();
                                         });
  lookup_->start(context_.now);
}

void LifetimeWatch::on_servers_found(const std::vector<Address>& found) {
  const auto server =
      std::ranges::find_if(found, [](const Address& each) { return each.ip.is_v4(); });
  if (server == found.end()) return;
  retire();
  check_ = std::make_unique<LifetimeCheck>(context_, *server, [this] { on_measured(); });
  if (!check_->start()) check_.reset();
}

void LifetimeWatch::on_measured() {
  if (!check_ || !check_->is_done()) return;  // One of another network, which is retired.
  const nat::LifetimeReport& found = check_->report();
  const auto seconds = [](const std::optional<Duration>& silence) {
    return silence ? std::chrono::duration_cast<std::chrono::seconds>(*silence).count() : 0;
  };
  context_.log.debug(context_.now, "nat.lifetime alive_s={} dead_s={} problem=\"{}\"",
                     seconds(found.alive), seconds(found.dead), found.problem);
  learn(found);
  context_.wake();
}

void LifetimeWatch::retire() {
  if (check_) retired_.push_back(std::move(check_));
}

}  // namespace openp2p::agent
