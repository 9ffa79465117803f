#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/nat_watch.h"
#include "agent/node_context.h"
#include "nat/stun_service.h"
#include "quic/packet_protection.h"
#include "session/endpoint.h"
#include "sim/internet.h"
#include "sim/nat_table.h"
#include "sim/seeded_secrets.h"
#include "test/world/simulated_platform.h"

namespace openp2p::test {

/// A STUN service with two addresses and two ports, over UDP and TCP.
class StunHost {
 public:
  static constexpr std::uint16_t kPorts[] = {3478, 3479};

  StunHost(sim::Internet& internet, std::uint64_t seed)
      : host_(internet.world(), internet.core(),
              {.up = {.delay = std::chrono::milliseconds(5)},
               .down = {.delay = std::chrono::milliseconds(5)},
               .v4_addresses = 2,
               .has_v6 = false}) {
    std::vector<nat::StunSocket> sockets;
    for (const IpAddress& ip : host_.addresses()) {
      for (const std::uint16_t port : kPorts) {
        sim::UdpSocket& socket = host_.open_udp(port, sim::Family::kV4, ip);
        sockets.push_back(
            {socket.id(), {ip, port}, ip != host_.addresses().front(), port != kPorts[0]});
        socket.on_receive(
            [this, id = socket.id()](const Address& from, ByteView datagram, TimePoint now) {
              Bytes out(nat::StunService::kAnswerBytesMax);
              const auto answer = service_->on_datagram(id, from, datagram, out, now);
              if (!answer) return;
              host_.socket(answer->socket).send(answer->to, ByteView(out).first(answer->size));
            });
      }
    }
    service_.emplace(sockets, nat::SourceLimitConfig{}, seed);
    sockets_ = sockets;
  }

  Address address(std::size_t number = 0) const { return sockets_.at(number).address; }
  std::vector<std::string> names() const { return {address(0).text(), address(1).text()}; }
  /// What is answered to a request over TCP; empty: nothing.
  Bytes answer(const Address& at, const Address& from, ByteView request, TimePoint now) {
    const auto socket =
        std::ranges::find_if(sockets_, [&](const auto& each) { return each.address == at; });
    Bytes out(nat::StunService::kAnswerBytesMax);
    const auto answer = service_->on_datagram(socket->id, from, request, out, now);
    out.resize(answer ? answer->size : 0);
    return out;
  }
  const nat::StunService::Counters& counters() const { return service_->counters(); }

 private:
  sim::Host host_;
  std::vector<nat::StunSocket> sockets_;
  std::optional<nat::StunService> service_;
};

/// A NatWatch in a home, with all that it stands on. TCP runs through a NAT of its own, of the same
/// kind as UDP's.
class WatchedHome final : public path::SocketSource, private session::StunHandler {
 public:
  static constexpr std::uint16_t kTcpPort = 27'183;
  static constexpr Duration kTcpOneWay = std::chrono::milliseconds(15);

  /// Worlds outlive homes: what is on its way in one must not come to what is gone.
  ~WatchedHome() override {
    watch_.reset();
    world_.cancel(wake_);
    for (const sim::EventId event : on_the_way_) world_.cancel(event);
  }
  WatchedHome(sim::Internet& internet, StunHost& stun, sim::NatKind kind, std::uint64_t seed,
              const sim::HomeOptions& options = {})
      : world_(internet.world()),
        stun_(stun),
        home_(internet, kind, options),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        protection_(quic::make_packet_protection()),
        platform_(home_.host()),
        timer_(world_, [this] { settle(/*is_timeout=*/true); }) {
    session::Endpoint::Options endpoint;
    endpoint.identity = &identity_;
    endpoint.protection = protection_.get();
    endpoint.secrets = &secrets_;
    endpoint.stun = this;
    endpoint.seed = seed;
    endpoint.wake = [this] { wake(); };
    endpoint_ = std::make_unique<session::Endpoint>(endpoint);
    context_.emplace(agent::NodeContext{identity_, platform_, secrets_, Log(), Random(seed), seed,
                                        [this] { wake(); }, endpoint_.get(), world_.now()});
    if (const auto nat = sim::nat_options(kind)) {
      tcp_nat_.emplace(*nat, std::vector{IpAddress::v4(198, 51, 100, 9)}, Random(seed).fork());
    }
    watch_.emplace(*context_, agent::NatWatch::Options{this, [this] { ++changes; }});
    watch_->set_tcp_port(kTcpPort);
  }

  const agent::NatWatch& known() const { return *watch_; }
  agent::NatWatch& watch() {
    context_->now = world_.now();
    wake();  // Whoever asks may call.
    return *watch_;
  }
  sim::Home& home() { return home_; }
  sim::World& world() { return world_; }
  std::size_t tcp_connections() const { return connections_.size(); }
  sim::NatTable& tcp_nat() { return *tcp_nat_; }
  /// Runs until nothing is being measured.
  bool settle_down(Duration patience = std::chrono::seconds(40)) {
    return world_.run_until(
        [this] {
          return !watch_->is_measuring() && !timer_.deadline() && !world_.is_pending(wake_);
        },
        world_.now() + patience);
  }
  bool is_asleep() const { return !timer_.deadline(); }
  void break_tcp() {  ///< As when a router forgets: each connection ends.
    for (const auto& [id, connection] : std::map(connections_)) {
      connections_.erase(id);
      context_->now = world_.now();
      watch_->on_disconnected(id);
    }
    wake();
  }

  // path::SocketSource
  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t port,
                                      Duration) override {
    const std::uint16_t from = port != 0 ? port : ephemeral_port_++;
    const Address local{*home_.host().address(sim::Family::kV4), from};
    for (const auto& [other, connection] : connections_) {
      if (connection.remote == remote && connection.local == local) return std::nullopt;
    }
    const SocketId id(next_id_++);
    connections_[id] = {remote, local};
    ++connects;
    if (!is_tcp_blocked && remote != silent_tcp) {
      on_the_way_.push_back(world_.after(2 * kTcpOneWay, [this, id] {
        if (!connections_.contains(id)) return;
        context_->now = world_.now();
        watch_->on_connected(id, connections_[id].remote);
        wake();
      }));
    }
    return id;
  }
  std::uint16_t listen_tcp() override { return kTcpPort; }
  void close(SocketId socket) override { connections_.erase(socket); }

  bool is_tcp_blocked = false;
  std::optional<Address> silent_tcp;  ///< This service answers no SYN.
  unsigned connects = 0;
  unsigned changes = 0;
  unsigned wakeups = 0;

 private:
  struct Connection {
    Address remote;
    Address local;
  };

  void on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint) override {
    watch_->on_stun(socket, from, datagram);
  }
  void wake() {
    if (world_.is_pending(wake_)) return;
    wake_ = world_.after(Duration::zero(), [this] { settle(/*is_timeout=*/false); });
  }
  void settle(bool is_timeout) {
    ++wakeups;
    context_->now = world_.now();
    if (is_timeout) {
      endpoint_->on_timeout(world_.now());
      watch_->on_timeout();
    }
    Bytes out(65'536);
    while (const auto transmit = endpoint_->poll_transmit(out, world_.now())) {
      send_tcp(transmit->socket, ByteView(out).first(transmit->bytes));
    }
    timer_.arm(earlier(watch_->next_timeout(), endpoint_->next_timeout()));
  }
  void send_tcp(SocketId socket, ByteView request) {
    const auto connection = connections_.find(socket);
    if (connection == connections_.end()) return;
    const auto [remote, local] = connection->second;
    const Address seen = tcp_nat_ ? tcp_nat_->outbound(local, remote, world_.now()).from : local;
    const Bytes answer = stun_.answer(remote, seen, request, world_.now());
    on_the_way_.push_back(world_.after(2 * kTcpOneWay, [this, socket, remote = remote, answer] {
      if (!connections_.contains(socket)) return;
      context_->now = world_.now();
      endpoint_->on_datagrams(socket, remote, answer, answer.size(), world_.now());
      wake();
    }));
  }

  sim::World& world_;
  StunHost& stun_;
  sim::Home home_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  std::unique_ptr<quic::PacketProtection> protection_;
  SimulatedPlatform platform_;
  std::optional<sim::NatTable> tcp_nat_;
  std::map<SocketId, Connection> connections_;
  std::uint64_t next_id_ = 1'000'000;
  std::uint16_t ephemeral_port_ = 32'768;
  std::unique_ptr<session::Endpoint> endpoint_;
  std::optional<agent::NodeContext> context_;
  std::optional<agent::NatWatch> watch_;
  sim::EventId wake_;
  std::vector<sim::EventId> on_the_way_;  ///< Of TCP, those that have come among them.
  sim::Timer timer_;
};

}  // namespace openp2p::test
