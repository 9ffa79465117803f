// The STUN service, or the discovery client, alone on real sockets: for the lab, and for a look at
// a network by hand.
//
//   stun_box serve PORT OTHER_PORT ADDRESS [OTHER_ADDRESS]   until it is killed
//   stun_box discover LOCAL_ADDRESS:PORT SERVER:PORT [OTHER_PORT]
#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "nat/behaviour_discovery.h"
#include "nat/stun_service.h"
#include "net/clock.h"
#include "net/timer.h"
#include "net/udp_socket.h"

namespace openp2p {
namespace {

/// Hands each datagram of a received batch on.
template <class Take>
void for_each_datagram(std::span<const net::Received> batch, Take take) {
  for (const net::Received& received : batch) {
    for (ByteView rest = received.datagrams; !rest.empty();) {
      const std::size_t size = std::min(rest.size(), received.segment_bytes);
      take(received.from, rest.first(size));
      rest = rest.subspan(size);
    }
  }
}

/// One of the service's sockets; answers may leave by another one.
class ServicePort final : public net::UdpHandler {
 public:
  using Ports = std::vector<std::unique_ptr<ServicePort>>;

  ServicePort(SocketId id, nat::StunService& service, const Ports& ports)
      : id_(id), service_(service), ports_(ports) {}

  std::error_code open(net::IoContext& io, const Address& local, net::UdpBuffers& buffers) {
    auto opened = net::UdpSocket::open(io, local, buffers, *this);
    if (!opened) return opened.error();
    socket_ = std::move(*opened);
    return {};
  }

  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for_each_datagram(batch, [&](const Address& from, ByteView datagram) {
      std::array<std::byte, nat::StunService::kAnswerBytesMax> out;
      const auto answer = service_.on_datagram(id_, from, datagram, out, now);
      if (!answer) return;
      const net::Outgoing outgoing{.to = answer->to,
                                   .source = {},
                                   .datagrams = ByteView(out).first(answer->size),
                                   .segment_bytes = answer->size};
      ports_[answer->socket.value()]->socket_->send({&outgoing, 1}, now);
    });
  }
  void on_writable(TimePoint /*now*/) override {}
  void on_unreachable(const Address& /*to*/, std::error_code /*error*/) override {}
  void on_too_big(const Address& /*to*/, std::size_t /*datagram_bytes*/) override {}

 private:
  SocketId id_;
  nat::StunService& service_;
  const Ports& ports_;
  std::unique_ptr<net::UdpSocket> socket_;
};

int serve(const std::vector<IpAddress>& addresses, std::uint16_t port, std::uint16_t other_port) {
  std::vector<nat::StunSocket> sockets;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    for (const bool is_other_port : {false, true}) {
      const SocketId id{static_cast<std::uint32_t>(sockets.size())};
      const Address local{addresses[i], is_other_port ? other_port : port};
      sockets.push_back({id, local, /*is_alternate_ip=*/i != 0, is_other_port});
    }
  }
  std::uint64_t seed = 0;
  SystemSecrets().fill(std::as_writable_bytes(std::span(&seed, 1)));
  nat::StunService service(sockets, {}, seed);
  boost::asio::io_context io(1);
  net::UdpBuffers buffers;
  ServicePort::Ports ports;
  for (const nat::StunSocket& socket : sockets) {
    ports.push_back(std::make_unique<ServicePort>(socket.id, service, ports));
    const auto error = ports.back()->open(io, socket.address, buffers);
    if (error) {
      fmt::print(stderr, "{}: {}\n", socket.address.text(), error.message());
      return 1;
    }
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  io.run();
  return 0;
}

/// The discovery machine's driver: after any input, send what it wants sent, then arm its timer.
class Discovery final : public net::UdpHandler {
 public:
  Discovery(net::IoContext& io, const nat::BehaviourDiscoveryConfig& config)
      : machine_(config, secrets_, net::monotonic_now()), timer_(io, [this](TimePoint now) {
          machine_.on_timeout(now);
          pump(now);
        }) {}

  std::error_code start(net::IoContext& io, const Address& local) {
    auto opened = net::UdpSocket::open(io, local, buffers_, *this);
    if (!opened) return opened.error();
    socket_ = std::move(*opened);
    pump(net::monotonic_now());
    return {};
  }

  bool is_done() const { return machine_.is_done(); }
  const nat::BehaviourReport& report() const { return machine_.report(); }

  void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
    for_each_datagram(batch, [&](const Address& from, ByteView datagram) {
      machine_.on_datagram(from, datagram, now);
    });
    pump(now);
  }
  void on_writable(TimePoint /*now*/) override {}
  void on_unreachable(const Address& /*to*/, std::error_code /*error*/) override {}
  void on_too_big(const Address& /*to*/, std::size_t /*datagram_bytes*/) override {}

 private:
  void pump(TimePoint now) {
    std::array<std::byte, nat::kStunBytesMax> out;
    Address to;
    while (const std::size_t size = machine_.poll_datagram(to, out, now)) {
      const net::Outgoing outgoing{
          .to = to, .source = {}, .datagrams = ByteView(out).first(size), .segment_bytes = size};
      socket_->send({&outgoing, 1}, now);
    }
    timer_.arm(machine_.next_timeout());
  }

  SystemSecrets secrets_;
  nat::BehaviourDiscovery machine_;
  net::UdpBuffers buffers_;
  std::unique_ptr<net::UdpSocket> socket_;
  net::Timer timer_;
};

int discover(const Address& local, const Address& server, std::uint16_t other_port) {
  boost::asio::io_context io(1);
  Discovery discovery(io,
                      {.server = server, .alternate_port = other_port, .local_addresses = {local}});
  const auto error = discovery.start(io, local);
  if (error) {
    fmt::print(stderr, "{}: {}\n", local.text(), error.message());
    return 1;
  }
  while (!discovery.is_done()) io.run_one();
  const nat::BehaviourReport& report = discovery.report();
  for (const std::string& line : report.evidence) fmt::print("{}\n", line);
  fmt::print("result: {}\n", nat::describe(report));
  fmt::print("classic: {}\n", nat::classic_name(report));
  if (report.hairpins) fmt::print("hairpins: {}\n", *report.hairpins ? "yes" : "no");
  return 0;
}

std::uint16_t port_of(std::string_view text) {
  std::uint16_t port = 0;
  std::from_chars(text.data(), text.data() + text.size(), port);
  return port;
}

int run(const std::vector<std::string_view>& words) {
  const std::string_view command = words.empty() ? "" : words[0];
  if (command == "serve" && (words.size() == 4 || words.size() == 5)) {
    std::vector<IpAddress> addresses;
    for (std::size_t i = 3; i < words.size(); ++i) {
      const auto address = IpAddress::parse(words[i]);
      if (address) addresses.push_back(*address);
    }
    if (addresses.size() + 3 == words.size() && port_of(words[1]) != 0 && port_of(words[2]) != 0) {
      return serve(addresses, port_of(words[1]), port_of(words[2]));
    }
  }
  if (command == "discover" && (words.size() == 3 || words.size() == 4)) {
    const auto local = Address::parse(words[1]);
    const auto server = Address::parse(words[2]);
    const std::uint16_t other_port = words.size() == 4 ? port_of(words[3]) : std::uint16_t{0};
    if (local && server) return discover(*local, *server, other_port);
  }
  fmt::print(stderr,
             "usage: stun_box serve PORT OTHER_PORT ADDRESS [OTHER_ADDRESS]\n"
             "       stun_box discover LOCAL_ADDRESS:PORT SERVER:PORT [OTHER_PORT]\n");
  return 2;
}

}  // namespace
}  // namespace openp2p

int main(int argc, char** argv) { return openp2p::run({argv + 1, argv + argc}); }
