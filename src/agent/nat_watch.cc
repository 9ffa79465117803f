#include "agent/nat_watch.h"

#include <algorithm>
#include <utility>

#include "agent/stun_lookup.h"
#include "agent/tcp_watch.h"
#include "agent/udp_survey.h"

namespace openp2p::agent {

NatWatch::NatWatch(NodeContext& context, Options options)
    : context_(context), options_(std::move(options)) {
  if (options_.sockets == nullptr) return;
  tcp_ = std::make_unique<TcpWatch>(context_, *options_.sockets, [this] { conclude(); });
}

NatWatch::~NatWatch() = default;

// --- What happens around ---

void NatWatch::set_stun_servers(const std::vector<std::string>& stun_servers) {
  const bool is_new = stun_servers != stun_servers_;
  stun_servers_ = stun_servers;
  if (is_new || (!is_measuring() && !profile_.udp.is_known())) measure_soon(Duration::zero());
}

void NatWatch::set_tcp_port(std::uint16_t port) {
  if (tcp_port_ == port) return;
  tcp_port_ = port;
  if (begun_at_) measure_soon(Duration::zero());
}

void NatWatch::on_observed(const Address& address, path::Transport transport) {
  if (address.ip.is_v6()) return;
  // The same socket at another port: the router has forgotten, and may count or choose differently.
  is_udp_proven_ = transport == path::Transport::kUdp;
  const bool is_forgotten = is_udp_proven_ && observed_udp_ && observed_udp_->port != address.port;
  if (is_udp_proven_) observed_udp_ = address;
  const nat::NatProfile& known = transport == path::Transport::kUdp ? profile_.udp : profile_.tcp;
  const bool is_contradicted = (known.is_known() && known.external != address.ip) ||
                               (is_udp_proven_ && (profile_.udp.is_blocked || is_forgotten));
  if (is_contradicted) measure_soon(Duration::zero());
}

/// It was in time over TCP, and not over UDP: what a survey that has just begun will find as well.
void NatWatch::on_server_path(path::Transport transport) {
  is_server_over_tcp_ = transport == path::Transport::kTcp;
  if (is_server_over_tcp_ && udp_ && !udp_->is_answered()) conclude();
}

void NatWatch::on_network_changed() {
  is_udp_proven_ = is_server_over_tcp_ = false;  // It was, through another NAT.
  if (stun_servers_.empty()) return;
  // Who moves wants to be back at once, though the last measurement was a moment ago.
  const bool is_first = !moved_at_ || context_.now - *moved_at_ >= kGapMin;
  if (is_first) moved_at_ = context_.now;
  const TimePoint settled_by = *moved_at_ + kSettleMax;
  if (is_first || (measure_at_ && context_.now < settled_by)) {
    measure_at_ = std::min(context_.now + kSettleTime, settled_by);
  } else {
    measure_soon(kSettleTime);
  }
}

void NatWatch::hold_tcp() {
  ++holders_;
  measure_if_stale();
  update_hold();
}

void NatWatch::release_tcp() {
  if (holders_ > 0) --holders_;
  update_hold();
}

void NatWatch::update_hold() {
  if (tcp_) tcp_->set_held(holders_ > 0 || profile_.udp.is_blocked);
  // Peers are not told of it meanwhile, so they are when it is back.
  if (tcp_reflexive().empty()) told_tcp_.clear();
}

std::vector<path::Candidate> NatWatch::tcp_reflexive() const {
  std::vector<path::Candidate> candidates;
  const nat::NatProfile& known = profile_.tcp;
  const auto mapped = tcp_ ? tcp_->mapped() : std::nullopt;
  // Another destination would see another port; without a NAT it is a host candidate.
  if (!mapped || known.is_symmetric() || !known.is_translated) return candidates;
  candidates.push_back(
      {path::CandidateType::kServerReflexive, *mapped, SocketId(), path::Transport::kTcp});
  return candidates;
}

bool NatWatch::on_connected(SocketId socket, const Address&) {
  return tcp_ && tcp_->on_connected(socket);
}

bool NatWatch::on_disconnected(SocketId socket) { return tcp_ && tcp_->on_disconnected(socket); }

bool NatWatch::on_stun(SocketId socket, const Address& from, ByteView datagram) {
  return tcp_ && tcp_->on_stun(socket, from, datagram);
}

// --- Time ---

void NatWatch::on_timeout() {
  retired_.clear();
  if (udp_) udp_->on_timeout();
  if (udp_ && udp_->is_done()) retire(udp_);
  if (refreshing_) refreshing_->on_timeout();
  if (!refreshes_.empty() && context_.now >= refreshed_by_) finish_refresh();
  if (tcp_) tcp_->on_timeout();
  if (measure_at_ && context_.now >= *measure_at_) begin();
  retired_.clear();
}

std::optional<TimePoint> NatWatch::next_timeout() const {
  // Sockets of what is done are closed from on_timeout(), outside their own callbacks.
  if (!retired_.empty() || (udp_ && udp_->is_done())) return context_.now;
  std::optional<TimePoint> next = measure_at_;
  if (udp_) next = earlier(next, udp_->next_timeout());
  if (refreshing_) next = earlier(next, refreshing_->next_timeout());
  if (!refreshes_.empty()) next = earlier(next, refreshed_by_);
  if (tcp_) next = earlier(next, tcp_->next_timeout());
  return next;
}

void NatWatch::measure_soon(Duration delay) {
  TimePoint at = context_.now + delay;
  if (begun_at_) at = std::max(at, *begun_at_ + kGapMin);
  measure_at_ = measure_at_ ? std::min(*measure_at_, at) : at;
}

void NatWatch::measure_if_stale() {
  const bool is_known = profile_.udp.is_known() && (!tcp_ || profile_.tcp.is_known());
  measure_if_older(is_known ? kStaleAfter : kStaleAfterFailure);
}

void NatWatch::doubt() { measure_if_older(kGapMin); }

void NatWatch::measure_if_older(Duration age) {
  if (begun_at_ && !is_measuring() && context_.now >= *begun_at_ + age) {
    measure_soon(Duration::zero());
  }
}

bool NatWatch::is_measuring() const {
  return is_looking_up_ || (udp_ && !udp_->is_done()) || (tcp_ && tcp_->is_measuring());
}

// --- Measuring ---

void NatWatch::begin() {
  measure_at_.reset();
  begun_at_ = context_.now;
  is_looking_up_ = true;
  lookup_ = std::make_unique<StunLookup>(context_.platform, stun_servers_,
                                         [this](std::vector<Address> found, TimePoint now) {
                                           context_.now = now;
                                           on_servers_found(std::move(found));
                                           context_.wake();
                                         });
  lookup_->start(context_.now);
}

void NatWatch::on_servers_found(std::vector<Address> found) {
  is_looking_up_ = false;
  is_udp_silent_ = false;
  std::erase_if(found, [](const Address& address) { return address.ip.is_v6(); });
  servers_ = std::move(found);
  retire(udp_);
  if (!servers_.empty()) {
    udp_ = std::make_unique<UdpSurvey>(context_, UdpSurvey::Config{.servers = servers_},
                                       [this] { conclude(); });
    if (!udp_->start()) udp_.reset();
    if (tcp_ && tcp_port_ != 0) tcp_->measure(servers_, tcp_port_);
  }
}

/// New knowledge of any kind.
void NatWatch::conclude() {
  path::SideProfile next = profile_;
  take_udp(next);
  if (tcp_ && (!tcp_->is_measuring() || tcp_->is_answered())) next.tcp = tcp_->profile();
  if (is_udp_silent_) {
    next.udp = nat::NatProfile();
    next.udp.is_blocked = !is_udp_proven_ && is_tcp_answered();
  }
  const bool is_changed = next != profile_;
  profile_ = next;
  update_hold();
  const std::vector<path::Candidate> reflexive = tcp_reflexive();
  if (!is_changed && reflexive == told_tcp_) return;
  told_tcp_ = reflexive;
  const nat::NatProfile& udp = profile_.udp;
  context_.log.debug(context_.now,
                     "nat.profile mapping={} filtering={} blocked={} last_port={} external={} "
                     "tcp_mapping={} tcp_last_port={}",
                     nat::dependence_text(udp.mapping), nat::dependence_text(udp.filtering),
                     udp.is_blocked, udp.last_port, udp.external.text(),
                     nat::dependence_text(profile_.tcp.mapping), profile_.tcp.last_port);
  options_.on_changed();
}

void NatWatch::take_udp(path::SideProfile& next) {
  if (!udp_) return;
  const nat::SurveyReport* const survey = udp_->survey();
  const nat::BehaviourReport* const behaviour = udp_->behaviour();
  is_udp_silent_ = survey != nullptr ? survey->is_silent() : is_udp_overdue();
  if (survey != nullptr) udp_evidence_ = survey->evidence;
  if (survey != nullptr && !survey->is_silent()) {
    const nat::NatProfile before = next.udp;
    next.udp = survey->profile;
    // Until the slow tests have told again, what they told about the same NAT is the best guess.
    if (behaviour == nullptr && before.external == next.udp.external) {
      next.udp.filtering = before.filtering;
      next.udp.is_spoilt_by_unsolicited = before.is_spoilt_by_unsolicited;
    }
  }
  if (behaviour == nullptr || behaviour->is_udp_blocked()) return;
  udp_evidence_.insert(udp_evidence_.end(), behaviour->evidence.begin(), behaviour->evidence.end());
  next.udp.filtering = behaviour->filtering;
  next.udp.is_spoilt_by_unsolicited = behaviour->is_spoilt_by_unsolicited;
  if (next.udp.mapping == nat::Dependence::kUnknown) next.udp.mapping = behaviour->mapping;
}

/// Over TCP the same services, asked at the same moment, have answered after a second round trip,
/// and none of the survey's datagrams was answered after one. All of them may be lost, so it still
/// listens: an answer lifts it.
bool NatWatch::is_udp_overdue() const { return !udp_->is_answered() && is_tcp_answered(); }

bool NatWatch::is_tcp_answered() const {
  return tcp_ && (is_server_over_tcp_ || tcp_->is_answered());
}

void NatWatch::retire(std::unique_ptr<UdpSurvey>& survey) {
  if (survey) retired_.push_back(std::move(survey));
}

// --- Refreshing ---

void NatWatch::refresh(std::function<void()> done) {
  measure_if_stale();
  const bool is_needed = profile_.udp.allocation == nat::PortAllocation::kSequential;
  if (!is_needed || servers_.empty() || refreshes_.size() >= kRefreshesMax) return done();
  refreshes_.push_back(std::move(done));
  if (refreshing_) return;
  refreshed_by_ = context_.now + kRefreshMax;
  UdpSurvey::Config config{.servers = {servers_.front()}, .sockets = 1, .with_behaviour = false};
  refreshing_ = std::make_unique<UdpSurvey>(context_, config, [this] { on_refreshed(); });
  if (!refreshing_->start()) finish_refresh();
}

void NatWatch::on_refreshed() {
  const auto& reflexive = refreshing_->survey()->reflexive;
  if (reflexive && reflexive->ip == profile_.udp.external) {
    profile_.udp.last_port = reflexive->port;
  } else if (reflexive) {
    measure_soon(Duration::zero());  // Another NAT, or another address of it.
  }
  finish_refresh();
}

void NatWatch::finish_refresh() {
  retire(refreshing_);
  for (const auto& done : std::exchange(refreshes_, {})) done();
}

std::vector<std::string> NatWatch::evidence() const {
  std::vector<std::string> lines = udp_evidence_;
  if (!tcp_) return lines;
  const std::vector<std::string> tcp = tcp_->evidence();
  lines.insert(lines.end(), tcp.begin(), tcp.end());
  return lines;
}

}  // namespace openp2p::agent
