// What a node tells about itself, and what a person may change: the NodeControl half of Node.

#include <algorithm>

#include "agent/node.h"
#include "agent/state.h"
#include "base/host_name.h"
#include "forward/destination.h"
#include "forward/open_message.h"

namespace openp2p::agent {
namespace {

ControlError not_found(std::string_view name) {
  return {ControlError::Kind::kNotFound,
          "there is no forward named " + printable(name) + " (see: openp2p forward list)"};
}

std::string_view server_state_text(ServerLink::State state) {
  switch (state) {
    case ServerLink::State::kWaiting:
      return "waiting";
    case ServerLink::State::kResolving:
    case ServerLink::State::kConnecting:
      return "connecting";
    case ServerLink::State::kConnected:
      return "connected";
  }
  return "waiting";
}

std::string_view session_text(PeerLink::State state) {
  switch (state) {
    case PeerLink::State::kNone:
      return "none";
    case PeerLink::State::kConnecting:
      return "connecting";
    case PeerLink::State::kConnected:
      return "connected";
  }
  return "none";
}

SignalCounts signal_counts(const SignalWays& ways) {
  const SignalWays::Counters& letters = ways.counters();
  const DirectSignals::Counters& direct = ways.direct();
  return {letters.letters_sent,    letters.letters_taken, letters.letters_challenged,
          letters.letters_refused, direct.sent,           direct.taken,
          direct.challenged,       direct.limited,        direct.stranger,
          direct.forged,           direct.stale};
}

/// Of a direct path: that others are being tried is none.
bool is_trouble(path::ReasonCode reason) {
  return reason != path::ReasonCode::kNone && reason != path::ReasonCode::kChecking;
}

std::string candidate_text(const path::Candidate& candidate) {
  return std::string(path::candidate_type_text(candidate.type)) + " " + candidate.address.text();
}

}  // namespace

NodeStatus Node::status() const {
  NodeStatus status;
  status.id = context_.identity.id();
  status.name = name_;
  status.network = network_;
  status.version = options_.version;
  status.server_address = server_.server_address();
  status.server_key = options_.server;
  status.server_state = server_state_text(server_.state());
  status.server_reason = server_.reason();
  status.server_retry_in = server_.retry_in();
  status.observed_address = observed_;
  for (const path::Candidate& candidate : local_candidates()) {
    // UDP and TCP mostly have the same port.
    const bool is_listed = std::ranges::count(status.local_addresses, candidate.address) != 0;
    if (candidate.type == path::CandidateType::kHost && !is_listed) {
      status.local_addresses.push_back(candidate.address);
    }
  }
  status.uptime = context_.now - started_at_;
  status.peers_total = peers_.size();
  const auto is_online = [](const auto& entry) { return entry.second->record().is_online; };
  status.peers_online = static_cast<std::size_t>(std::ranges::count_if(peers_, is_online));
  const auto is_connected = [](const auto& entry) {
    return entry.second->state() == PeerLink::State::kConnected;
  };
  status.sessions = static_cast<std::size_t>(std::ranges::count_if(peers_, is_connected));
  status.forwards = forwards_.size();
  status.methods = path::method_texts(options_.methods);
  status.signals = signal_counts(ways_);
  status.accepts_lan = services_.policy().accept_lan;
  for (const auto& destination : services_.policy().destinations) {
    status.accepts.push_back(forward::destination_text(destination));
  }
  return status;
}

/// "LAN": both ends are addresses of one site, so no NAT is between them.
std::string Node::path_kind(const Path& path) const {
  if (path::is_relayed(path.socket)) return relaying_.path_text(path.socket);
  const Address& remote = path.remote;
  if (remote.ip.is_private() || remote.ip.is_loopback() || remote.ip.is_link_local()) return "LAN";
  return remote.ip.is_v4() ? "direct IPv4" : "direct IPv6";
}

PathEventStatus Node::describe(const path::TimelineEntry& entry) const {
  return {
      context_.now - entry.at,
      std::string(path::timeline_event_text(entry.event)),
      std::string(entry.method ? path::method_text(*entry.method) : ""),
      std::string(entry.reason == path::ReasonCode::kNone ? "" : path::reason_name(entry.reason)),
      entry.address,
      entry.count};
}

PeerStatus Node::describe(const PeerLink& peer) const {
  PeerStatus status;
  const NodeRecord& record = peer.record();
  status.id = record.id;
  status.name = record.name;
  status.is_online = record.is_online;
  status.version = record.version;
  status.platform = record.platform;
  status.seen_at_us = record.seen_at_us;
  status.session = session_text(peer.state());
  status.reason = peer.reason();
  status.reason_code = path::reason_name(peer.reason_code());
  if (const auto retry_at = peer.retry_at()) {
    status.retry_in = std::max(*retry_at - context_.now, Duration::zero());
  }
  for (const path::TimelineEntry& entry : peer.timeline()) {
    status.timeline.push_back(describe(entry));
  }
  status.relay_reason = relaying_.reason(peer);
  const session::Session* session = peer.session();
  if (session == nullptr) return status;
  status.bytes_sent = session->bytes_sent();
  status.bytes_received = session->bytes_received();
  const path::PathFinder* paths = const_cast<session::Session*>(session)->paths();
  if (paths == nullptr) return status;
  if (const Path* selected = paths->selected()) {
    status.path = path_kind(*selected);
    if (const auto via = relaying_.via(selected->socket)) {
      status.relay = relaying_.name_of(*via);
      status.relay_kind = relay_kind_text(via->kind);
      status.reason = path::reason_text(paths->reason());
    } else {
      status.address = selected->remote;
      if (is_trouble(paths->reason())) status.reason = path::reason_text(paths->reason());
    }
    status.rtt = session->rtt();
    if (const auto method = paths->method()) status.method = path::method_text(*method);
  }
  for (const path::PairReport& pair : paths->report()) {
    status.candidates.push_back({candidate_text(pair.local), candidate_text(pair.remote),
                                 std::string(pair.state), pair.checks_sent, pair.rtt});
  }
  return status;
}

void Node::describe(const PeerLink& peer, PingReply& reply) const {
  PeerStatus status = describe(peer);
  reply.path = status.path;
  reply.address = status.address;
  reply.reason = status.reason;
  reply.reason_code = status.reason_code;
  reply.method = status.method;
  if (reply.number == 0) reply.peer = std::move(status);
}

/// The last attempt has failed for good reason, and no relay is to be had either.
bool Node::is_hopeless(const PeerLink& peer) const {
  return peer.state() == PeerLink::State::kNone && peer.retry_at() &&
         path::is_lasting(peer.reason_code()) && !relaying_.reason(peer).empty();
}

std::vector<PeerStatus> Node::peers() const {
  std::vector<PeerStatus> all;
  for (const auto& [id, peer] : peers_) all.push_back(describe(*peer));
  std::ranges::sort(all, {}, &PeerStatus::name);
  return all;
}

std::vector<ForwardStatus> Node::forwards() const { return forwards_.status(); }

std::optional<ControlError> Node::judge_new(const ForwardSpec& spec) const {
  using Kind = ControlError::Kind;
  if (!is_valid_name(spec.name)) {
    return ControlError{Kind::kInvalid,
                        "a forward's name has 1 to 63 characters, none of them special"};
  }
  if (forwards_.contains(spec.name)) {
    return ControlError{Kind::kConflict, "there is a forward named " + spec.name +
                                             " already; remove it first: openp2p forward remove " +
                                             spec.name};
  }
  if (!is_valid_host(spec.host) || spec.port == 0) {
    return ControlError{Kind::kInvalid, "the destination is HOST:PORT, HOST a name or an address"};
  }
  if (!is_valid_name(spec.peer) && !NodeId::parse(spec.peer)) {
    return ControlError{Kind::kInvalid, "the peer is a node's name or its id (see: openp2p peers)"};
  }
  if (forwards_.listening_sockets() + spec.listening_sockets() > kForwardSocketsMax) {
    return ControlError{Kind::kConflict, "all forwards together would have more than " +
                                             std::to_string(kForwardSocketsMax) +
                                             " ports; remove some first"};
  }
  if (forwards_.size() >= kForwardsMax) {
    return ControlError{Kind::kConflict, "there are 1,000 forwards already; remove some first"};
  }
  return std::nullopt;
}

/// First to the disk, then into effect: what was acknowledged survives everything.
std::optional<ControlError> Node::store_forwards(std::vector<ForwardSpec> specs) {
  const auto error = memory_.store_forwards(specs);
  if (!error) return std::nullopt;
  return ControlError{ControlError::Kind::kUnavailable, *error};
}

std::optional<ControlError> Node::add_forward(const ForwardSpec& spec) {
  if (auto error = judge_new(spec)) return error;
  std::vector<ForwardSpec> specs = forwards_.specs();
  specs.push_back(spec);
  if (auto error = store_forwards(std::move(specs))) return error;
  forwards_.add(spec);
  relaying_.on_rule_changed();
  return std::nullopt;
}

std::optional<ControlError> Node::remove_forward(std::string_view name) {
  if (!forwards_.contains(name)) return not_found(name);
  std::vector<ForwardSpec> specs = forwards_.specs();
  std::erase_if(specs, [&](const ForwardSpec& spec) { return spec.name == name; });
  if (auto error = store_forwards(std::move(specs))) return error;
  forwards_.remove(name);
  relaying_.on_rule_changed();
  return std::nullopt;
}

std::optional<ControlError> Node::set_forward_enabled(std::string_view name, bool enabled) {
  if (!forwards_.contains(name)) return not_found(name);
  std::vector<ForwardSpec> specs = forwards_.specs();
  for (ForwardSpec& spec : specs) {
    if (spec.name == name) spec.is_enabled = enabled;
  }
  if (auto error = store_forwards(std::move(specs))) return error;
  forwards_.set_enabled(name, enabled);
  relaying_.on_rule_changed();
  return std::nullopt;
}

/// As the forwards to it say, and the options of this node.
RelayRule Node::relay_rule(const PeerLink& peer) const {
  RelayRule rule;
  rule.no_strangers = options_.avoids_strangers;
  if (!options_.methods.has(path::Method::kRelayed)) {
    rule.is_forbidden = true;
    rule.reason = "relays are switched off (--methods, --no-methods)";
  }
  for (const ForwardSpec& spec : forwards_.specs()) {
    const bool is_to_it = spec.peer == peer.record().name || spec.peer == peer.record().id.text();
    if (!spec.is_enabled || !is_to_it) continue;
    if (!spec.allows_relay) {
      rule.is_forbidden = true;
      rule.reason = "forward " + spec.name + " allows no relay (--no-relay)";
    }
    if (spec.relay.empty()) continue;
    rule.is_pinned = true;
    std::string reason;
    const PeerLink* relay = find_peer(spec.relay, reason);
    if (relay != nullptr) {
      rule.only.push_back(relay->record().id);
    } else if (!rule.is_forbidden) {
      rule.reason = "forward " + spec.name + " allows no relay but " + printable(spec.relay) +
                    ", and " + reason;
    }
  }
  if (rule.is_pinned && rule.only.empty()) rule.is_forbidden = true;
  return rule;
}

std::optional<ControlError> Node::ping(std::string_view peer, unsigned count,
                                       std::function<bool(const PingReply&)> reply) {
  std::string reason;
  PeerLink* link = find_peer(peer, reason);
  if (link == nullptr) return ControlError{ControlError::Kind::kNotFound, reason};
  if (pinger_.start(*link, count, std::move(reply))) return std::nullopt;
  return ControlError{ControlError::Kind::kConflict, "too many pings run already; stop some"};
}

void Node::share(std::function<void(const ShareStatus&)> done) {
  constexpr std::size_t kQueriesMax = 16;
  constexpr Duration kPatience = std::chrono::seconds(3);
  const bool is_asked = share_queries_.size() < kQueriesMax && relaying_.ask_credit();
  if (!is_asked) return done(relaying_.share_status());
  share_queries_.push_back({std::move(done), context_.now + kPatience});
}

/// Those whose answer has come, or will not.
void Node::answer_share_queries() {
  const bool is_fresh = relaying_.is_credit_fresh();
  std::vector<ShareQuery> due;
  std::erase_if(share_queries_, [&](ShareQuery& query) {
    const bool is_due = is_fresh || context_.now >= query.until;
    if (is_due) due.push_back(std::move(query));
    return is_due;
  });
  for (const ShareQuery& query : due) query.done(relaying_.share_status());
}

std::optional<ControlError> Node::set_share(unsigned mbit) {
  if (mbit > kShareMbitMax) {
    return ControlError{ControlError::Kind::kInvalid, "at most 1,000,000 Mbit/s can be shared"};
  }
  if (const auto error = memory_.store_share(mbit)) {
    return ControlError{ControlError::Kind::kUnavailable, *error};
  }
  relaying_.set_share(mbit);
  return std::nullopt;
}

/// What the server named; where it named none, since it does not know its own address, the places
/// at which it was found.
std::vector<std::string> Node::stun_servers() const {
  if (!stun_servers_.empty() || server_.state() != ServerLink::State::kConnected) {
    return stun_servers_;
  }
  return options_.server_addresses;
}

/// What this check has measured, or what the node has learned before.
void Node::add_lifetime(NetcheckReport& report) {
  if (report.lifetime_alive || report.lifetime_dead) {
    nat::LifetimeReport measured;
    measured.alive = report.lifetime_alive;
    measured.dead = report.lifetime_dead;
    return lifetimes_.learn(measured);
  }
  const nat::LifetimeReport known = lifetimes_.report();
  report.lifetime_alive = known.alive;
  report.lifetime_dead = known.dead;
  report.evidence.insert(report.evidence.end(), known.evidence.begin(), known.evidence.end());
}

void Node::netcheck(const NetcheckOptions& options,
                    std::function<void(const NetcheckReport&)> done) {
  constexpr std::size_t kNetchecksMax = 4;
  if (netchecks_.size() >= kNetchecksMax) {
    NetcheckReport busy;
    busy.error = "too many checks run already; wait for them";
    return done(busy);
  }
  const auto complete = [this, done = std::move(done)](NetcheckReport report) {
    report.port_mappings = port_mapper_.evidence();
    add_lifetime(report);
    done(report);
  };
  netchecks_.push_back(
      std::make_unique<Netcheck>(context_, stun_servers(), server_.rtt(), options, complete));
  netchecks_.back()->start();
}

}  // namespace openp2p::agent
