#include "path/stream_opener.h"

#include <algorithm>
#include <array>

#include "path/nat_class.h"

namespace openp2p::path {
namespace {

using namespace std::chrono_literals;

/// From one moment to the next.
constexpr std::array<Duration, StreamOpener::kSteps> kGaps{200ms, 300ms, 400ms, 500ms, 600ms,
                                                           700ms, 700ms, 800ms, 1000ms};
/// Less than half of the shortest gap, so that moved moments stay in order.
constexpr Duration kShiftMax = 90ms;
/// What has just begun goes on, since a second SYN between the same ports would end what the first
/// has begun at the peer. After a round trip it has met the peer's, or has not.
constexpr Duration kAttemptMin = 150ms;

bool may_be_asked(const Address& address) {
  const IpAddress& ip = address.ip;
  if (address.port == 0 || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
    return false;
  return !ip.is_v6() || !ip.is_link_local() || address.scope != 0;
}

/// The port `shift` after it, privileged ones left out.
std::uint16_t shifted(std::uint16_t port, unsigned shift) {
  if (port < kPortMin) return port;
  const unsigned offset = (port - kPortMin + shift) % (65'536U - kPortMin);
  return static_cast<std::uint16_t>(kPortMin + offset);
}

bool keeps_ports(const nat::NatProfile& tcp) {
  return tcp.is_translated && tcp.allocation == nat::PortAllocation::kPreserved;
}

/// Whether somebody may be listening there for everybody.
bool is_direct(const Candidate& candidate) {
  return candidate.type == CandidateType::kHost || candidate.type == CandidateType::kMapped;
}

}  // namespace

void StreamOpener::add_local(const Candidate& candidate) {
  if (candidate.type == CandidateType::kHost) local_port_ = candidate.address.port;
  if (candidate.type != CandidateType::kServerReflexive || candidate.address == told_) return;
  told_ = candidate.address;
  has_told_ = true;
}

void StreamOpener::add_remote(const Candidate& candidate, TimePoint now) {
  if (!may_be_asked(candidate.address) || candidate.type == CandidateType::kRelayed) return;
  const auto known = std::ranges::find(targets_, candidate.address, &Target::address);
  if (known != targets_.end()) {
    known->is_direct |= is_direct(candidate);
    return;
  }
  const auto of_host = std::ranges::count_if(
      targets_, [&](const Target& t) { return t.address.ip == candidate.address.ip; });
  if (static_cast<std::size_t>(of_host) >= kTargetsPerHostMax) return;
  // The oldest goes: the peer names its addresses anew when it has moved.
  if (targets_.size() == kTargetsMax) targets_.erase(targets_.begin());
  targets_.push_back({candidate.address, is_direct(candidate)});
  has_news_ |= !candidate.address.ip.is_private() && !candidate.address.ip.is_link_local();
  if (is_wanted_ && (!next_at_ || is_resting_)) begin(now);
}

void StreamOpener::set_profiles(const SideProfile& own, const SideProfile& peer, unsigned round,
                                std::optional<TimePoint> go_at, TimePoint now) {
  methods_ = own.methods & peer.methods;
  const bool is_counted = nat_class(own.tcp) == NatClass::kSequential;
  local_shift_ = keeps_ports(own.tcp) || is_counted ? round : 0;
  peer_shift_ = keeps_ports(peer.tcp) ? round : 0;
  peer_ip_ = peer.tcp.external;
  plan_prediction(own, peer);
  const bool is_udp_out = own.udp.is_blocked || peer.udp.is_blocked;
  udp_lead_ = is_udp_out ? Duration::zero() : kUdpLead;
  has_news_ = has_told_ = false;
  if (!go_at || *go_at == go_at_) return;
  go_at_ = *go_at;
  rest_ = kRestFirst;
  if (is_wanted_) begin(now);
}

void StreamOpener::plan_prediction(const SideProfile& own, const SideProfile& peer) {
  prediction_.reset();
  if (!methods_.has(Method::kTcpSimultaneous)) return;
  const bool is_seen = !peer.udp.external.is_unspecified() && peer.udp.external.is_v4();
  const IpAddress external = is_seen ? peer.udp.external : peer.tcp.external;
  if (nat_class(peer.tcp) != NatClass::kSequential || !is_searchable(external)) return;
  predicted_ip_ = external;
  predicted_ = 0;
  is_prediction_mutual_ = nat_class(own.tcp) == NatClass::kSequential;
  // Both guess: then one of the two lets its guess grow (PortSeries).
  const bool catches_up = is_prediction_mutual_ && is_controlling_;
  PortRule rule;
  rule.kind = catches_up ? PortRule::Kind::kCatchUp : PortRule::Kind::kAhead;
  rule.last = peer.tcp.last_port;
  rule.step = peer.tcp.step;
  prediction_.emplace(rule, /*seed=*/0);
}

void StreamOpener::set_wanted(bool is_wanted, TimePoint now) {
  if (is_wanted == is_wanted_) return;
  is_wanted_ = is_wanted;
  next_at_.reset();
  if (!is_wanted) return close_pending(TimePoint::max());
  rest_ = kRestFirst;
  begin(now);
}

void StreamOpener::restart(Duration udp_lead, TimePoint now) {
  udp_lead_ = std::min(udp_lead, kUdpLead);
  rest_ = kRestFirst;
  up_.clear();  // Of another network: what is dead must not stand for what may come.
  if (is_wanted_) begin(now);
}

/// The agreed moment if it is still to come, else this one.
void StreamOpener::begin(TimePoint now) {
  step_ = 0;
  is_resting_ = false;
  next_at_ = now + udp_lead_;  // First those that need no agreement.
  grid_at_ = std::max(go_at_, now) + udp_lead_;
}

/// The controlling side's moments lie around the common ones: 0, +s, -s, +2s, -2s, ..
Duration StreamOpener::shift(int step) const {
  if (!is_controlling_) return {};
  const Duration size = (step + 1) / 2 * (rtt_hint_ / 2);
  return std::clamp(step % 2 == 1 ? size : -size, -kShiftMax, kShiftMax);
}

void StreamOpener::on_timeout(TimePoint now) {
  if (!next_at_ || now < *next_at_) return;
  if (!may_open()) {
    next_at_.reset();
    return;
  }
  if (now < grid_at_ + shift(step_)) {  // Before the agreed moment.
    for (Target& target : targets_) {
      const bool is_open = is_up(target.address) || is_under_way(target.address);
      if (target.is_direct && !is_open && target.connects.take(now)) {
        connect(target.address, Method::kTcpDirect, local_port_for(target), now);
      }
    }
    next_at_ = grid_at_ + shift(step_);
    return;
  }
  step(now);
}

void StreamOpener::step(TimePoint now) {
  is_resting_ = false;
  close_pending(now - kAttemptMin);
  // On a private address it may be somebody else who listens there: that must not cost the moment.
  const bool is_proving = std::ranges::any_of(up_, [&](const Up& up) {
    return now < up.since + kProofPatience && !up.path.remote.ip.is_private();
  });
  if (!is_proving) {
    connect_predicted(now);  // First, while the ports are still those that the peer foresees.
    connect_targets(now);
  }
  grid_at_ += kGaps[static_cast<std::size_t>(step_)];
  ++step_;
  next_at_ = grid_at_ + shift(step_);
  if (step_ < kSteps) return;
  // A rest. The next campaign has no agreed moment, so it mostly serves addresses that listen.
  next_at_ = now + rest_;
  grid_at_ = *next_at_;
  step_ = 0;
  is_resting_ = true;
  rest_ = std::min(2 * rest_, kRestMax);
}

void StreamOpener::connect_targets(TimePoint now) {
  for (Target& target : targets_) {
    const Method method = target.is_direct ? Method::kTcpDirect : Method::kTcpSimultaneous;
    const Address address = asked_at(target);
    if (!methods_.has(method) || is_up(address) || is_under_way(address)) continue;
    if (!target.connects.take(now)) continue;
    connect(address, method, local_port_for(target), now);
  }
}

/// A mapped port and the port that the peer's own SYNs leave from lead to one socket of it. SYNs to
/// both from one port of ours would be one connection there, and spoil each other. Who listens
/// minds no port.
std::uint16_t StreamOpener::local_port_for(const Target& target) const {
  if (!target.is_direct) return shifted(local_port_, local_shift_);
  const bool has_other_way_in = std::ranges::any_of(targets_, [&](const Target& other) {
    return !other.is_direct && other.address.ip == target.address.ip;
  });
  return has_other_way_in ? 0 : local_port_;
}

Address StreamOpener::asked_at(const Target& target) const {
  if (target.is_direct || target.address.ip != peer_ip_) return target.address;
  return {target.address.ip, shifted(target.address.port, peer_shift_)};
}

void StreamOpener::connect_predicted(TimePoint now) {
  if (!prediction_) return;
  for (unsigned i = 0; i < kPredictedPerStep; ++i) {
    // The peer's mapping for our address was made by its first SYN, and perhaps before the newest
    // that it tells of. Half of the ports are always those; the rest moves on, for NATs that map
    // anew each time, and where earlier rounds have made mappings since the NAT was measured.
    const unsigned moved = i < kPredictedPerStep / 2 ? i : i + static_cast<unsigned>(step_);
    const unsigned behind = prediction_->size() - kPredictedBehind;  // On a ring.
    const unsigned index = is_prediction_mutual_ ? predicted_ : behind + moved;
    const Address remote{predicted_ip_, prediction_->at(index)};
    if (is_under_way(remote)) continue;
    const std::uint16_t local_port = shifted(local_port_, local_shift_);
    if (!connect(remote, Method::kTcpSimultaneous, local_port, now)) return;
    ++predicted_;
  }
}

bool StreamOpener::connect(const Address& remote, Method method, std::uint16_t local_port,
                           TimePoint now) {
  if (!methods_.has(method) || pending_.size() >= kPendingMax || !connects_.take(now)) return false;
  if (budget_ != nullptr && !budget_->connects().take(remote.ip, now)) return false;
  const Duration timeout = kGaps[static_cast<std::size_t>(std::min(step_, kSteps - 1))];
  auto socket = sockets_->connect_tcp(remote, local_port, timeout + kUdpLead);
  // The port may be taken, by a connection to there that is about to end. A listener minds no port.
  if (!socket && method == Method::kTcpDirect) {
    socket = sockets_->connect_tcp(remote, /*local_port=*/0, timeout + kUdpLead);
  }
  if (!socket) return false;
  ++connects_made_;
  tried_ = tried_.with(method);
  pending_.push_back({*socket, remote, method, now});
  return true;
}

bool StreamOpener::is_up(const Address& remote) const {
  return std::ranges::any_of(up_, [&](const Up& up) { return up.path.remote == remote; });
}

Method StreamOpener::on_connected(const Path& path, TimePoint now) {
  const auto attempt = std::ranges::find(pending_, path.socket, &Attempt::socket);
  const bool is_asked = attempt != pending_.end();
  Method method = is_asked ? attempt->method : Method::kTcpDirect;
  if (is_asked) pending_.erase(attempt);
  for (Target& target : targets_) {
    if (asked_at(target) != path.remote) continue;
    target.connects.fill();
    // It came to our listener, but only since our own SYN opened the NAT for it.
    if (!is_asked && !target.is_direct) method = Method::kTcpSimultaneous;
  }
  if (std::ranges::none_of(up_, [&](const Up& up) { return up.path == path; })) {
    up_.push_back({path, now});
  }
  return method;
}

void StreamOpener::on_closed(SocketId socket) {
  std::erase_if(pending_, [&](const Attempt& attempt) { return attempt.socket == socket; });
  std::erase_if(up_, [&](const Up& up) { return up.path.socket == socket; });
}

bool StreamOpener::is_under_way(const Address& remote) const {
  return std::ranges::any_of(pending_, [&](const Attempt& a) { return a.remote == remote; });
}

void StreamOpener::close_pending(TimePoint until) {
  std::erase_if(pending_, [&](const Attempt& attempt) {
    if (attempt.since > until) return false;
    sockets_->close(attempt.socket);
    return true;
  });
}

void StreamOpener::stop() {
  if (sockets_ != nullptr) close_pending(TimePoint::max());
}

std::optional<TimePoint> StreamOpener::next_timeout() const { return next_at_; }

}  // namespace openp2p::path
