#include "server/server.h"

#include <google/protobuf/stubs/logging.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "net/clock.h"
#include "net/deferred.h"
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

std::string bind_problem(const Address& address, std::error_code error) {
  std::string text = "cannot listen on " + address.text() + "/udp: " + error.message();
  if (error == std::errc::address_in_use) {
    text +=
        ". Another program uses this port: stop it (ss -lunp shows which), or choose another "
        "with --listen ADDR:PORT and --stun-port PORT";
  } else if (error == std::errc::address_not_available) {
    text += ". This machine does not have the address: ip address shows those it has";
  } else if (error == std::errc::permission_denied) {
    text += ". Ports below 1024 are for root; choose another with --listen ADDR:PORT";
  }
  return text;
}

}  // namespace

struct Server::State {
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
    void send(const Address& to, ByteView bytes, std::size_t segment_bytes, TimePoint now) {
      net::Outgoing out;
      out.to = to;
      if (sources_) out.source = sources_->find(to);
      out.datagrams = bytes;
      out.segment_bytes = segment_bytes;
      (void)socket_->send({&out, 1}, now);
    }

    void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
      const Moment at = moment(now);
      for (const net::Received& received : batch) {
        if (sources_) sources_->remember(received.from, received.local);
        state_.core->on_datagrams(id_, received.from, received.datagrams, received.segment_bytes,
                                  at);
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
      auto socket = std::make_unique<Socket>(*this, id, wanted.address.ip.is_unspecified());
      if (const Status opened = socket->open(wanted.address); !opened) {
        const bool is_missing = opened.error() == std::errc::address_family_not_supported ||
                                opened.error() == std::errc::address_not_available;
        if (wanted.is_optional && is_missing) continue;
        return bind_problem(wanted.address, opened.error());
      }
      core_options.sockets.push_back({.id = id,
                                      .address = socket->local_address(),
                                      .is_alternate_ip = wanted.is_alternate_ip,
                                      .is_alternate_port = wanted.is_alternate_port});
      sockets.push_back(std::move(socket));
    }
    if (sockets.empty()) return "this machine has neither IPv4 nor IPv6";
    make_core(std::move(core_options));
    return std::nullopt;
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
    endpoint.log = options.log;
    core_options.store = &*store;
    core_options.stun_servers = options.stun_servers;
    core_options.log = options.log;
    core.emplace(std::move(core_options));
  }

  void flush(TimePoint now, int bursts_max) {
    for (int bursts = 0;; ++bursts) {
      if (bursts == bursts_max) {
        flush_later.request();
        break;
      }
      const auto transmit = core->poll_transmit(send_buffer, moment(now));
      if (!transmit) break;
      sockets[transmit->socket.value()]->send(
          transmit->to, ByteView(send_buffer).first(transmit->bytes), transmit->segment_bytes, now);
    }
    timer.arm(core->next_timeout());
  }

  net::IoContext& io;
  Options options;
  SystemSecrets secrets;
  std::unique_ptr<quic::PacketProtection> protection;
  net::UdpBuffers receive_buffers;
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

void Server::stop() {
  const TimePoint now = net::monotonic_now();
  state_->core->stop(moment(now));
  // One burst a session, and as many again for what is left to say.
  state_->flush(now, static_cast<int>(2 * state_->core->session_count() + kBurstsPerTurn));
}

std::vector<NodeId> Server::online() const { return state_->core->online(); }

}  // namespace openp2p::server
