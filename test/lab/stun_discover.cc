// The discovery clients alone on real sockets: for the lab, and for a look at a network by hand.
//
//   stun_discover LOCAL_ADDRESS:PORT SERVER:PORT [OTHER_PORT]
//   stun_discover survey LOCAL_ADDRESS SERVER:PORT [OTHER_PORT]
#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "nat/behaviour_discovery.h"
#include "nat/mapping_survey.h"
#include "nat/port_pattern.h"
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

/// The survey's driver, over four sockets.
class Survey {
 public:
  Survey(net::IoContext& io, const IpAddress& local, const std::vector<Address>& servers)
      : timer_(io, [this](TimePoint now) {
          machine_->on_timeout(now);
          pump(now);
        }) {
    nat::MappingSurveyConfig config;
    config.servers = servers;
    config.local_addresses = {local};
    for (std::size_t i = 0; i < kSockets; ++i) {
      ends_.push_back(std::make_unique<End>(*this, i));
      auto opened = net::UdpSocket::open(io, {local, 0}, buffers_, *ends_.back());
      if (!opened) return;
      config.ports.push_back((*opened)->local_address().port);
      ends_.back()->socket = std::move(*opened);
    }
    machine_.emplace(config, secrets_, net::monotonic_now());
    pump(net::monotonic_now());
  }

  bool is_started() const { return machine_.has_value(); }
  bool is_done() const { return machine_->is_done(); }
  const nat::SurveyReport& report() const { return machine_->report(); }

 private:
  static constexpr std::size_t kSockets = 4;

  struct End final : net::UdpHandler {
    End(Survey& survey_of, std::size_t number_of) : survey(survey_of), number(number_of) {}
    void on_datagrams(std::span<const net::Received> batch, TimePoint now) override {
      for_each_datagram(batch, [&](const Address& from, ByteView datagram) {
        survey.machine_->on_datagram(number, from, datagram, now);
      });
      survey.pump(now);
    }
    void on_writable(TimePoint /*now*/) override {}
    void on_unreachable(const Address& /*to*/, std::error_code /*error*/) override {}
    void on_too_big(const Address& /*to*/, std::size_t /*datagram_bytes*/) override {}

    Survey& survey;
    const std::size_t number;
    std::unique_ptr<net::UdpSocket> socket;
  };

  void pump(TimePoint now) {
    std::array<std::byte, nat::kStunBytesMax> out;
    Address to;
    std::size_t number = 0;
    while (const std::size_t size = machine_->poll_datagram(number, to, out, now)) {
      const net::Outgoing outgoing{
          .to = to, .source = {}, .datagrams = ByteView(out).first(size), .segment_bytes = size};
      ends_[number]->socket->send({&outgoing, 1}, now);
    }
    timer_.arm(machine_->next_timeout());
  }

  SystemSecrets secrets_;
  std::optional<nat::MappingSurvey> machine_;
  net::UdpBuffers buffers_;
  std::vector<std::unique_ptr<End>> ends_;
  net::Timer timer_;
};

int survey(const IpAddress& local, const Address& server, std::uint16_t other_port) {
  boost::asio::io_context io(1);
  std::vector<Address> servers = {server};
  if (other_port != 0) servers.push_back({server.ip, other_port});
  Survey survey(io, local, servers);
  if (!survey.is_started()) {
    fmt::print(stderr, "{}: no sockets\n", local.text());
    return 1;
  }
  while (!survey.is_done()) io.run_one();
  const nat::SurveyReport& report = survey.report();
  const nat::NatProfile& found = report.profile;
  for (const std::string& line : report.evidence) fmt::print("{}\n", line);
  fmt::print("mapping: {}\n", nat::dependence_text(found.mapping));
  fmt::print("ports: {}\n",
             nat::describe({found.allocation, found.last_port, found.step, found.block}));
  fmt::print("external: {}\n", report.is_silent() ? "none" : found.external.text());
  fmt::print("translated: {}\n", found.is_translated ? "yes" : "no");
  return 0;
}

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

int run_survey(const std::vector<std::string_view>& words) {
  const auto local = IpAddress::parse(words[1]);
  const auto server = Address::parse(words[2]);
  if (!local || !server) return 2;
  return survey(*local, *server, words.size() > 3 ? port_of(words[3]) : std::uint16_t{0});
}

int run(const std::vector<std::string_view>& words) {
  const bool is_survey = words.size() >= 3 && words[0] == "survey";
  if (is_survey) return run_survey(words);
  if (words.size() == 2 || words.size() == 3) {
    const auto local = Address::parse(words[0]);
    const auto server = Address::parse(words[1]);
    const std::uint16_t other_port = words.size() == 3 ? port_of(words[2]) : std::uint16_t{0};
    if (local && server) return discover(*local, *server, other_port);
  }
  fmt::print(stderr, "usage: stun_discover LOCAL_ADDRESS:PORT SERVER:PORT [OTHER_PORT]\n");
  return 2;
}

}  // namespace
}  // namespace openp2p

int main(int argc, char** argv) { return openp2p::run({argv + 1, argv + argc}); }
