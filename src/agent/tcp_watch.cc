#include "agent/tcp_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "nat/port_pattern.h"
#include "nat/stream_survey.h"
#include "nat/stun_transaction.h"

namespace openp2p::agent {
namespace {

/// The first, one with the same address and another port, one with another address.
std::vector<Address> chosen(const std::vector<Address>& servers) {
  std::vector<Address> chosen;
  if (servers.empty()) return chosen;
  chosen.push_back(servers.front());
  for (const bool is_same_ip : {true, false}) {
    const auto found = std::ranges::find_if(servers, [&](const Address& server) {
      return server != servers.front() && (server.ip == servers.front().ip) == is_same_ip;
    });
    if (found != servers.end()) chosen.push_back(*found);
  }
  return chosen;
}

}  // namespace

TcpWatch::TcpWatch(NodeContext& context, path::SocketSource& sockets,
                   std::function<void()> on_changed)
    : context_(context), sockets_(sockets), on_changed_(std::move(on_changed)) {}

TcpWatch::~TcpWatch() = default;

void TcpWatch::measure(const std::vector<Address>& servers, std::uint16_t port) {
  for (Connection& connection : connections_) drop(connection);
  connections_.clear();
  servers_ = chosen(servers);
  port_ = port;
  reopen_at_.reset();
  retry_ = Duration::zero();
  measured_.clear();
  tell_at_.reset();
  is_measuring_ = true;
  is_begun_ = false;
}

/// From the port, and to the addresses, of connections that have just been closed.
void TcpWatch::begin() {
  is_begun_ = true;
  begun_at_ = context_.now;
  for (const Address& server : servers_) connections_.push_back(connect(server, port_));
  settle();
}

void TcpWatch::set_held(bool is_held) {
  if (is_held_ == is_held) return;
  is_held_ = is_held;
  if (is_held) retry_ = Duration::zero();  // Somebody waits.
  keep_or_drop();
}

bool TcpWatch::is_answered() const {
  return std::ranges::any_of(measured_, [](const Connection& c) { return c.mapped.has_value(); });
}

std::optional<Address> TcpWatch::mapped() const {
  const Connection* const connection = live();
  return connection != nullptr && is_held_ ? connection->mapped : std::nullopt;
}

// --- Events ---

bool TcpWatch::on_connected(SocketId socket) {
  Connection* const connection = find(socket);
  if (connection == nullptr) return false;
  if (connection->stage == Stage::kConnecting) ask(*connection);
  return true;
}

bool TcpWatch::on_disconnected(SocketId socket) {
  std::erase(closing_, socket);
  Connection* const connection = find(socket);
  if (connection == nullptr) return false;
  connection->socket.reset();
  fail(*connection);
  settle();
  return true;
}

bool TcpWatch::on_stun(SocketId socket, const Address& from, ByteView datagram) {
  Connection* const connection = find(socket);
  if (connection == nullptr) return false;
  const auto answer = nat::decode_stun(datagram);
  if (!answer || from != connection->remote || answer->transaction != connection->asked ||
      answer->message_class != nat::StunClass::kSuccess || connection->stage != Stage::kAsked) {
    return true;
  }
  const auto seen = answer->xor_mapped_address;
  if (!seen || !nat::is_believable(*seen, connection->remote)) {
    fail(*connection);
  } else {
    if (connection->mapped) retry_ = Duration::zero();  // It has lived for a while.
    connection->stage = Stage::kAnswered;
    connection->mapped = *seen;
    connection->due_at = context_.now + kKeepAlive;
    // The others were asked at the same moment. Who is lost is asked again seconds later.
    if (is_measuring_ && !tell_at_) tell_at_ = context_.now + (context_.now - begun_at_) / 4;
  }
  settle();
  return true;
}

void TcpWatch::on_timeout() {
  for (const SocketId socket : std::exchange(closing_, {})) sockets_.close(socket);
  if (is_measuring_ && !is_begun_) begin();
  bool is_changed = false;
  for (Connection& connection : connections_) {
    if (connection.stage == Stage::kFailed || context_.now < connection.due_at) continue;
    if (connection.stage == Stage::kAnswered) {
      ask(connection);  // Keeps the mapping, and notices when the connection is dead.
    } else {
      fail(connection);
      is_changed = true;
    }
  }
  if (is_changed) settle();
  if (tell_at_ && context_.now >= *tell_at_) tell_early();
  if (reopen_at_ && context_.now >= *reopen_at_) reopen();
  for (const SocketId socket : std::exchange(closing_, {})) sockets_.close(socket);
}

std::optional<TimePoint> TcpWatch::next_timeout() const {
  if (!closing_.empty() || (is_measuring_ && !is_begun_)) return context_.now;
  std::optional<TimePoint> next = earlier(reopen_at_, tell_at_);
  for (const Connection& connection : connections_) {
    if (connection.stage != Stage::kFailed) next = earlier(next, connection.due_at);
  }
  return next;
}

// --- Connections ---

TcpWatch::Connection TcpWatch::connect(const Address& remote, std::uint16_t port) {
  Connection connection;
  connection.remote = remote;
  connection.due_at = context_.now + kPatience;
  connection.socket = sockets_.connect_tcp(remote, port, kPatience);
  if (!connection.socket) connection.stage = Stage::kFailed;
  return connection;
}

TcpWatch::Connection* TcpWatch::find(SocketId socket) {
  const auto found =
      std::ranges::find_if(connections_, [&](const Connection& c) { return c.socket == socket; });
  return found == connections_.end() ? nullptr : &*found;
}

const TcpWatch::Connection* TcpWatch::live() const {
  const auto found = std::ranges::find_if(connections_, [](const Connection& c) {
    return c.socket && c.mapped && c.stage != Stage::kFailed;
  });
  return found == connections_.end() ? nullptr : &*found;
}

TcpWatch::Connection* TcpWatch::live() {
  return const_cast<Connection*>(std::as_const(*this).live());
}

void TcpWatch::ask(Connection& connection) {
  nat::StunMessage request;
  request.transaction =
      nat::make_transaction_id(context_.endpoint->new_tag().value(), context_.secrets);
  std::array<std::byte, nat::kStunBytesMax> out;
  const std::size_t size = nat::encode_stun(request, {}, out);
  connection.asked = request.transaction;
  connection.stage = Stage::kAsked;
  connection.due_at = context_.now + kPatience;
  context_.endpoint->send_datagram(*connection.socket, connection.remote,
                                   ByteView(out).first(size));
}

void TcpWatch::fail(Connection& connection) {
  drop(connection);
  connection.stage = Stage::kFailed;
}

void TcpWatch::drop(Connection& connection) {
  if (connection.socket) closing_.push_back(*connection.socket);
  connection.socket.reset();
}

bool TcpWatch::is_settled() const {
  return std::ranges::all_of(connections_, [](const Connection& c) {
    return c.stage == Stage::kAnswered || c.stage == Stage::kFailed;
  });
}

/// After a connection got its answer or failed. A measurement wants all of them, who holds a
/// mapping the first one.
void TcpWatch::settle() {
  const Connection* const held = is_measuring_ ? nullptr : live();
  if (held == nullptr && !is_settled()) return;
  if (held != nullptr) take_newest(*held->mapped);
  if (std::exchange(is_measuring_, false)) {
    tell_at_.reset();
    measured_ = connections_;
    conclude();
    if (is_counted()) {  // What it showed may be as old as an earlier measurement.
      for (Connection& connection : connections_) drop(connection);
    }
  }
  on_changed_();  // By which it may come to be held.
  keep_or_drop();
}

void TcpWatch::tell_early() {
  tell_at_.reset();
  measured_ = connections_;
  std::erase_if(measured_, [](const Connection& c) { return !c.mapped; });
  conclude();
  on_changed_();
}

/// Of a NAT that counts it is a new mapping, since reopen() asks from a new port. Those of the
/// measurement may have been made long before, minutes apart, or in another order than asked for:
/// they tell less of the way in which it counts. Any two lie a multiple of its step apart.
void TcpWatch::take_newest(const Address& mapped) {
  const int ahead = mapped.port - profile_.last_port;
  const bool is_near = mapped.ip == profile_.external && std::abs(ahead) <= nat::kSequenceGapMax;
  if (is_counted() && is_near && ahead != 0) {
    const int step = std::gcd(profile_.step, ahead);
    profile_.step = ahead > 0 ? step : -step;
  }
  profile_.external = mapped.ip;
  profile_.last_port = mapped.port;
}

bool TcpWatch::is_counted() const {
  return profile_.allocation == nat::PortAllocation::kSequential;
}

void TcpWatch::keep_or_drop() {
  if (is_measuring_) return;
  const Connection* const kept = is_held_ ? live() : nullptr;
  for (Connection& connection : connections_) {
    if (&connection != kept) drop(connection);
  }
  std::erase_if(connections_, [](const Connection& c) { return !c.socket; });
  const bool is_missing = is_held_ && connections_.empty() && !servers_.empty();
  if (!is_missing) return reopen_at_.reset();
  if (reopen_at_) return;
  reopen_at_ = context_.now + retry_;
  retry_ = std::clamp(retry_ * 2, kRetryFirst, kRetryMax);
}

/// In turn to each service: the system may keep a pair of addresses to itself for a while after a
/// connection between them ended (RFC 9293 section 3.4.1, TIME-WAIT). A NAT keeps it as well, and
/// for minutes: one that counts would show a port that it has long gone on from.
void TcpWatch::reopen() {
  reopen_at_.reset();
  const bool is_awaited = retry_ <= kRetryFirst;
  const std::size_t count = is_awaited ? std::min(kReopenedMax, servers_.size()) : 1;
  const std::uint16_t port = is_counted() ? 0 : port_;
  for (std::size_t i = 0; i < count; ++i) {
    next_server_ = (next_server_ + 1) % servers_.size();
    connections_.push_back(connect(servers_[next_server_], port));
  }
  settle();
}

// --- Conclusions ---

void TcpWatch::conclude() {
  std::vector<nat::StreamSighting> sightings;
  for (const Connection& connection : measured_) {
    if (connection.mapped) sightings.push_back({connection.remote, *connection.mapped});
  }
  profile_ = nat::profile_of(sightings, port_, context_.platform.local_addresses());
}

std::vector<std::string> TcpWatch::evidence() const {
  std::vector<std::string> lines;
  for (const Connection& connection : measured_) {
    lines.push_back(connection.mapped
                        ? fmt::format("TCP port {} is seen by {} as {}", port_,
                                      connection.remote.text(), connection.mapped->text())
                        : fmt::format("no answer over TCP from {}", connection.remote.text()));
  }
  return lines;
}

}  // namespace openp2p::agent
