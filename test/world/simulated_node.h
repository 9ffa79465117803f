#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/node.h"
#include "path/socket_source.h"
#include "server/simulated_server.h"
#include "sim/driver.h"
#include "sim/seeded_secrets.h"
#include "test/world/simulated_platform.h"
#include "wire/join_token.h"

namespace openp2p::test {

/// A whole node on a simulated host: what `openp2p up` runs, over the simulator's drivers. Key,
/// name and forwards survive crash(), as a state folder does.
class SimulatedNode final : public agent::NodeMemory, public path::SocketSource {
 public:
  /// Extra UDP sockets at once: twice what the widest fan takes, so that a leak is noticed.
  static constexpr std::size_t kExtraSocketsMax = 1'024;

  SimulatedNode(sim::Host& host, std::uint64_t seed, std::string name)
      : host_(host),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        protection_(quic::make_packet_protection()),
        platform_(host),
        name_(std::move(name)) {
    host_.on_addresses_changed([this](TimePoint now) {
      if (!node_) return;
      node_->on_network_changed(now);
      driver_->poke();
    });
  }

  ~SimulatedNode() override { crash(); }

  void join(const JoinToken& token) {
    token_ = token;
    start();
  }
  void start() {
    agent::Node::Options options;
    options.identity = &identity_;
    options.protection = protection_.get();
    options.secrets = &secrets_;
    options.platform = &platform_;
    options.memory = this;
    options.seed = host_.world().random().next();
    options.wake = [this] { wake(); };
    options.sockets = this;
    options.server = token_.server;
    options.server_addresses = token_.addresses;
    options.told_addresses = told_addresses;
    if (!is_joined_) options.join_secret = token_.secret;
    options.name = name_;
    options.version = "test";
    options.platform_name = "sim";
    options.policy = policy;
    options.forwards = forwards_;
    options.lending = lending;
    options.avoids_strangers = avoids_strangers;
    options.methods = methods;
    options.known_peers = known_peers;
    options.log = log;
    node_ = std::make_unique<agent::Node>(options, host_.now());
    driver_ = std::make_unique<sim::Driver<agent::Node>>(host_, *node_);
    for (const sim::Family family : {sim::Family::kV4, sim::Family::kV6}) {
      const agent::OwnPorts last = node_->last_ports();
      const SocketId socket = driver_->open(family == sim::Family::kV4 ? last.v4 : last.v6, family);
      const std::uint16_t port = driver_->socket(socket).local().port;
      if (family == sim::Family::kV4) main_port_ = port;
      node_->add_socket(socket, {sim::any_of(family), port});
    }
    node_->start(host_.now());
    driver_->poke();
  }
  /// As kill -9: nobody hears of it.
  void crash() {
    driver_.reset();
    node_.reset();
    extra_sockets_.clear();
  }
  void stop() {
    node_->stop(host_.now());
    driver_->poke();
    crash();
  }

  agent::Node& node() { return *node_; }
  bool is_running() const { return node_ != nullptr; }
  SimulatedPlatform& platform() { return platform_; }
  const NodeId& id() const { return identity_.id(); }
  const IdentityKey& identity() const { return identity_; }
  void poke() { driver_->poke(); }
  std::uint64_t wakeups() const { return driver_->wakeups(); }

  std::optional<agent::ControlError> forward(const std::string& name, const std::string& peer,
                                             std::uint16_t port, std::uint16_t listen,
                                             const std::string& host = "127.0.0.1") {
    agent::ForwardSpec spec;
    spec.name = name;
    spec.peer = peer;
    spec.host = host;
    spec.port = port;
    spec.listen = {IpAddress::loopback_v4(), listen};
    auto error = node_->add_forward(spec);
    poke();
    return error;
  }
  bool is_connected_to_server() const {
    return node_ != nullptr && node_->status().server_state == "connected";
  }

  // agent::NodeMemory
  std::optional<std::string> store_forwards(
      const std::vector<agent::ForwardSpec>& forwards) override {
    if (is_disk_full) return "the disk is full";
    forwards_ = forwards;
    return std::nullopt;
  }
  std::optional<std::string> store_share(unsigned mbit) override {
    if (is_disk_full) return "the disk is full";
    lending.share_mbit = mbit;
    return std::nullopt;
  }
  void on_joined(const std::string& name) override {
    is_joined_ = true;
    name_ = name;
  }
  void on_refused(const agent::Refusal& refusal) override { refusals.push_back(refusal); }
  void store_server_addresses(const std::vector<std::string>& told) override {
    if (!is_disk_full) told_addresses = told;
  }
  void store_peers(ByteView peers) override {
    if (!is_disk_full) known_peers = to_bytes(peers);
  }

  // path::SocketSource
  std::optional<Opened> open_udp(bool is_v4) override {
    if (!driver_ || extra_sockets_.size() >= extra_sockets_max) return std::nullopt;
    const sim::Family family = is_v4 ? sim::Family::kV4 : sim::Family::kV6;
    const SocketId socket = driver_->open(0, family);
    extra_sockets_.insert(socket);
    return Opened{socket, {sim::any_of(family), driver_->socket(socket).local().port}};
  }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t local_port,
                                      Duration timeout) override {
    if (!driver_) return std::nullopt;
    return driver_->connect_tcp(remote, local_port, timeout);
  }
  std::uint16_t listen_tcp() override {
    if (!driver_) return 0;
    const std::uint16_t port = driver_->listen_tcp(main_port_);
    return port == 0 ? driver_->listen_tcp(0) : port;
  }
  void close(SocketId socket) override {
    extra_sockets_.erase(socket);
    if (driver_) driver_->close(socket);
  }
  std::size_t extra_sockets() const { return extra_sockets_.size(); }

  std::size_t extra_sockets_max = kExtraSocketsMax;
  forward::AcceptPolicy policy;
  agent::Lending::Options lending;
  bool avoids_strangers = false;
  path::MethodSet methods = path::MethodSet::all();
  Bytes known_peers;
  std::vector<std::string> told_addresses;
  bool is_disk_full = false;
  Log log;
  std::vector<agent::Refusal> refusals;

 private:
  void wake() {
    if (host_.world().is_pending(wake_)) return;
    wake_ = host_.world().after(Duration::zero(), [this] {
      if (driver_) driver_->poke();
    });
  }

  sim::Host& host_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  std::unique_ptr<quic::PacketProtection> protection_;
  SimulatedPlatform platform_;
  std::string name_;
  JoinToken token_;
  bool is_joined_ = false;
  std::vector<agent::ForwardSpec> forwards_;
  std::set<SocketId> extra_sockets_;  ///< Of open_udp(): all but the node's main ones.
  std::uint16_t main_port_ = 0;
  sim::EventId wake_;
  std::unique_ptr<agent::Node> node_;
  std::unique_ptr<sim::Driver<agent::Node>> driver_;
};

}  // namespace openp2p::test
