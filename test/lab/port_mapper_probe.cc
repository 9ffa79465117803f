// PortMapper alone on the real platform: for the lab, and for a look at a router by hand.
//
//   port_mapper_probe UDP_PORT TCP_PORT [LEASE_SECONDS]
//
// Prints a line of JSON at each change. SIGUSR1: the network changed. SIGTERM: takes everything
// back and ends.
#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include "agent/asio_platform.h"
#include "agent/port_mapper.h"
#include "net/clock.h"
#include "net/timer.h"

namespace openp2p {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// The driver: after any input, tells what changed and arms the timer.
class Probe {
 public:
  Probe(boost::asio::io_context& io, Duration lease)
      : io_(io),
        platform_(io),
        context_{
            identity_,
            platform_,
            secrets_,
            Log(),
            Random(static_cast<std::uint64_t>(net::monotonic_now().time_since_epoch().count())),
            /*incarnation=*/1,
            [this] { settle(); }},
        mapper_(
            context_, [] {}, lease),
        timer_(io, [this](TimePoint now) { input(now, [this] { mapper_.on_timeout(); }); }),
        signals_(io, SIGTERM, SIGUSR1) {}

  void start(const agent::PortMapper::Ports& ports) {
    await_signal();
    input(net::monotonic_now(), [&] { mapper_.start(ports); });
  }

 private:
  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      input(net::monotonic_now(), [&] {
        if (number == SIGTERM) return mapper_.stop();
        mapper_.on_network_changed();
      });
      await_signal();
    });
  }

  void input(TimePoint now, const std::function<void()>& give) {
    context_.now = now;
    give();
    settle();
  }

  void settle() {
    print();
    timer_.arm(mapper_.next_timeout());
    if (!mapper_.is_stopped()) return;
    fmt::print("{{\"stopped\": true}}\n");
    std::fflush(stdout);
    io_.stop();
  }

  void print() {
    std::string mapped, evidence;
    for (const agent::Mapped& mapping : mapper_.all_mapped()) {
      mapped += fmt::format(
          R"({}{{"external": "{}", "internal": "{}", "transport": "{}", "how": "{}", "lease_s": {}, "public": {}}})",
          mapped.empty() ? "" : ", ", mapping.external.text(), mapping.internal.text(),
          path::transport_text(mapping.transport), net::mapping_protocol_text(mapping.how),
          std::chrono::duration_cast<std::chrono::seconds>(mapping.lease).count(),
          mapping.is_public());
    }
    for (const std::string& line : mapper_.evidence()) {
      evidence += (evidence.empty() ? "" : ", ") + quoted(line);
    }
    std::string line = fmt::format(R"({{"settled": {}, "mapped": [{}], "evidence": [{}]}})",
                                   mapper_.is_settled(), mapped, evidence);
    if (line == last_line_) return;
    last_line_ = std::move(line);
    fmt::print("{}\n", last_line_);
    std::fflush(stdout);
  }

  boost::asio::io_context& io_;
  SystemSecrets secrets_;
  IdentityKey identity_ = IdentityKey::generate(secrets_);
  agent::AsioPlatform platform_;
  agent::NodeContext context_;
  agent::PortMapper mapper_;
  net::Timer timer_;
  boost::asio::signal_set signals_;
  std::string last_line_;
};

std::uint16_t port_of(const char* text) {
  std::uint16_t port = 0;
  std::from_chars(text, text + std::strlen(text), port);
  return port;
}

}  // namespace
}  // namespace openp2p

int main(int argc, char** argv) {
  using namespace openp2p;
  if (argc < 3) {
    fmt::print(stderr, "usage: port_mapper_probe UDP_PORT TCP_PORT [LEASE_SECONDS]\n");
    return 2;
  }
  const Duration lease = std::chrono::seconds(argc > 3 ? port_of(argv[3]) : 3'600);
  boost::asio::io_context io(1);
  Probe probe(io, lease);
  probe.start({.udp_v4 = port_of(argv[1]), .udp_v6 = port_of(argv[1]), .tcp = port_of(argv[2])});
  io.run();
  return 0;
}
