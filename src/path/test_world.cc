#include "path/test_world.h"

#include <fmt/format.h>

#include "base/check.h"

namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLanDelay = 300us;
constexpr std::byte kPing{0x40};
constexpr std::byte kPong{0x41};

}  // namespace

Address Router::outbound(const Address& inside, const Address& to, TimePoint now) {
  Mapping& mapping = mappings_[inside];
  const bool is_stale = now - mapping.used_at > options_.timeout;
  if (mapping.outside.port == 0 || is_stale) {
    mapping = {};
    mapping.outside = options_.is_firewall ? inside : Address{options_.external, next_port_++};
  }
  mapping.used_at = now;
  mapping.peers[to] = now;
  return mapping.outside;
}

std::optional<Address> Router::inbound(const Address& outside, const Address& from, TimePoint now) {
  for (auto& [inside, mapping] : mappings_) {
    if (mapping.outside != outside || now - mapping.used_at > options_.timeout) continue;
    for (const auto& [peer, sent_at] : mapping.peers) {
      if (now - sent_at > options_.timeout) continue;
      const bool is_allowed = options_.filtering == Filtering::kNone ||
                              (options_.filtering == Filtering::kAddress && peer.ip == from.ip) ||
                              peer == from;
      if (is_allowed) return inside;
    }
    return std::nullopt;
  }
  return std::nullopt;
}

void Router::reboot() {
  mappings_.clear();
  next_port_ = static_cast<std::uint16_t>(next_port_ + 1000);
}

PathFinderConfig config_of(int party) {
  PathFinderConfig config;
  config.role = party == 0 ? IceRole::kControlling : IceRole::kControlled;
  config.local_tag = FinderTag{party == 0 ? 0xaau : 0xbbu};
  config.remote_tag = FinderTag{party == 0 ? 0xbbu : 0xaau};
  config.check_key.fill(std::byte{7});
  return config;
}

Bytes make_check(int from_party, std::uint64_t number, bool is_nomination, ByteView key) {
  const PathFinderConfig config = config_of(from_party);
  nat::StunMessage message;
  message.transaction.bytes.fill(static_cast<std::byte>(number));
  message.set_username(
      fmt::format("{:08x}:{:08x}", config.remote_tag.value(), config.local_tag.value()));
  message.priority = 1;
  (from_party == 0 ? message.ice_controlling : message.ice_controlled) = number;
  message.use_candidate = is_nomination;
  message.has_fingerprint = true;
  Bytes bytes(256);
  bytes.resize(nat::encode_stun(message, key, bytes));
  return bytes;
}

World::World(std::uint64_t seed) : random_(seed) {
  for (int i = 0; i < 2; ++i) {
    PathFinderConfig config = config_of(i);
    config.sockets = &sources_[static_cast<std::size_t>(i)];
    config.probes = &probes_[static_cast<std::size_t>(i)];
    party(i).finder = std::make_unique<PathFinder>(config, random_.fork(), Log(), now_);
  }
}

World::~World() {
  for (Party& party : parties_) party.finder.reset();  // It closes sockets, which must be there.
}

std::optional<SocketSource::Opened> World::Sockets::open_udp(bool is_v4) {
  auto& sockets = world_.party(index_).sockets;
  const auto first = std::ranges::find_if(
      sockets, [&](const Socket& socket) { return socket.address.ip.is_v4() == is_v4; });
  if (first == sockets.end()) return std::nullopt;
  if (std::ranges::count(sockets, true, &Socket::is_fan) == static_cast<long>(kFanMax)) {
    return std::nullopt;
  }
  Socket socket{SocketId{world_.next_socket_++}, first->address, first->router, true};
  socket.address.port = world_.next_fan_port_++;
  sockets.push_back(socket);
  return Opened{socket.id, socket.address};
}

void World::Sockets::close(SocketId id) {
  const auto closed = std::erase_if(world_.party(index_).sockets,
                                    [&](const Socket& s) { return s.is_fan && s.id == id; });
  CHECK(closed == 1);  // Its own, and once.
}

Router* World::add_router(const Router::Options& options) {
  routers_.push_back(std::make_unique<Router>(options));
  return routers_.back().get();
}

const Socket& World::add_socket(int index, const Address& address, Router* router) {
  party(index).sockets.push_back({SocketId{next_socket_++}, address, router});
  return party(index).sockets.back();
}

void World::gather(int index) {
  auto& gathered = gathered_[static_cast<std::size_t>(index)];
  gathered.clear();
  const Address server = address("198.51.100.1:3478");
  for (const Socket& socket : party(index).sockets) {
    if (socket.is_fan) continue;
    gathered.push_back({CandidateType::kHost, socket.address, socket.id});
    if (socket.router != nullptr && !socket.router->options().is_firewall) {
      const Address outside = socket.router->outbound(socket.address, server, now_);
      gathered.push_back({CandidateType::kServerReflexive, outside, socket.id});
    }
  }
  for (const Candidate& candidate : gathered) finder(index).add_local(candidate, now_);
  settle(index);
}

void World::tell(int from_party) {
  const int to = 1 - from_party;
  for (Candidate candidate : gathered(from_party)) {
    candidate.socket = SocketId{};
    finder(to).add_remote(candidate, now_);
  }
  settle(to);
}

void World::gather_and_tell() {
  gather(0);
  gather(1);
  tell(0);
  tell(1);
}

void World::at(TimePoint time, std::function<void()> action) {
  events_.emplace(std::pair(time, sequence_++), std::move(action));
}

void World::run_for(Duration duration) {
  run_until([] { return false; }, duration);
}

bool World::run_until(const std::function<bool()>& is_done, Duration at_most) {
  const TimePoint end = now_ + at_most;
  while (!is_done()) {
    if (events_.empty() || events_.begin()->first.first > end) {
      now_ = end;
      return is_done();
    }
    const auto event = events_.extract(events_.begin());
    now_ = event.key().first;
    event.mapped()();
  }
  return true;
}

void World::settle(int index) {
  Party& party = this->party(index);
  std::array<std::byte, 1500> buffer;
  CheckTarget to;
  int sent = 0;
  while (const std::size_t size = party.finder->poll_datagram(to, buffer, now_)) {
    CHECK(++sent <= 1000);
    for (const Socket& socket : party.sockets) {
      if (socket.id == to.path.socket) send(socket, to.path.remote, std::span(buffer).first(size));
    }
  }
  if (party.finder->selected() != nullptr && !party.first_selected_at)
    party.first_selected_at = now_;
  const auto next = party.finder->next_timeout();
  party.armed_for = next;
  if (next) at(std::max(*next, now_), [this, index] { on_timer(index); });
}

void World::on_timer(int index) {
  Party& party = this->party(index);
  if (party.armed_for > now_ || !party.armed_for) return;  // Armed anew meanwhile.
  wake(index);
  party.finder->on_timeout(now_);
  settle(index);
  // A deadline that calling does not move would spin a driver.
  CHECK(!party.armed_for || *party.armed_for > now_);
}

void World::wake(int index) {
  Party& party = this->party(index);
  if (party.last_wakeup != now_) ++party.wakeups;
  party.last_wakeup = now_;
}

void World::send(const Socket& socket, const Address& to, ByteView bytes) {
  for (const std::byte byte : bytes)
    trace = trace * 1099511628211u + static_cast<unsigned>(byte) + 1;
  trace += static_cast<std::uint64_t>(now_.time_since_epoch().count());
  Flight flight{socket.address, to, to_bytes(bytes)};
  const Router* router = socket.router;
  for (int i = 0; i < 2; ++i) {  // Neighbours are reached without the router.
    for (const Socket& other : party(i).sockets) {
      if (router == nullptr || other.address != to || other.router != router) continue;
      return at(now_ + kLanDelay, [this, flight, router] {
        if (!drop || !drop(flight)) deliver_to(flight.to, router, flight.from, flight.bytes);
      });
    }
  }
  if (router != nullptr) flight.from = socket.router->outbound(socket.address, to, now_);
  if (tap) tap(flight);
  if (flight.bytes.size() > datagram_bytes_max) return;
  if (random_.chance(loss) || (drop && drop(flight))) return;
  Duration delay = router == nullptr ? 10ms : router->options().delay;
  if (jitter > Duration::zero()) delay += Duration(random_.below(jitter.count()));
  if (extra_delay) delay += extra_delay(flight);
  at(now_ + delay, [this, flight, router] { arrive(flight, router); });
}

void World::arrive(const Flight& flight, const Router* origin) {
  for (const auto& router : routers_) {
    const bool is_behind =
        router->options().is_firewall || router->options().external == flight.to.ip;
    if (!is_behind) continue;
    if (router.get() == origin && !router->options().has_hairpin) continue;
    const auto inside = router->inbound(flight.to, flight.from, now_);
    if (!inside) continue;
    at(now_ + router->options().delay, [this, flight, inside, router = router.get()] {
      deliver_to(*inside, router, flight.from, flight.bytes);
    });
    return;
  }
  if (!deliver_to(flight.to, nullptr, flight.from, flight.bytes)) ++strays[flight.to];
}

bool World::deliver_to(const Address& inside, const Router* router, const Address& from,
                       ByteView bytes) {
  for (int i = 0; i < 2; ++i) {
    for (const Socket& socket : party(i).sockets) {
      if (socket.address != inside || socket.router != router) continue;
      deliver(i, socket, from, bytes);
      return true;
    }
  }
  return false;
}

void World::deliver(int index, const Socket& socket, const Address& from, ByteView bytes) {
  inject(index, socket.id, from, bytes);
}

void World::inject(int index, SocketId socket, const Address& from, ByteView bytes) {
  wake(index);
  const Path path{socket, from};
  if (bytes.size() == 1) {
    ++party(index).data_received;
    finder(index).on_authentic(path, now_);
    settle(index);
    const Path* selected = finder(index).selected();
    if (bytes.front() != kPing || selected == nullptr) return;
    for (const Socket& own : party(index).sockets) {
      if (own.id == selected->socket) send(own, selected->remote, std::array{kPong});
    }
    return;
  }
  const auto message = nat::decode_stun(bytes);
  if (message) finder(index).on_stun(path, *message, bytes, now_);
  settle(index);
}

void World::send_data(int index) {
  const Path* selected = finder(index).selected();
  if (selected == nullptr) return;
  for (const Socket& socket : party(index).sockets) {
    if (socket.id == selected->socket) send(socket, selected->remote, std::array{kPing});
  }
  finder(index).on_sent(now_);
  settle(index);
}

void World::remove_socket(int index, SocketId socket) {
  std::erase_if(party(index).sockets, [&](const Socket& s) { return s.id == socket; });
  finder(index).remove_socket(socket, now_);
  settle(index);
}

}  // namespace openp2p::path::test
