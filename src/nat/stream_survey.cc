#include "nat/stream_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "nat/stun_transaction.h"

namespace openp2p::nat {
namespace {

constexpr std::uint16_t kErrorCallFailed = 447;  // StunService::NoCall::kFailed

}  // namespace

bool is_believable(const Address& seen, const Address& server) {
  return seen.port != 0 && seen.ip.is_v4() == server.ip.is_v4() && !seen.ip.is_unspecified() &&
         !seen.ip.is_multicast() && (!seen.ip.is_loopback() || server.ip.is_loopback());
}

NatProfile profile_of(std::span<const StreamSighting> sightings, std::uint16_t port,
                      const std::vector<IpAddress>& own) {
  NatProfile profile;
  if (sightings.empty()) return profile;
  std::vector<MappingSample> samples;
  std::optional<Address> main, other_port, other_ip;
  const Address& first = sightings.front().server;
  for (const auto& [server, seen] : sightings) {
    auto& place = server == first ? main : server.ip == first.ip ? other_port : other_ip;
    place = seen;
    const auto is_same = [&seen = seen](const auto& s) { return s.external == seen; };
    if (std::ranges::none_of(samples, is_same)) samples.push_back({port, seen});
  }
  profile.external = samples.front().external.ip;
  profile.is_translated = samples.front().external.port != port ||
                          std::ranges::find(own, profile.external) == own.end();
  using enum Dependence;
  if (!profile.is_translated || (main && other_ip == main)) {
    profile.mapping = kEndpointIndependent;
  } else if (samples.size() > 1) {
    const bool is_by_address = main && other_port == main;
    profile.mapping = is_by_address ? kAddressDependent : kAddressAndPortDependent;
  } else if (main && other_port) {
    profile.mapping = kIndependentOrAddressDependent;
  }
  const PortPattern pattern = infer_pattern(samples);
  profile.allocation = pattern.allocation;
  profile.last_port = pattern.last_port;
  profile.step = pattern.step;
  profile.block = pattern.block;
  return profile;
}

StreamSurvey::StreamSurvey(const StreamSurveyConfig& config, SecretSource& secrets, TimePoint now)
    : config_(config), secrets_(secrets), stage_ends_at_(now + kPatience) {
  CHECK(!config.servers.empty() && config.port != 0);
  connect_to(config.servers.front());
}

// --- Connections ---

void StreamSurvey::connect_to(const Address& to) {
  Connection connection;
  connection.remote = to;
  connection.is_wanted = true;
  connections_.push_back(connection);
}

std::optional<Address> StreamSurvey::poll_connect() {
  for (Connection& connection : connections_) {
    if (std::exchange(connection.is_wanted, false)) return connection.remote;
  }
  return std::nullopt;
}

void StreamSurvey::on_connecting(const Address& to, std::optional<SocketId> socket, TimePoint now) {
  for (Connection& connection : connections_) {
    if (connection.is_incoming || connection.remote != to) continue;
    connection.socket = socket;
    connection.is_over = !socket;
  }
  advance(now);
}

StreamSurvey::Connection* StreamSurvey::find(SocketId socket) {
  const auto found =
      std::ranges::find_if(connections_, [&](const Connection& c) { return c.socket == socket; });
  return found == connections_.end() ? nullptr : &*found;
}

void StreamSurvey::on_connected(SocketId socket, const Address& remote, bool is_incoming,
                                TimePoint now) {
  if (is_incoming) {
    if (is_done() || connections_.size() >= kConnectionsMax) return;
    Connection call;
    call.remote = remote;
    call.socket = socket;
    call.is_incoming = true;
    call.is_over = true;  // Nothing is asked over it.
    connections_.push_back(call);
    return;
  }
  Connection* const connection = find(socket);
  if (connection == nullptr || connection->is_over) return;
  connection->asked = ask(socket, /*change_ip=*/false, /*change_port=*/false);
  connection->asked_at = now;
}

void StreamSurvey::on_disconnected(SocketId socket, TimePoint now) {
  Connection* const connection = find(socket);
  if (connection == nullptr) return;
  connection->socket.reset();
  connection->is_over = true;
  advance(now);
}

// --- Messages ---

TransactionId StreamSurvey::ask(SocketId over, bool change_ip, bool change_port) {
  StunMessage request;
  request.transaction = make_transaction_id(config_.tag, secrets_);
  request.change_ip = change_ip;
  request.change_port = change_port;
  requests_.push_back({over, request});
  return request.transaction;
}

std::size_t StreamSurvey::poll_datagram(SocketId& over, MutableByteView out) {
  if (requests_.empty()) return 0;
  over = requests_.front().over;
  const std::size_t size = encode_stun(requests_.front().message, {}, out);
  requests_.erase(requests_.begin());
  return size;
}

void StreamSurvey::on_datagram(SocketId socket, ByteView datagram, TimePoint now) {
  Connection* const connection = find(socket);
  const auto answer = decode_stun(datagram);
  if (connection == nullptr || !answer || is_done()) return;
  if (connection->is_incoming) {
    on_called(*connection, *answer);
  } else if (answer->transaction == connection->asked && !connection->is_over) {
    on_answer(*connection, *answer, now);
  } else if (answer->message_class == StunClass::kError && connection == &connections_.front()) {
    on_no_call(*answer);
  }
  advance(now);
}

void StreamSurvey::on_answer(Connection& connection, const StunMessage& answer, TimePoint now) {
  connection.is_over = true;
  const auto seen = answer.xor_mapped_address;
  const bool is_success = answer.message_class == StunClass::kSuccess;
  if (!is_success || !seen || !is_believable(*seen, connection.remote)) return;
  connection.mapped = *seen;
  if (&connection != &connections_.front()) return;
  report_.rtt = now - connection.asked_at;
  told_other_ = answer.other_address;
}

/// Counts where the call came from as it was asked for: another port of the server, or another
/// address.
void StreamSurvey::on_called(const Connection& connection, const StunMessage& answer) {
  for (CallTest* test : {&port_call_, &address_call_}) {
    if (test->state != Call::kAsked || answer.transaction != test->id) continue;
    const Address& server = config_.servers.front();
    const bool is_other_ip = connection.remote.ip != server.ip;
    const bool is_as_asked = connection.remote.port != server.port;
    test->state = is_other_ip == test->changes_ip && is_as_asked &&
                          answer.message_class == StunClass::kSuccess
                      ? Call::kArrived
                      : Call::kNotTold;
  }
}

void StreamSurvey::on_no_call(const StunMessage& answer) {
  for (CallTest* test : {&port_call_, &address_call_}) {
    if (test->state != Call::kAsked || answer.transaction != test->id) continue;
    test->state = answer.error_code == kErrorCallFailed ? Call::kFailed : Call::kNotTold;
  }
}

// --- The order of tests ---

void StreamSurvey::on_timeout(TimePoint now) { advance(now); }

std::optional<TimePoint> StreamSurvey::next_timeout() const {
  if (is_done()) return std::nullopt;
  return stage_ends_at_;
}

bool StreamSurvey::is_stage_over() const {
  if (stage_ == Stage::kFilter) {
    return port_call_.state != Call::kAsked && address_call_.state != Call::kAsked;
  }
  return std::ranges::all_of(connections_, &Connection::is_over);
}

void StreamSurvey::advance(TimePoint now) {
  while (!is_done() && (is_stage_over() || now >= stage_ends_at_)) {
    for (Connection& connection : connections_) connection.is_over = true;
    for (CallTest* test : {&port_call_, &address_call_}) {
      if (test->state == Call::kAsked) test->state = Call::kNotTold;
    }
    if (stage_ == Stage::kReach && connections_.front().mapped) {
      stage_ = Stage::kFilter;
      start_filtering(now);
    } else if (stage_ == Stage::kFilter && start_mapping(now)) {
      stage_ = Stage::kMap;
    } else {
      stage_ = Stage::kDone;
      conclude();
    }
  }
}

void StreamSurvey::start_filtering(TimePoint now) {
  stage_ends_at_ = now + kCallPatience;
  const auto over = connections_.front().socket;
  if (!over) return;
  port_call_.id = ask(*over, /*change_ip=*/false, /*change_port=*/true);
  port_call_.state = Call::kAsked;
  if (!other_address()) return;
  address_call_.id = ask(*over, /*change_ip=*/true, /*change_port=*/true);
  address_call_.state = Call::kAsked;
}

/// The server's other port and its other address, from the list or as it names them itself.
bool StreamSurvey::start_mapping(TimePoint now) {
  stage_ends_at_ = now + kPatience;
  const Address& first = config_.servers.front();
  const auto other = other_address();
  bool has_begun = false;
  for (const bool is_same_ip : {true, false}) {
    const auto listed = std::ranges::find_if(config_.servers, [&](const Address& server) {
      return server != first && (server.ip == first.ip) == is_same_ip;
    });
    if (listed != config_.servers.end()) {
      connect_to(*listed);
    } else if (other) {
      connect_to(is_same_ip ? Address{first.ip, other->port, first.scope}
                            : Address{other->ip, first.port, 0});
    } else {
      continue;
    }
    has_begun = true;
  }
  return has_begun;
}

/// Only what a second address of this server can be: it must not aim our connections at others.
std::optional<Address> StreamSurvey::other_address() const {
  const Address& first = config_.servers.front();
  if (!told_other_ || told_other_->port == 0 || told_other_->port == first.port) return {};
  const IpAddress& ip = told_other_->ip;
  const auto& own = config_.local_addresses;
  const bool is_same_kind = ip.is_v4() == first.ip.is_v4() && ip != first.ip &&
                            ip.is_loopback() == first.ip.is_loopback() &&
                            ip.is_private() == first.ip.is_private();
  const bool is_own = std::ranges::find(own, ip) != own.end();
  if (!is_same_kind || is_own || ip.is_unspecified() || ip.is_multicast()) return {};
  return told_other_;
}

// --- Conclusions ---

void StreamSurvey::conclude() {
  std::vector<StreamSighting> sightings;
  for (const Connection& connection : connections_) {
    if (connection.mapped) sightings.push_back({connection.remote, *connection.mapped});
  }
  add_evidence();
  if (sightings.empty()) return;
  report_.profile = profile_of(sightings, config_.port, config_.local_addresses);
  report_.profile.filtering = conclude_filtering();
  report_.reflexive = sightings.front().seen;
}

Dependence StreamSurvey::conclude_filtering() const {
  using enum Dependence;
  if (address_call_.state == Call::kArrived) return kEndpointIndependent;
  if (port_call_.state == Call::kArrived) {
    return address_call_.state == Call::kFailed ? kAddressDependent
                                                : kIndependentOrAddressDependent;
  }
  return port_call_.state == Call::kFailed ? kAddressAndPortDependent : kUnknown;
}

void StreamSurvey::add_evidence() {
  for (const Connection& connection : connections_) {
    if (connection.is_incoming) continue;
    const std::string server = connection.remote.text();
    report_.evidence.push_back(connection.mapped
                                   ? fmt::format("port {} is seen by {} as {}", config_.port,
                                                 server, connection.mapped->text())
                                   : "no answer from " + server);
  }
  const std::string server = config_.servers.front().text();
  for (const CallTest* test : {&port_call_, &address_call_}) {
    if (test->state == Call::kNotAsked) continue;
    std::string line = fmt::format("asked {} to connect from its other {}: ", server,
                                   test->changes_ip ? "address and port" : "port");
    if (test->state == Call::kArrived) line += "it came through";
    if (test->state == Call::kFailed) line += "it tried, and nothing came through";
    if (test->state == Call::kNotTold) line += "it does not say that it did";
    report_.evidence.push_back(line);
  }
}

}  // namespace openp2p::nat
