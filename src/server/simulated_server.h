#pragma once

#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/random.h"
#include "path/socket_source.h"
#include "quic/packet_protection.h"
#include "server/core.h"
#include "server/memory_records.h"
#include "server/memory_store.h"
#include "sim/driver.h"
#include "sim/seeded_secrets.h"
#include "wire/join_token.h"

namespace openp2p::server {

/// A core as sim::Driver knows machines: with wall time made from virtual time, and a store that
/// answers at once.
class SimulatedCore {
 public:
  static constexpr WallTime kEpoch{1'800'000'000'000'000};  ///< Wall time at virtual time 0.

  /// `clock_error`: by how much its wall clock is wrong.
  SimulatedCore(Core::Options options, MemoryStore& store, Duration clock_error)
      : store_(store), clock_error_(clock_error), core_(std::move(options)) {}

  Core& core() { return core_; }
  Moment moment(TimePoint now) const {
    const auto since = std::chrono::duration_cast<std::chrono::microseconds>(
        now.time_since_epoch() + clock_error_);
    return {.mono = now, .wall = {kEpoch.us + since.count()}};
  }

  void on_datagrams(SocketId socket, const Address& from, ByteView bytes, std::size_t segment_bytes,
                    TimePoint now) {
    core_.on_datagrams(socket, from, bytes, segment_bytes, moment(now));
  }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) {
    core_.on_connected(socket, local, remote, is_incoming, moment(now));
  }
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) {
    core_.on_disconnected(socket, why, moment(now));
  }
  void on_timeout(TimePoint now) { core_.on_timeout(moment(now)); }
  std::optional<TimePoint> next_timeout() const { return core_.next_timeout(); }
  std::optional<session::Transmit> poll_transmit(MutableByteView out, TimePoint now) {
    for (;;) {
      while (store_.run_one()) core_.on_timeout(moment(now));
      const auto transmit = core_.poll_transmit(out, moment(now));
      if (transmit || !store_.has_work()) return transmit;
    }
  }

 private:
  MemoryStore& store_;
  const Duration clock_error_;
  Core core_;
};

/// A server in a simulated world: one core on one host, restarted at will. Records and key survive.
/// Each of its UDP ports is a TCP port as well, for nodes whose UDP is blocked.
///
///     SimulatedServer server(host, seed);
///     const JoinToken token = server.new_token("admin", {.is_reusable = true});
///     node.up(token);
///     server.crash();  server.start();
class SimulatedServer final : public path::SocketSource {
 public:
  static constexpr std::uint16_t kPort = 27183;
  static constexpr std::uint16_t kStunPort = 27182;  ///< On hosts with two addresses.
  static constexpr WallTime kEpoch = SimulatedCore::kEpoch;

  SimulatedServer(sim::Host& host, std::uint64_t seed, Log log = {})
      : host_(host),
        secrets_(seed),
        identity_(IdentityKey::generate(secrets_)),
        protection_(quic::make_packet_protection()),
        store_(records_),
        log_(log) {
    CHECK(records_.create_user({.email = "admin",
                                .password_hash = {},
                                .network = {},
                                .network_name = "admin",
                                .created_at = kEpoch}));
    start();
  }

  ~SimulatedServer() override { crash(); }

  void start() {
    CHECK(!core_);
    Core::Options options;
    options.endpoint.identity = &identity_;
    options.endpoint.protection = protection_.get();
    options.endpoint.secrets = &secrets_;
    options.endpoint.seed = host_.world().random().next();
    options.endpoint.log = log_;
    options.endpoint.wake = [this] { wake(); };
    options.endpoint.sockets = this;
    options.store = &store_;
    options.addresses = addresses_;
    options.relay_bits_per_second = relay_bits_per_second_;
    options.sockets = plan_sockets();
    for (const nat::StunSocket& socket : options.sockets) {
      if (!socket.is_alternate_port) options.stun_servers.push_back(socket.address.text());
    }
    options.open_call = [this](const Address& to, const IpAddress& from, Duration timeout) {
      return driver_->connect_tcp(to, /*local_port=*/0, timeout, from);
    };
    const std::vector<nat::StunSocket> sockets = options.sockets;
    options.log = log_;
    core_.emplace(std::move(options), store_, clock_error_);
    driver_.emplace(host_, *core_);
    for (const nat::StunSocket& socket : sockets) {
      CHECK(driver_->open(socket.address.port, sim::Family::kV4, socket.address.ip) == socket.id);
      // TCP listens on all addresses at once.
      if (!socket.is_alternate_ip) CHECK(driver_->listen_tcp(socket.address.port) != 0);
    }
    driver_->poke();
  }
  /// As kill -9: nobody hears of it. What the store was asked and did not answer is lost.
  void crash() {
    driver_.reset();
    core_.reset();
    store_.run_all();
  }
  /// As SIGTERM: every session is closed.
  void stop() {
    core_->core().stop(core_->moment(host_.now()));
    driver_->poke();
    crash();
  }
  /// From the next start() on.
  void set_relay(std::uint64_t bits_per_second) { relay_bits_per_second_ = bits_per_second; }
  /// Likewise: where it says that it can be reached.
  void set_addresses(std::vector<std::string> addresses) { addresses_ = std::move(addresses); }
  /// Likewise.
  void set_clock_error(Duration error) { clock_error_ = error; }
  bool is_running() const { return core_.has_value(); }

  Address address() const {
    return {.ip = *host_.address(sim::Family::kV4), .port = kPort, .scope = 0};
  }
  // path::SocketSource: a server only takes what comes.
  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
    return std::nullopt;
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override {
    if (driver_) driver_->close(socket);
  }

  const NodeId& key() const { return identity_.id(); }
  Core& core() { return core_->core(); }
  MemoryRecords& records() { return records_; }
  /// After a change to records(), as a command in another process makes it.
  void note_change() { records_.note_foreign_change(); }

  struct TokenOptions {
    bool is_reusable = false;
    WallTime expires_at;
  };
  JoinToken new_token(const std::string& email, const TokenOptions& options) {
    JoinToken token{.addresses = {address().text()},
                    .server = key(),
                    .secret = Bytes(JoinToken::kSecretBytes),
                    .expires = options.expires_at};
    secrets_.fill(token.secret);
    CHECK(records_.new_token({.secret_hash = sha256(token.secret),
                              .email = email,
                              .is_reusable = options.is_reusable,
                              .created_at = kEpoch,
                              .expires_at = options.expires_at}));
    return token;
  }

 private:
  /// Two addresses with two ports each, where the host has two: full behaviour discovery (RFC
  /// 5780). The driver, which opens the sockets, comes after the core: the host knows what their
  /// numbers will be.
  std::vector<nat::StunSocket> plan_sockets() {
    std::vector<IpAddress> ips = host_.addresses();
    std::erase_if(ips, [](const IpAddress& ip) { return !ip.is_v4(); });
    const bool is_full = ips.size() >= 2;
    ips.resize(is_full ? 2 : 1);
    std::vector<nat::StunSocket> sockets;
    for (const IpAddress& ip : ips) {
      for (const std::uint16_t port : {kPort, kStunPort}) {
        if (port == kStunPort && !is_full) continue;
        const auto opened = static_cast<std::uint32_t>(sockets.size());
        sockets.push_back({.id = SocketId(host_.next_socket_id().value() + opened),
                           .address = {ip, port},
                           .is_alternate_ip = ip != ips.front(),
                           .is_alternate_port = port == kStunPort});
      }
    }
    return sockets;
  }
  void wake() {
    host_.world().after(Duration::zero(), [this] {
      if (driver_) driver_->poke();
    });
  }

  sim::Host& host_;
  sim::SeededSecrets secrets_;
  IdentityKey identity_;
  std::unique_ptr<quic::PacketProtection> protection_;
  MemoryRecords records_;
  MemoryStore store_;
  std::vector<std::string> addresses_;
  Log log_;
  std::uint64_t relay_bits_per_second_ = 0;
  Duration clock_error_{};
  std::optional<SimulatedCore> core_;
  std::optional<sim::Driver<SimulatedCore>> driver_;
};

}  // namespace openp2p::server
