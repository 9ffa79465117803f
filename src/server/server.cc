#include "server/server.h"

#include <google/protobuf/stubs/logging.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "net/clock.h"
#include "net/deferred.h"
#include "net/stream_table.h"
#include "net/timer.h"
#include "net/udp_socket.h"
#include "quic/packet_protection.h"
#include "server/core.h"
#include "server/source_memory.h"
#include "server/worker_store.h"

namespace openp2p::server {
namespace {

/// The largest burst that one UDP_SEGMENT call takes.
constexpr std::size_t kBurstBytesMax = 65'000;
/// Bursts a turn; then sockets are read again, so that answering never starves listening.
constexpr int kBurstsPerTurn = 64;

Moment moment(TimePoint now) { return {.mono = now, .wall = net::wall_now()}; }

/// With port 0 the system chooses for UDP; whether TCP has the same number free is seen then.
constexpr int kPortTriesMax = 16;

std::string bind_problem(const Address& address, std::string_view protocol, std::error_code error) {
  std::string text =
      "cannot listen on " + address.text() + "/" + std::string(protocol) + ": " + error.message();
  if (error == std::errc::address_in_use) {
    text +=
        ". Another program uses this port: stop it (ss -lnptu shows which), or choose another "
        "with --listen ADDR:PORT and --stun-port PORT";
  } else if (error == std::errc::address_not_available) {
    text += ". This machine does not have the address: ip address shows those it has";
  } else if (error == std::errc::permission_denied) {
    text += ". Ports below 1024 are for root; choose another with --listen ADDR:PORT";
  }
  return text;
}

}  // namespace

struct Server::State final : net::StreamTableHandler, path::SocketSource {
  class Socket final : public net::UdpHandler {
   public:
    Socket(State& state, SocketId id, bool is_wildcard) : state_(state), id_(id) {
      if (is_wildcard) sources_.emplace();
    }

    Status open(const Address& local) {
      auto socket = net::UdpSocket::open(state_.io, local, state_.receive_buffers, *this);
      if (!socket) return socket.error();
      socket_ = std::move(*socket);
      return {};
    }
    Address local_address() const { return socket_->local_address(); }
    void send(const session::Transmit& transmit, ByteView bytes, TimePoint now) {
      net::Outgoing out;
      out.to = transmit.to;
      if (sources_) out.source = sources_->find(transmit.to);
      out.datagrams = bytes;
      out.segment_bytes = transmit.segment_bytes;
      out.hop_limit = transmit.hop_limit;
      (void)socket_->send({&out, 1}, now);
    }

    void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
      const Moment at = moment(now);
      for (const net::Received& received : batch) {
        if (sources_) sources_->remember(received.from, received.local);
        state_.core->on_datagrams(id_, received.from, received.datagrams, received.segment_bytes,
                                  at);
        if (state_.core->is_a_relay()) state_.send_polled(now, kBurstsPerTurn);
      }
      state_.flush_later.request();
    }
    void on_writable(TimePoint) override { state_.flush_later.request(); }
    void on_unreachable(const Address&, std::error_code) override {}  // As if lost.
    void on_too_big(const Address&, std::size_t) override {}          // Likewise.

   private:
    State& state_;
    const SocketId id_;
    std::optional<SourceMemory> sources_;
    std::unique_ptr<net::UdpSocket> socket_;
  };

  State(net::IoContext& io_context, Options given)
      : io(io_context),
        options(std::move(given)),
        protection(quic::make_packet_protection()),
        streams({io_context, receive_buffers, *this, kStreamsMax}),
        flush_later(io_context, [this](TimePoint now) { flush(now, kBurstsPerTurn); }),
        timer(io_context,
              [this](TimePoint now) {
                core->on_timeout(moment(now));
                flush(now, kBurstsPerTurn);
              }),
        send_buffer(kBurstBytesMax) {}

  std::optional<std::string> open() {
    Core::Options core_options;
    for (const ListenSocket& wanted : options.sockets) {
      const SocketId id(static_cast<std::uint32_t>(sockets.size()));
      std::string_view protocol = "udp";
      auto opened = open_both(wanted.address, id, protocol);
      if (!opened) {
        const bool is_missing = opened.error() == std::errc::address_family_not_supported ||
                                opened.error() == std::errc::address_not_available;
        if (wanted.is_optional && is_missing) continue;
        return bind_problem(wanted.address, protocol, opened.error());
      }
      core_options.sockets.push_back({.id = id,
                                      .address = (*opened)->local_address(),
                                      .is_alternate_ip = wanted.is_alternate_ip,
                                      .is_alternate_port = wanted.is_alternate_port});
      sockets.push_back(std::move(*opened));
    }
    next_id = static_cast<std::uint32_t>(sockets.size());
    if (sockets.empty()) return "this machine has neither IPv4 nor IPv6";
    for (const Address& address : options.also_tcp) {
      const auto listening = streams.listen(address, /*shares_port=*/false);
      const bool is_missing = !listening && address.ip.is_unspecified() &&
                              listening.error() == std::errc::address_family_not_supported;
      if (is_missing) continue;
      if (!listening) return bind_problem(address, "tcp", listening.error());
      tcp_addresses.push_back(*listening);
    }
    make_core(std::move(core_options));
    return std::nullopt;
  }

  // UDP, and TCP on the same number. `protocol`: of the failure.
  Result<std::unique_ptr<Socket>> open_both(const Address& address, SocketId id,
                                            std::string_view& protocol) {
    for (int tries = 1;; ++tries) {
      auto socket = std::make_unique<Socket>(*this, id, address.ip.is_unspecified());
      protocol = "udp";
      if (const Status opened = socket->open(address); !opened) return opened.error();
      protocol = "tcp";
      const auto listening = streams.listen(socket->local_address(), /*shares_port=*/false);
      if (listening) {
        tcp_addresses.push_back(*listening);
        return socket;
      }
      const bool is_taken = listening.error() == std::errc::address_in_use;
      if (address.port != 0 || !is_taken || tries == kPortTriesMax) return listening.error();
    }
  }

  void make_core(Core::Options core_options) {
    store.emplace(std::move(options.records), [this](std::function<void()> answer) {
      boost::asio::post(io, [this, answer = std::move(answer)] {
        answer();
        core->on_timeout(moment(net::monotonic_now()));
        flush_later.request();
      });
    });
    std::array<std::byte, sizeof(std::uint64_t)> seed;
    secrets.fill(seed);
    session::Endpoint::Options& endpoint = core_options.endpoint;
    endpoint.identity = &options.identity;
    endpoint.protection = protection.get();
    endpoint.secrets = &secrets;
    std::memcpy(&endpoint.seed, seed.data(), seed.size());
    endpoint.wake = [this] { flush_later.request(); };
    endpoint.sockets = this;
    endpoint.log = options.log;
    core_options.store = &*store;
    core_options.stun_servers = options.stun_servers;
    core_options.addresses = options.addresses;
    core_options.relay_bits_per_second = options.relay_bits_per_second;
    core_options.relay_allowance_bytes = options.relay_allowance_bytes;
    core_options.open_call = [this](const Address& to, const IpAddress& from, Duration timeout) {
      const auto source = from.is_unspecified() ? std::nullopt : std::optional(from);
      return streams.connect(to, /*local_port=*/0, timeout, source);
    };
    core_options.log = options.log;
    core.emplace(std::move(core_options));
  }

  /// False: there may be more, but others are to have their turn.
  bool send_polled(TimePoint now, int bursts_max) {
    for (int bursts = 0; bursts < bursts_max; ++bursts) {
      const auto transmit = core->poll_transmit(send_buffer, moment(now));
      if (!transmit) return true;
      const ByteView bytes = ByteView(send_buffer).first(transmit->bytes);
      if (transmit->socket.value() < sockets.size()) {
        sockets[transmit->socket.value()]->send(*transmit, bytes, now);
      } else {
        streams.send(transmit->socket, {bytes, transmit->segment_bytes}, now);
      }
    }
    return false;
  }

  void flush(TimePoint now, int bursts_max) {
    if (!send_polled(now, bursts_max)) flush_later.request();
    timer.arm(core->next_timeout());
  }

  // net::StreamTableHandler
  SocketId new_socket_id() override { return SocketId(next_id++); }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now) override {
    core->on_connected(socket, local, remote, is_incoming, moment(now));
    flush_later.request();
  }
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now) override {
    core->on_disconnected(socket, why, moment(now));
    flush_later.request();
  }
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override {
    core->on_datagrams(socket, from, train.datagrams, train.segment_bytes, moment(now));
    flush_later.request();
  }

  // path::SocketSource: a server opens no connections.
  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
    return std::nullopt;
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override { streams.close(socket); }

  net::IoContext& io;
  Options options;
  SystemSecrets secrets;
  std::unique_ptr<quic::PacketProtection> protection;
  net::UdpBuffers receive_buffers;
  net::StreamTable streams;
  std::vector<Address> tcp_addresses;
  std::uint32_t next_id = 0;  ///< Of TCP connections: above those of the UDP sockets.
  net::Deferred flush_later;
  net::Timer timer;
  Bytes send_buffer;
  std::vector<std::unique_ptr<Socket>> sockets;
  std::optional<WorkerStore> store;
  std::optional<Core> core;  // Last: it uses the store.
};

Server::Server(net::IoContext& io, Options options)
    : state_(std::make_unique<State>(io, std::move(options))) {
  google::protobuf::SetLogHandler(nullptr);  // It would print what clients send, for each message.
}

Server::~Server() = default;

std::optional<std::string> Server::open() { return state_->open(); }

std::vector<Address> Server::addresses() const {
  std::vector<Address> addresses;
  for (const auto& socket : state_->sockets) addresses.push_back(socket->local_address());
  return addresses;
}

std::vector<Address> Server::tcp_addresses() const { return state_->tcp_addresses; }

void Server::stop() {
  const TimePoint now = net::monotonic_now();
  state_->core->stop(moment(now));
  // One burst a session, and as many again for what is left to say.
  state_->flush(now, static_cast<int>(2 * state_->core->session_count() + kBurstsPerTurn));
  state_->streams.close_all();
}

std::vector<NodeId> Server::online() const { return state_->core->online(); }

}  // namespace openp2p::server
