#include "agent/node.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/check.h"
#include "forward/open_message.h"

namespace openp2p::agent {
namespace {

constexpr std::size_t kPeersMax = 10'000;  // What a server announces; a network of more is split.

std::uint64_t random_number(SecretSource& secrets) {
  std::array<std::byte, 8> bytes;
  secrets.fill(bytes);
  std::uint64_t number = 0;
  for (const std::byte b : bytes) number = number << 8 | std::to_integer<std::uint64_t>(b);
  return number;
}

session::Endpoint::Options endpoint_options(const Node::Options& options,
                                            session::StunHandler& stun) {
  session::Endpoint::Options endpoint;
  endpoint.identity = options.identity;
  endpoint.stun = &stun;
  endpoint.protection = options.protection;
  endpoint.secrets = options.secrets;
  endpoint.seed = options.seed;
  endpoint.log = options.log;
  endpoint.wake = options.wake;
  endpoint.sockets = options.sockets;
  return endpoint;
}

ServerLink::Options server_options(const Node::Options& options) {
  return {.server = options.server,
          .addresses = options.server_addresses,
          .join_secret = options.join_secret,
          .name = options.name,
          .version = options.version,
          .platform = options.platform_name,
          .told_addresses = options.told_addresses};
}

}  // namespace

Node::Node(const Options& options, TimePoint now)
    : context_{*options.identity,
               *options.platform,
               *options.secrets,
               options.log,
               Random(options.seed),
               random_number(*options.secrets),
               options.wake,
               nullptr,
               now},
      memory_(*options.memory),
      options_(options),
      started_at_(now),
      name_(options.name),
      endpoint_(std::make_unique<session::Endpoint>(endpoint_options(options, *this))),
      datagrams_(context_),
      services_(context_, buffers_, datagrams_),
      forwards_(
          context_, buffers_, datagrams_,
          [this](const std::string& peer, std::string& reason) { return find_peer(peer, reason); }),
      pinger_(
          context_, [this](const PeerLink& peer, PingReply& reply) { describe(peer, reply); },
          [this](const PeerLink& peer) { return is_hopeless(peer); }),
      server_(context_, *this, server_options(options)),
      nat_watch_(context_, watch_options()),
      lifetimes_(context_, [this] { endpoint_->set_mapping_lifetime(lifetimes_.lifetime()); }),
      port_mapper_(context_, [this] { on_candidates_changed(); }),
      relaying_(context_, server_, *this, *this, options.lending),
      cache_(options.identity->id(), options.server),
      ways_(context_, server_, cache_, *this) {
  context_.endpoint = endpoint_.get();
  if (!options_.known_peers.empty() && !cache_.decode(options_.known_peers)) {
    context_.log.warning(now, "peers.not_read why=\"damaged, or of another server\"");
  }
  endpoint_->set_method_history(cache_.history());
  services_.set_policy(options.policy);
  services_.set_relay([this](session::Session& session, session::StreamId id) {
    return relaying_.on_relay_stream(session, id);
  });
  server_.set_relay_handler(&relaying_);
}

Node::~Node() = default;

void Node::add_socket(SocketId socket, const Address& local) {
  sockets_.push_back({socket, local});
  endpoint_->add_socket(socket, local);
  ways_.add_socket(socket, local);
}

void Node::start(TimePoint now) {
  context_.now = now;
  recall_peers();
  note_own_ports();
  if (options_.discovers_lan) ways_.use_lan();
  ways_.start();
  for (const ForwardSpec& spec : options_.forwards) forwards_.add(spec);
  if (uses_tcp()) tcp_port_ = options_.sockets->listen_tcp();
  endpoint_->set_tcp_port(tcp_port_);
  nat_watch_.set_tcp_port(tcp_port_);
  map_ports();
  own_v4_ = own_v4();
  server_.start();
}

bool Node::uses_tcp() const {
  return options_.sockets != nullptr && (options_.methods.has(path::Method::kTcpDirect) ||
                                         options_.methods.has(path::Method::kTcpSimultaneous));
}

NatWatch::Options Node::watch_options() {
  return {options_.sockets, [this] { on_candidates_changed(); }};
}

void Node::on_candidates_changed() {
  lifetimes_.on_nat(nat_watch_.profile().udp, stun_servers());
  endpoint_->set_mapping_lifetime(lifetimes_.lifetime());
  for (auto& [id, peer] : peers_) peer->on_candidates_changed();
  relaying_.on_candidates_changed();
  ways_.on_candidates_changed();
  context_.wake();
}

void Node::map_ports() {
  if (!options_.methods.has(path::Method::kMapped)) return;
  PortMapper::Ports ports;
  for (const Socket& socket : sockets_) {
    (socket.local.ip.is_v4() ? ports.udp_v4 : ports.udp_v6) = socket.local.port;
  }
  ports.tcp = tcp_port_;
  port_mapper_.start(ports);
}

void Node::stop(TimePoint now) {
  context_.now = now;
  is_stopping_ = true;
  store_peers();
  port_mapper_.stop();
  forwards_.stop();
  relaying_.stop();
  for (auto& [id, peer] : peers_) peer->close("that node stopped");
  endpoint_->close_all(0, "that node stopped", now);
}

void Node::on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                        std::size_t segment_bytes, TimePoint now) {
  context_.now = now;
  endpoint_->on_datagrams(socket, from, datagrams, segment_bytes, now);
  relaying_.deliver();
}

void Node::on_connected(SocketId socket, const Address& local, const Address& remote,
                        bool is_incoming, TimePoint now) {
  context_.now = now;
  if (nat_watch_.on_connected(socket, remote)) return;
  endpoint_->on_connected(socket, local, remote, is_incoming, now);
}

void Node::on_disconnected(SocketId socket, std::error_code why, TimePoint now) {
  context_.now = now;
  if (nat_watch_.on_disconnected(socket)) return;
  endpoint_->on_disconnected(socket, why, now);
}

void Node::on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint now) {
  context_.now = now;
  if (ways_.on_stun(socket, from, datagram)) return;
  nat_watch_.on_stun(socket, from, datagram);
}

void Node::on_timeout(TimePoint now) {
  context_.now = now;
  if (is_stopping_) return port_mapper_.on_timeout();
  endpoint_->on_timeout(now);
  server_.on_timeout();
  nat_watch_.on_timeout();
  lifetimes_.on_timeout();
  port_mapper_.on_timeout();
  for (auto& [id, peer] : peers_) peer->on_timeout();
  datagrams_.on_timeout();
  services_.on_timeout();
  forwards_.on_timeout();
  pinger_.on_timeout();
  relaying_.on_timeout();
  ways_.on_timeout();
  if (store_at_ && now >= *store_at_) store_peers();
  for (auto& check : netchecks_) check->on_timeout();
}

std::optional<TimePoint> Node::next_timeout() const {
  if (is_stopping_) return port_mapper_.next_timeout();
  std::optional<TimePoint> next = earlier(endpoint_->next_timeout(), server_.next_timeout());
  for (const auto& [id, peer] : peers_) next = earlier(next, peer->next_timeout());
  next = earlier(next, earlier(forwards_.next_timeout(), pinger_.next_timeout()));
  next = earlier(next, earlier(datagrams_.next_timeout(), services_.next_timeout()));
  next = earlier(next, earlier(nat_watch_.next_timeout(), port_mapper_.next_timeout()));
  next = earlier(next, earlier(lifetimes_.next_timeout(), relaying_.next_timeout()));
  next = earlier(next, earlier(ways_.next_timeout(), store_at_));
  for (const ShareQuery& query : share_queries_) next = earlier(next, query.until);
  for (const auto& check : netchecks_) next = earlier(next, check->next_timeout());
  return next;
}

std::optional<session::Transmit> Node::poll_transmit(MutableByteView buffer, TimePoint now) {
  context_.now = now;
  if (auto transmit = poll_carried(buffer)) return transmit;
  // Everything is said: nobody is inside a callback, so what is finished can go.
  services_.sweep();
  forwards_.sweep();
  pinger_.sweep();
  removed_.clear();
  relaying_.sweep();
  answer_share_queries();
  std::erase_if(netchecks_, [](const auto& check) { return check->is_done(); });
  return poll_carried(buffer);
}

/// What goes over a relayed path goes into the session with the relay, which then has something to
/// send.
std::optional<session::Transmit> Node::poll_carried(MutableByteView buffer) {
  for (;;) {
    auto transmit = endpoint_->poll_transmit(buffer, context_.now);
    if (!transmit) return std::nullopt;
    if (!relaying_.carry(*transmit, buffer.first(transmit->bytes))) return transmit;
  }
}

void Node::on_network_changed(TimePoint now) {
  context_.now = now;
  std::vector<IpAddress> own = own_v4();
  const bool is_moved = std::exchange(own_v4_, own) != own;
  endpoint_->on_network_changed(now);
  server_.on_network_changed();
  nat_watch_.on_network_changed();
  port_mapper_.on_network_changed();
  for (auto& [id, peer] : peers_) {
    if (is_moved) peer->on_moved();
    peer->on_network_changed();
  }
  relaying_.on_network_changed();
  ways_.on_network_changed();
}

void Node::on_welcome(const Welcome& welcome) {
  name_ = welcome.name.empty() ? name_ : welcome.name;
  network_ = welcome.network_name;
  stun_servers_ = welcome.stun_servers;
  nat_watch_.set_stun_servers(stun_servers());
  if (welcome.observed) take_observed(*welcome.observed);
  context_.log.info(context_.now, "server.connected network=\"{}\" name=\"{}\" nodes={}", network_,
                    name_, welcome.nodes.size());
  server_.forget_join_secret();
  memory_.on_joined(name_);
  if (!welcome.server_addresses.empty()) memory_.store_server_addresses(welcome.server_addresses);
  std::set<NodeId> gone;
  for (const auto& [id, peer] : peers_) {
    if (welcome.has_all_nodes) gone.insert(id);
  }
  for (const NodeRecord& record : welcome.nodes) gone.erase(record.id);
  for (const NodeId& id : gone) on_node_removed(id);
  for (const NodeRecord& record : welcome.nodes) put_record(record);
  relaying_.on_server_connected();
  ways_.on_server_connected();
  for (auto& [id, peer] : peers_) peer->on_server_connected();
  forwards_.on_peers_changed();
}

void Node::on_refused(const Refusal& refusal) {
  context_.log.warning(context_.now, "server.refused final={} text=\"{}\"", refusal.is_final,
                       refusal.text);
  memory_.on_refused(refusal);
}

void Node::on_node_changed(const NodeRecord& record) {
  put_record(record);
  forwards_.on_peers_changed();
}

void Node::put_record(const NodeRecord& record) {
  if (record.id == context_.identity.id()) {
    name_ = record.name;
    return;
  }
  cache_.put({record.id, record.name, record.incarnation, record.version, record.platform});
  if (record.is_online) ways_.on_peer_online(record.id);
  store_peers_soon();
  const auto found = peers_.find(record.id);
  if (found != peers_.end()) {
    found->second->set_record(record);
  } else if (peers_.size() < kPeersMax) {
    peers_.emplace(record.id, std::make_unique<PeerLink>(context_, *this, record));
  }
}

void Node::on_node_removed(const NodeId& id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  cache_.remove(id);
  store_peers_soon();
  pinger_.on_peer_gone(*found->second);
  found->second->on_removed();
  relaying_.on_peer_gone(*found->second);
  removed_.push_back(std::move(found->second));
  peers_.erase(found);
  relaying_.on_nodes_changed();
}

void Node::on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at) {
  const auto found = peers_.find(from);
  if (found == peers_.end()) return;  // Not of this network: the server must not carry this.
  const auto signal = decode_signal(body, from, context_.identity.id());
  if (!signal) {
    context_.log.debug(context_.now, "signal.refused from={} why=\"{}\"", from.brief(),
                       signal.error().message());
    return;
  }
  on_peer_signal(*signal, body, seen_at);
}

void Node::on_signal_failed(const NodeId& to, std::uint64_t, SignalFailure why) {
  const auto found = peers_.find(to);
  if (found == peers_.end()) return relaying_.on_signal_failed(to, why);
  found->second->on_signal_failed(why);
  if (why == SignalFailure::kNoSuchNode) on_node_removed(to);
}

void Node::on_server_lost() {
  relaying_.on_server_lost();
  ways_.on_server_lost();
}

void Node::on_server_path(path::Transport transport) { nat_watch_.on_server_path(transport); }

void Node::on_observed(const Address& address) {
  const bool is_new = observed_ != address;
  if (!is_new) nat_watch_.on_observed(address, server_transport());
  if (is_new && !take_observed(address)) return;
  for (auto& [id, peer] : peers_) {
    peer->on_address_seen(is_new);
    if (is_new) peer->on_address_changed();
  }
}

std::vector<IpAddress> Node::own_v4() const {
  std::vector<IpAddress> own = context_.platform.local_addresses();
  std::erase_if(own, [](const IpAddress& ip) { return !ip.is_v4() || ip.is_link_local(); });
  std::ranges::sort(own);
  return own;
}

/// True: peers are to try it, since what the server saw was UDP.
bool Node::take_observed(const Address& address) {
  nat_watch_.on_observed(address, server_transport());
  if (server_transport() != path::Transport::kUdp) return false;
  // A router that has another address may have forgotten its mappings; UPnP does not announce it.
  if (observed_ && observed_->ip != address.ip) port_mapper_.on_network_changed();
  observed_ = address;
  return true;
}

bool Node::send_signal(const NodeId& to, ByteView body, std::uint64_t number) {
  return ways_.send(to, body, number);
}

std::vector<path::Candidate> Node::local_candidates() const {
  std::vector<path::Candidate> candidates;
  const std::vector<IpAddress> own = context_.platform.local_addresses();
  for (const Socket& socket : sockets_) {
    for (const IpAddress& ip : own) {
      if (ip.is_v4() != socket.local.ip.is_v4() || ip.is_link_local()) continue;
      candidates.push_back({path::CandidateType::kHost, {ip, socket.local.port}, socket.id});
    }
  }
  if (tcp_port_ != 0) {
    for (const IpAddress& ip : own) {
      if (ip.is_link_local()) continue;
      candidates.push_back(
          {path::CandidateType::kHost, {ip, tcp_port_}, {}, path::Transport::kTcp});
    }
    std::ranges::copy(nat_watch_.tcp_reflexive(), std::back_inserter(candidates));
  }
  for (const Mapped& mapped : port_mapper_.mapped()) {
    candidates.push_back({path::CandidateType::kMapped, mapped.external, {}, mapped.transport});
  }
  // A session over IPv6 shows the server nothing of the NAT; its standby path over IPv4 does.
  const bool has_observed_v4 = observed_ && observed_->ip.is_v4();
  const auto other = has_observed_v4 ? std::nullopt : server_.reflexive_v4();
  const auto by_peer = observed_ || other ? std::nullopt : reflexive_by_peers();
  for (const auto& seen : {observed_, other, by_peer}) {
    const auto is_known = [&](const path::Candidate& c) { return c.address == *seen; };
    if (!seen || std::ranges::any_of(candidates, is_known)) continue;
    candidates.push_back({path::CandidateType::kServerReflexive, *seen, SocketId()});
  }
  return candidates;
}

/// Main sockets are UDP; the session with the server has no others but connections.
path::Transport Node::server_transport() const {
  const auto path = server_.path();
  const bool is_main =
      !path || std::ranges::find(sockets_, path->socket, &Socket::id) != sockets_.end();
  return is_main ? path::Transport::kUdp : path::Transport::kTcp;
}

path::SideProfile Node::profile() const {
  path::SideProfile profile = nat_watch_.profile();
  profile.methods = options_.methods;
  profile.entries_left = endpoint_->search_entries_left(context_.now);
  return profile;
}

bool Node::refresh_profile() {
  if (profile().udp.allocation != nat::PortAllocation::kSequential) return false;
  nat_watch_.refresh([this] {
    for (auto& [id, peer] : peers_) peer->on_profile_fresh();
    relaying_.on_profile_fresh();
    context_.wake();
  });
  return true;
}

Duration Node::server_rtt() const { return server_.rtt().value_or(Duration::zero()); }

bool Node::is_needed(const PeerLink& peer) const {
  return forwards_.needs(peer) || relaying_.needs(peer);
}

bool Node::is_wanted_for_itself(const PeerLink& peer) const {
  return forwards_.needs(peer) || pinger_.needs(peer);
}

PeerLink* Node::own_node(const NodeId& id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : found->second.get();
}

void Node::on_peer_stream(PeerLink& peer, session::StreamId id) {
  services_.on_peer_stream(peer, id);
}

void Node::on_session_up(PeerLink& peer) {
  datagrams_.on_session_up(peer);
  relaying_.on_session_up(peer);
  ways_.on_session_up(peer);
  note_path(peer);
  forwards_.on_session_up(peer);
  pinger_.on_session_up(peer);
}

void Node::on_peer_batch_end(PeerLink& peer) {
  datagrams_.on_batch_end(peer);
  forwards_.on_batch_end(peer);
}

void Node::on_session_down(PeerLink& peer, const std::string& reason) {
  datagrams_.on_session_down(peer);
  relaying_.on_session_down(peer);
  forwards_.on_session_down(peer, reason);
}

PeerLink* Node::find_peer(std::string_view name_or_id, std::string& reason) const {
  if (const auto id = NodeId::parse(name_or_id)) {
    const auto found = peers_.find(*id);
    if (found != peers_.end()) return found->second.get();
  }
  for (const auto& [id, peer] : peers_) {
    if (peer->record().name == name_or_id) return peer.get();
  }
  if (server_.state() == ServerLink::State::kConnected) {
    reason = "there is no node " + printable(name_or_id) + " in this network (see: openp2p peers)";
  } else {
    reason = "the server is not connected yet, so peers are not known: " + server_.reason();
  }
  return nullptr;
}

}  // namespace openp2p::agent
