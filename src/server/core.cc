#include "server/core.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "server/refusal.h"
#include "wire/join_token.h"

namespace openp2p::server {
namespace {

std::uint64_t secret_seed(SecretSource& secrets) {
  std::array<std::byte, sizeof(std::uint64_t)> bytes;
  secrets.fill(bytes);
  std::uint64_t seed;
  std::memcpy(&seed, bytes.data(), sizeof seed);
  return seed;
}

quic::ConnectionConfig for_control_sessions(quic::ConnectionConfig config) {
  config.send_ring_bytes = config.send_ring_bytes_max = Core::kSendRingBytes;
  config.stream_window_bytes = Core::kReceiveWindowBytes;
  config.connection_window_bytes = Core::kReceiveWindowBytes;
  config.peer_streams_max = Core::kStreamsMax;
  return config;
}

}  // namespace

/// What the store says to a Hello that it accepts.
struct Core::Admission {
  Joined joined;
  std::string network_name;
  std::vector<Node> nodes;
  std::vector<Node> left_nodes;  ///< Of the network that the node was in before.
  CreditAccount account;
};

/// Asks for everything that a Welcome needs, in one piece of work. On the store's thread.
Result<Core::Admission> Core::admit(Records& records, const JoinRequest& request, bool has_secret) {
  Admission admission;
  if (has_secret) {
    auto joined = records.join(request);
    if (!joined) return joined.error();
    admission.joined = std::move(*joined);
  } else {
    auto node = records.find_node(request.node);
    if (!node) return node.error();
    admission.joined.node = std::move(*node);
  }
  const NetworkId network = admission.joined.node.network;
  auto name = records.network_name(network);
  if (!name) return name.error();
  admission.network_name = std::move(*name);
  auto nodes = records.nodes(network);
  if (!nodes) return nodes.error();
  admission.nodes = std::move(*nodes);
  const auto account = records.find_account(network);
  if (!account) return account.error();
  admission.account = *account;
  // A command may have removed it between the two questions.
  const bool is_in = std::ranges::any_of(admission.nodes,
                                         [&](const Node& node) { return node.id == request.node; });
  if (!is_in) return StoreError::kNoSuchNode;
  if (admission.joined.left) {
    auto left = records.nodes(*admission.joined.left);
    if (!left) return left.error();
    admission.left_nodes = std::move(*left);
  }
  return admission;
}

Core::Core(Options options)
    : store_(*options.store),
      log_(options.log),
      server_id_(options.endpoint.identity->id()),
      directory_(std::move(options.stun_servers), std::move(options.addresses)),
      relay_secrets_(*options.endpoint.identity),
      ledger_(relay_secrets_, options.relay_allowance_bytes),
      broker_({.server = server_id_,
               .server_bits_per_second = options.relay_bits_per_second,
               .secrets = options.endpoint.secrets,
               .seed = secret_seed(*options.endpoint.secrets)},
              relay_secrets_, directory_, ledger_),
      stun_(options.sockets, options.stun_limit, secret_seed(*options.endpoint.secrets)),
      streams_(options.endpoint.sockets, options.sockets),
      calls_(std::move(options.open_call),
             [source = options.endpoint.sockets](SocketId socket) { source->close(socket); }),
      self_(std::make_shared<Core*>(this)) {
  options.endpoint.gatekeeper = this;
  options.endpoint.stun = this;
  options.endpoint.sockets = streams_.source();
  options.endpoint.connection = for_control_sessions(options.endpoint.connection);
  if (options.relay_bits_per_second > 0) {
    relay_.emplace(ServerRelay::Options{.server = server_id_,
                                        .bits_per_second = options.relay_bits_per_second,
                                        .secrets = &relay_secrets_,
                                        .log = log_});
  }
  endpoint_ = std::make_unique<session::Endpoint>(options.endpoint);
  for (const nat::StunSocket& socket : options.sockets) {
    endpoint_->add_socket(socket.id, socket.address);
  }
}

Core::~Core() { relay_.reset(); }  // Its hops hold sessions of the endpoint.

void Core::on_timeout(Moment now) {
  set_now(now);
  endpoint_->on_timeout(now.mono);
  calls_.on_timeout(now.mono);
  if (relay_) relay_->on_timeout(now.mono);
  doom_late();
  poll_changes();
  touch_online();
  settle();
}

std::optional<TimePoint> Core::next_timeout() const {
  if (!answers_.empty()) return TimePoint::min();
  std::optional<TimePoint> next = earlier(endpoint_->next_timeout(), next_upkeep());
  next = earlier(next, calls_.next_timeout());
  if (!deadlines_.empty()) next = earlier(next, deadlines_.begin()->first);
  if (relay_) next = earlier(next, relay_->next_timeout());
  return earlier(next, ledger_.next_timeout());
}

/// With nobody online there is nobody to tell of changes, and the program sleeps.
std::optional<TimePoint> Core::next_upkeep() const {
  if (directory_.online_count() == 0 || is_stopped_) return std::nullopt;
  std::optional<TimePoint> next = touch_at_;
  if (!is_polling_) next = earlier(next, poll_at_);
  return next;
}

std::optional<session::Transmit> Core::poll_transmit(MutableByteView buffer, Moment now) {
  set_now(now);
  settle();
  auto transmit = endpoint_->poll_transmit(buffer, now.mono);
  if (transmit) return transmit;
  settle();  // Polling may have closed a session, which others are then to be told.
  return endpoint_->poll_transmit(buffer, now.mono);
}

void Core::stop(Moment now) {
  set_now(now);
  if (std::exchange(is_stopped_, true)) return;
  if (relay_) relay_->stop(now.mono);
  log_relays();
  record_credits(/*is_last=*/true);
  for (Seen& seen : directory_.online(now.wall)) seen_[seen.node] = std::move(seen);
  endpoint_->close_all(static_cast<std::uint64_t>(ControlEnd::kStopping), "the server stops",
                       now.mono);
  settle();
}

bool Core::is_welcome(const NodeId&) { return !is_stopped_; }

session::SessionHandler* Core::on_session(session::Session& session) {
  const ConnectionId id(next_id_++);
  ClientHandler& owner = *this;
  auto made = std::make_unique<Client>(id, session, owner);
  Client& client = *made;
  Entry& entry = clients_[id];
  entry.client = std::move(made);
  std::size_t& of_prefix = silent_[client.prefix()];
  const bool is_too_much = ++silent_count_ > kSilentMax || ++of_prefix > kSilentPerAddressMax;
  set_deadline(entry, now_.mono + kHelloTimeout);
  if (is_too_much) {
    client.doom(ControlEnd::kTooMuch, "too many nodes connect from one place at once; try later");
  }
  return &client;
}

void Core::on_message(Client& client, ClientMessage message) {
  if (auto* hello = std::get_if<Hello>(&message)) return on_hello(client, std::move(*hello));
  if (std::holds_alternative<UnknownMessage>(message)) return;
  if (client.state() != Client::State::kMember) {
    return client.doom(ControlEnd::kProtocol,
                       "the first message has to be Hello, and its answer "
                       "awaited");
  }
  if (const auto* signal = std::get_if<SignalRequest>(&message)) return on_signal(client, *signal);
  if (const auto* rename = std::get_if<Rename>(&message)) return on_rename(client, *rename);
  broker_.roster().on_rtt(client.node(), client.rtt());
  if (const auto* ping = std::get_if<Ping>(&message)) {
    return client.send(encode_pong(ping->number, server_time(), client.observed_address()));
  }
  on_relay_message(client, message);
}

void Core::on_hello(Client& client, Hello hello) {
  if (client.state() != Client::State::kSilent) {
    return client.doom(ControlEnd::kProtocol, "Hello is said once");
  }
  ++counters_.hellos;
  const bool has_secret = !hello.join_secret.empty();
  if (has_secret && !is_valid_name(hello.name)) return refuse(client, name_refusal(hello.name));
  JoinRequest request{.secret_hash = sha256(hello.join_secret),
                      .node = client.node(),
                      .name = hello.name,
                      .version = hello.version,
                      .platform = hello.platform,
                      .now = now_.wall};
  wipe(hello.join_secret);
  const bool is_asked =
      store_.run([request = std::move(request),
                  has_secret](Records& records) { return admit(records, request, has_secret); },
                 later([this, id = client.id(), hello](Result<Admission> admission) {
                   on_admission(id, hello, std::move(admission));
                 }));
  if (!is_asked) return refuse(client, busy_refusal());
  client.set_state(Client::State::kAsking);
}

void Core::on_admission(ConnectionId id, const Hello& hello, Result<Admission> admission) {
  Client* client = find_open(id);
  if (!admission) {
    if (client != nullptr) refuse(*client, refusal_of(admission.error()));
    return;
  }
  const NetworkId network = admission->joined.node.network;
  const NodeId node = admission->joined.node.id;
  if (admission->joined.is_new) {
    ++counters_.joins;
    log_.info(now_.mono, "node.joined node={} name=\"{}\" network={}", node.brief(),
              printable(admission->joined.node.name), to_hex(network));
  }
  if (admission->joined.left) directory_.on_members(*admission->joined.left, admission->left_nodes);
  if (client == nullptr) return directory_.on_members(network, admission->nodes);

  client->set_state(Client::State::kMember);
  Entry& member = entry(*client);
  leave_silence(member);
  set_deadline(member, std::nullopt);
  if (directory_.online_count() == 0) {
    poll_at_ = now_.mono + kChangePollInterval;
    touch_at_ = now_.mono + kTouchInterval;
  }
  seen_[node] = {
      .node = node, .at = now_.wall, .version = hello.version, .platform = hello.platform};
  directory_.on_arrival({.connection = id,
                         .node = node,
                         .incarnation = hello.incarnation,
                         .version = hello.version,
                         .platform = hello.platform,
                         .network = network,
                         .network_name = std::move(admission->network_name),
                         .nodes = std::move(admission->nodes),
                         .is_name_changed = admission->joined.is_name_changed,
                         .observed_address = client->observed_address(),
                         .server_time = server_time()},
                        now_.wall);
  ledger_.set_account(network, admission->account);
  broker_.roster().on_online(node, network, hello.incarnation, now_.mono);
  broker_.roster().on_rtt(node, client->rtt());
  broker_.on_arrival(id, node);
}

void Core::refuse(Client& client, const Refusal& refusal) {
  ++counters_.refusals;
  log_.debug(now_.mono, "node.refused node={} code={}", client.node().brief(),
             static_cast<int>(refusal.code));
  client.refuse(refusal);
  if (!client.is_open()) return;
  Entry& refused = entry(client);
  leave_silence(refused);
  set_deadline(refused, now_.mono + kRefusedLinger);
}

void Core::on_signal(Client& client, const SignalRequest& request) {
  const auto fail = [&](SignalFailure why) {
    ++counters_.signals_failed;
    client.send(encode_signal_failed(request.to, request.number, why));
  };
  if (!client.may_signal(now_.mono)) return fail(SignalFailure::kTooMany);
  const SignalWay way = signal_way(client, request.to);
  if (!way.connection) return fail(way.failure);
  Client* target = find_open(*way.connection);
  if (target == nullptr) return fail(SignalFailure::kOffline);
  if (target->queued_bytes() > Client::kSignalQueuedBytesMax) return fail(SignalFailure::kTooMany);
  ++counters_.signals;
  target->send(encode_signal({.from = client.node(),
                              .number = request.number,
                              .body = request.body,
                              .sender_address = client.reflexive_address(),
                              .is_stranger = way.is_stranger}));
}

void Core::on_rename(Client& client, const Rename& rename) {
  if (!is_valid_name(rename.name)) {
    return client.doom(ControlEnd::kProtocol, name_refusal(rename.name).text);
  }
  const auto presence = directory_.find(client.id());
  if (!presence) return;
  // Not answered where it cannot be recorded: the name as it is then stays what everybody sees.
  (void)store_.run(
      [node = presence->node, network = presence->network,
       name = rename.name](Records& records) -> Result<std::vector<Membership>> {
        const auto renamed = records.rename(node, name);
        if (!renamed) return renamed.error();
        auto nodes = records.nodes(network);
        if (!nodes) return nodes.error();
        return std::vector{Membership{network, std::move(*nodes)}};
      },
      later([this](const Result<std::vector<Membership>>& members) { on_members(members); }));
}

void Core::on_members(const Result<std::vector<Membership>>& memberships) {
  if (!memberships) {
    log_.debug(now_.mono, "store.failed reason=\"{}\"", memberships.error().message());
    return;
  }
  for (const Membership& one : *memberships) directory_.on_members(one.network, one.nodes);
}

/// Commands change the database behind this program's back; a glance at its counter shows it.
void Core::poll_changes() {
  if (directory_.online_count() == 0 || is_polling_ || now_.mono < poll_at_) return;
  poll_at_ = now_.mono + kChangePollInterval;
  is_polling_ = store_.run(
      [networks = directory_.networks()](Records& records) -> Result<std::vector<Membership>> {
        const auto is_changed = records.poll_foreign_change();
        if (!is_changed) return is_changed.error();
        std::vector<Membership> memberships;
        if (!*is_changed) return memberships;
        for (const NetworkId& network : networks) {
          auto nodes = records.nodes(network);
          if (!nodes) return nodes.error();
          memberships.push_back({network, std::move(*nodes)});
        }
        return memberships;
      },
      later([this](const Result<std::vector<Membership>>& members) {
        is_polling_ = false;
        on_members(members);
      }));
}

void Core::touch_online() {
  if (directory_.online_count() == 0 || now_.mono < touch_at_) return;
  touch_at_ = now_.mono + kTouchInterval;
  for (Seen& seen : directory_.online(now_.wall)) seen_[seen.node] = std::move(seen);
  log_relays();
}

/// One batch at a time: while the disk is slow, the next one gathers.
void Core::record_seen() {
  if (seen_.empty() || is_recording_) return;
  std::vector<Seen> batch;
  while (!seen_.empty() && batch.size() < kTouchBatchMax) {
    batch.push_back(std::move(seen_.begin()->second));
    seen_.erase(seen_.begin());
  }
  is_recording_ =
      store_.run([batch = std::move(batch)](Records& records) { return records.touch(batch); },
                 later([this](const Status& status) {
                   is_recording_ = false;
                   if (!status)
                     log_.debug(now_.mono, "store.failed reason=\"{}\"", status.error().message());
                 }));
}

/// A node cannot tell by itself: behind a router with a new address its own path looks as before,
/// and what it asks at the moment of the change is still answered with the old address.
void Core::on_moved(Client& client) {
  if (client.state() != Client::State::kMember) return;
  client.send(encode_pong(/*number=*/0, server_time(), client.observed_address()));
}

void Core::on_doomed(Client& client) {
  ++counters_.clients_doomed;
  doomed_.push_back(client.id());
}

void Core::on_gone(Client& client) {
  const auto presence = directory_.find(client.id());
  if (auto seen = directory_.on_departure(client.id(), now_.wall)) {
    broker_.roster().on_offline(seen->node, client.was_planned(), now_.mono);
    forget_empty(presence->network);
    seen_[seen->node] = std::move(*seen);
  }
  if (relay_) relay_->on_session_lost(client.id());
  Entry& gone = entry(client);
  leave_silence(gone);
  set_deadline(gone, std::nullopt);
  gone_.push_back(client.id());
}

void Core::leave_silence(Entry& entry) {
  if (!std::exchange(entry.is_silent, false)) return;
  --silent_count_;
  const auto of_prefix = silent_.find(entry.client->prefix());
  if (--of_prefix->second == 0) silent_.erase(of_prefix);
}

void Core::set_deadline(Entry& entry, std::optional<TimePoint> at) {
  if (entry.deadline) deadlines_.erase({*entry.deadline, entry.client->id()});
  entry.deadline = at;
  if (at) deadlines_.insert({*at, entry.client->id()});
}

void Core::doom_late() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_.mono) {
    Entry& late = clients_.at(deadlines_.begin()->second);
    set_deadline(late, std::nullopt);
    late.client->doom(ControlEnd::kNoHello, "this node did not say Hello in time");
  }
}

/// Handles what earlier calls left to do, until nothing is left.
void Core::settle() {
  for (bool is_settled = false; !is_settled;) {
    is_settled = answers_.empty() && doomed_.empty() && gone_.empty();
    for (const auto& answer : std::exchange(answers_, {})) answer();
    while (const auto effect = directory_.poll_effect()) apply(*effect);
    send_grants();
    for (const ConnectionId id : std::exchange(doomed_, {})) {
      if (const auto found = clients_.find(id); found != clients_.end()) {
        found->second.client->close(now_.mono);
      }
    }
    for (const ConnectionId id : std::exchange(gone_, {})) clients_.erase(id);
    if (relay_) relay_->sweep();
    record_seen();
    record_credits(/*is_last=*/false);
  }
}

void Core::apply(const Directory::Effect& effect) {
  if (const auto* send = std::get_if<Directory::Send>(&effect)) {
    for (const ConnectionId id : send->to) {
      if (Client* client = find_open(id)) client->send(send->message);
    }
    return;
  }
  const auto& close = std::get<Directory::Close>(effect);
  Client* client = find_open(close.connection);
  if (client == nullptr) return;
  if (close.why == ControlEnd::kRemoved) forget_removed(client->node());
  client->doom(close.why, close.text);
}

Core::Entry& Core::entry(const Client& client) { return clients_.at(client.id()); }

Client* Core::find_open(ConnectionId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end() || !found->second.client->is_open()) return nullptr;
  return found->second.client.get();
}

}  // namespace openp2p::server
