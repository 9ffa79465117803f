#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "sim/internet.h"
#include "sim/tcp_stack.h"

namespace openp2p::sim {

/// Remembers what happens to a connection.
struct TcpLog {
  explicit TcpLog(TcpConnection& observed) : connection(observed) {
    connection.on_connected([this](TimePoint now) { connected_at = now.time_since_epoch(); });
    watch();
  }
  /// Of a connection that was accepted.
  TcpLog(TcpConnection& observed, TimePoint now) : connection(observed) {
    connected_at = now.time_since_epoch();
    watch();
  }
  void watch() {
    connection.on_data([this](ByteView bytes, TimePoint) { text += as_text(bytes); });
    connection.on_end([this](TimePoint) { has_ended = true; });
    connection.on_closed([this](std::error_code error, TimePoint now) {
      ++closed;
      why = error;
      closed_at = now.time_since_epoch();
    });
  }
  bool is_up() const { return connection.state() == TcpConnection::State::kEstablished; }

  TcpConnection& connection;
  std::optional<Duration> connected_at;
  std::string text;
  bool has_ended = false;
  unsigned closed = 0;
  std::error_code why;
  Duration closed_at{};
};

/// A server on the internet, and what it accepted.
class TcpTest : public testing::Test {
 protected:
  void run(Duration duration = std::chrono::seconds(2)) { world_.run_for(duration); }
  std::unique_ptr<TcpLog> connect(Host& from, const Address& to, std::uint16_t local_port = 0,
                                  Duration timeout = std::chrono::seconds(127)) {
    const auto made = from.tcp().connect(to, {.local_port = local_port, .timeout = timeout});
    return made ? std::make_unique<TcpLog>(**made) : nullptr;
  }
  void listen(Host& host, std::uint16_t port) {
    ASSERT_TRUE(host.tcp().listen(port, Family::kV4, [this](TcpConnection& made, TimePoint now) {
      accepted_.push_back(std::make_unique<TcpLog>(made, now));
    }));
  }
  Address at(Host& host, std::uint16_t port) { return {*host.address(Family::kV4), port}; }
  /// What the server sees of a home's port.
  Address mapped(Host& host, std::uint16_t port) {
    const auto probe = connect(host, at(*server_, 443), port);
    run();
    const Address seen = accepted_.back()->connection.remote();
    probe->connection.abort();  // Leaves the NAT's mapping for minutes.
    run();
    return seen;
  }

  World world_{1};
  Internet internet_{world_};
  std::unique_ptr<Host> server_ = make_public_host(internet_);
  std::vector<std::unique_ptr<TcpLog>> accepted_;
};

}  // namespace openp2p::sim
