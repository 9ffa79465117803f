#include "session/socket_ledger.h"

#include <algorithm>

#include "base/check.h"
#include "session/admission.h"

namespace openp2p::session {

/// Writes down what a session asks for.
class SocketLedger::OwnSource final : public path::SocketSource {
 public:
  OwnSource(SocketLedger& ledger, Serial owner) : ledger_(ledger), owner_(owner) {}

  std::optional<Opened> open_udp(bool is_v4) override {
    const auto opened = ledger_.source_->open_udp(is_v4);
    if (opened) ledger_.add_owned(opened->socket, owner_);
    return opened;
  }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override {
    const auto socket = ledger_.source_->connect_tcp(remote, local_port, timeout);
    if (socket) ledger_.add_owned(*socket, owner_);
    return socket;
  }
  /// Only the owner of all sessions listens.
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override {
    const auto found = ledger_.entries_.find(socket);
    if (found != ledger_.entries_.end() && found->second.owner == owner_) ledger_.close(socket);
  }

 private:
  SocketLedger& ledger_;
  const Serial owner_;
};

std::unique_ptr<path::SocketSource> SocketLedger::source_for(Serial owner) {
  if (source_ == nullptr) return nullptr;
  return std::make_unique<OwnSource>(*this, owner);
}

bool SocketLedger::Crowd::has_room(const IpAddress& from, std::size_t max,
                                   std::size_t per_prefix_max) const {
  if (total >= max) return false;
  const auto found = per_prefix.find(prefix_of(from));
  return found == per_prefix.end() || found->second < per_prefix_max;
}

void SocketLedger::Crowd::enter(const IpAddress& from) {
  ++total;
  ++per_prefix[prefix_of(from)];
}

void SocketLedger::Crowd::leave(const IpAddress& from) {
  --total;
  const auto count = per_prefix.find(prefix_of(from));
  if (--count->second == 0) per_prefix.erase(count);
}

SocketLedger::Serial SocketLedger::on_connected(const Connection& connection, TimePoint now) {
  CHECK(source_ != nullptr);
  const SocketId socket = connection.path.socket;
  const auto found = entries_.find(socket);
  if (found != entries_.end()) {
    found->second.connection = connection;
    found->second.is_up = true;
    return found->second.owner;
  }
  // One that was asked for and closed meanwhile comes here, too.
  const IpAddress& from = connection.path.remote.ip;
  const bool has_room = strangers_.has_room(from, kStrangersMax, kStrangersPerAddressMax);
  if (!connection.is_incoming || !has_room) {
    source_->close(socket);
    return kNobody;
  }
  const TimePoint expires_at = now + kStrangerPatience;
  Entry entry;
  entry.connection = connection;
  entry.is_up = true;
  entry.is_stranger = true;
  entry.expires_at = expires_at;
  entries_.emplace(socket, entry);
  expiries_.emplace(expires_at, socket);
  strangers_.enter(from);
  return kNobody;
}

SocketLedger::Serial SocketLedger::on_disconnected(SocketId socket) {
  const auto found = entries_.find(socket);
  if (found == entries_.end()) return kNobody;
  const Serial owner = found->second.owner;
  forget(socket);
  return owner;
}

bool SocketLedger::is_stranger(SocketId socket) const {
  if (strangers_.total + guests_.total == 0)
    return false;  // Asked for each datagram: mostly nothing is to be looked up.
  const auto found = entries_.find(socket);
  return found != entries_.end() && found->second.is_stranger;
}

void SocketLedger::on_answered(SocketId socket, TimePoint now) {
  if (!is_stranger(socket)) return;
  Entry& entry = entries_.at(socket);
  const IpAddress& from = entry.connection.path.remote.ip;
  if (!entry.is_guest) {
    if (!guests_.has_room(from, kGuestsMax, kGuestsPerAddressMax)) return;
    strangers_.leave(from);
    guests_.enter(from);
    entry.is_guest = true;
  }
  expiries_.erase({*entry.expires_at, socket});
  entry.expires_at = now + kGuestPatience;
  expiries_.emplace(*entry.expires_at, socket);
}

const Connection* SocketLedger::claim(SocketId socket, Serial owner,
                                      const std::optional<Path>& in_use) {
  if (!is_stranger(socket)) return nullptr;
  make_room_for_incoming(owner, in_use);
  Entry& entry = entries_.at(socket);
  leave_strangers(entry);
  expiries_.erase({*entry.expires_at, socket});
  entry.expires_at.reset();
  entry.owner = owner;
  by_owner_[owner].push_back(socket);
  return &entry.connection;
}

/// A peer may open connections for ever, since it cannot always tell that an old one is gone.
void SocketLedger::make_room_for_incoming(Serial owner, const std::optional<Path>& in_use) {
  const auto owned = by_owner_.find(owner);
  if (owned == by_owner_.end()) return;
  const auto is_incoming = [&](SocketId id) { return entries_.at(id).connection.is_incoming; };
  const auto count = static_cast<std::size_t>(std::ranges::count_if(owned->second, is_incoming));
  if (count < kIncomingPerSessionMax) return;
  const auto oldest = std::ranges::find_if(owned->second, [&](SocketId id) {
    return is_incoming(id) && !(in_use && in_use->socket == id);
  });
  CHECK(oldest != owned->second.end());
  close(*oldest);
}

std::vector<Connection> SocketLedger::connections_of(Serial owner) const {
  std::vector<Connection> connections;
  const auto owned = by_owner_.find(owner);
  if (owned == by_owner_.end()) return connections;
  for (const SocketId socket : owned->second) {
    const Entry& entry = entries_.at(socket);
    if (entry.is_up) connections.push_back(entry.connection);
  }
  return connections;
}

void SocketLedger::release_all(Serial owner, TimePoint now) {
  const auto owned = by_owner_.find(owner);
  if (owned == by_owner_.end()) return;
  for (const SocketId socket : owned->second) {
    Entry& entry = entries_.at(socket);
    entry.owner = kNobody;
    entry.expires_at = now + kLinger;
    expiries_.emplace(*entry.expires_at, socket);
  }
  by_owner_.erase(owned);
}

void SocketLedger::add_owned(SocketId socket, Serial owner) {
  Entry entry;
  entry.owner = owner;
  CHECK(entries_.emplace(socket, entry).second);
  by_owner_[owner].push_back(socket);
}

void SocketLedger::close(SocketId socket) {
  forget(socket);
  source_->close(socket);
}

void SocketLedger::forget(SocketId socket) {
  const auto found = entries_.find(socket);
  Entry& entry = found->second;
  leave_strangers(entry);
  if (entry.expires_at) expiries_.erase({*entry.expires_at, socket});
  const auto owned = by_owner_.find(entry.owner);
  if (owned != by_owner_.end()) {
    std::erase(owned->second, socket);
    if (owned->second.empty()) by_owner_.erase(owned);
  }
  entries_.erase(found);
}

void SocketLedger::leave_strangers(Entry& entry) {
  if (!std::exchange(entry.is_stranger, false)) return;
  crowd_of(entry).leave(entry.connection.path.remote.ip);
  entry.is_guest = false;
}

void SocketLedger::on_timeout(TimePoint now) {
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    const SocketId socket = expiries_.begin()->second;
    close(socket);
  }
}

std::optional<TimePoint> SocketLedger::next_timeout() const {
  if (expiries_.empty()) return std::nullopt;
  return expiries_.begin()->first;
}

}  // namespace openp2p::session
