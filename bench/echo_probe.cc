#include <fmt/core.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/probe.h"

/// The ends of two measurements: an echo server, and clients that time round trips and short
/// connections.
///
///   echo_probe serve PORT                        echoes until it is killed
///   echo_probe rtt BYTES ROUNDS HOST:PORT...     one round trip with each in turn, ROUNDS times
///   echo_probe connect BYTES COUNT AT_ONCE HOST:PORT   open, send, receive, close
namespace openp2p::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kChunkBytes = 64 << 10;
constexpr std::size_t kEventsMax = 64;
constexpr int kWarmUpRounds = 500;  // The path's round-trip estimate and all caches settle.
constexpr auto kSilenceMax = std::chrono::seconds(10);

class Socket {
 public:
  explicit Socket(int type_flags = 0) : number_(::socket(AF_INET, SOCK_STREAM | type_flags, 0)) {
    if (number_ < 0) die("socket");
    set_no_delay();
  }
  struct Accepted {
    int number;
  };
  explicit Socket(Accepted accepted) : number_(accepted.number) { set_no_delay(); }
  ~Socket() { ::close(number_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int number() const { return number_; }

 private:
  void set_no_delay() {
    const int on = 1;
    ::setsockopt(number_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  int number_;
};

class Poll {
 public:
  Poll() : number_(::epoll_create1(0)) {
    if (number_ < 0) die("epoll_create1");
  }
  ~Poll() { ::close(number_); }
  Poll(const Poll&) = delete;
  Poll& operator=(const Poll&) = delete;

  void watch(int socket, std::uint32_t events, bool is_known = false) {
    ::epoll_event event{};
    event.events = events;
    event.data.fd = socket;
    if (::epoll_ctl(number_, is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0)
      die("epoll_ctl");
  }
  std::span<const ::epoll_event> wait(int timeout_ms) {
    const int count =
        ::epoll_wait(number_, events_.data(), static_cast<int>(events_.size()), timeout_ms);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    return {events_.data(), static_cast<std::size_t>(std::max(count, 0))};
  }

 private:
  int number_;
  std::array<::epoll_event, kEventsMax> events_;
};

// --- The server ---------------------------------------------------------------------------------

class EchoServer {
 public:
  explicit EchoServer(std::uint16_t port) : listener_(SOCK_NONBLOCK), chunk_(kChunkBytes) {
    const int on = 1;
    ::setsockopt(listener_.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const ::sockaddr_in any = any_address(port);
    if (::bind(listener_.number(), reinterpret_cast<const ::sockaddr*>(&any), sizeof any) != 0)
      die("bind");
    if (::listen(listener_.number(), SOMAXCONN) != 0) die("listen");
    poll_.watch(listener_.number(), EPOLLIN);
  }

  [[noreturn]] void run() {
    fmt::print("echo_probe: listening\n");
    std::fflush(stdout);
    for (;;) {
      for (const ::epoll_event& event : poll_.wait(-1)) {
        if (event.data.fd == listener_.number()) {
          accept_all();
        } else {
          echo(event.data.fd);
        }
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int accepted = ::accept4(listener_.number(), nullptr, nullptr, 0);
      if (accepted < 0) return;
      connections_.emplace(accepted, std::make_unique<Socket>(Socket::Accepted{accepted}));
      poll_.watch(accepted, EPOLLIN);
    }
  }

  /// Blocks while a client does not read: they all read what they sent at once.
  void echo(int socket) {
    const ssize_t count = ::recv(socket, chunk_.data(), chunk_.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    const auto bytes = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    if (bytes == 0 || ::send(socket, chunk_.data(), bytes, MSG_NOSIGNAL) != count) {
      connections_.erase(socket);
    }
  }

  Socket listener_;
  Poll poll_;
  std::vector<std::byte> chunk_;
  std::unordered_map<int, std::unique_ptr<Socket>> connections_;
};

// --- Round trips --------------------------------------------------------------------------------

class Pinger {
 public:
  Pinger(std::string_view target, std::size_t bytes, std::size_t rounds)
      : target_(target), message_(bytes), answer_(bytes) {
    times_.reserve(rounds);
    const ::sockaddr_in address = address_of(target);
    if (::connect(socket_.number(), reinterpret_cast<const ::sockaddr*>(&address),
                  sizeof address) != 0)
      die(target);
  }

  void ping(bool counts) {
    const auto start = Clock::now();
    if (::send(socket_.number(), message_.data(), message_.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(message_.size())) {
      die("send");
    }
    if (::recv(socket_.number(), answer_.data(), answer_.size(), MSG_WAITALL) !=
        static_cast<ssize_t>(answer_.size())) {
      die("recv");
    }
    if (counts) times_.push_back(Clock::now() - start);
  }

  /// Microseconds that a share of all round trips did not exceed.
  double quantile_us(double share) {
    const auto at = times_.begin() +
                    static_cast<std::ptrdiff_t>(share * static_cast<double>(times_.size() - 1));
    std::nth_element(times_.begin(), at, times_.end());
    return std::chrono::duration<double, std::micro>(*at).count();
  }
  std::string_view target() const { return target_; }

 private:
  std::string_view target_;
  Socket socket_;
  std::vector<std::byte> message_, answer_;
  std::vector<Clock::duration> times_;
};

/// Prints for each target: HOST:PORT, and the 10 %, 50 % and 90 % quantiles in microseconds.
void measure_rtt(std::size_t bytes, int rounds, std::span<char*> targets) {
  std::vector<std::unique_ptr<Pinger>> pingers;
  for (const char* target : targets) {
    pingers.push_back(std::make_unique<Pinger>(target, bytes, static_cast<std::size_t>(rounds)));
  }
  for (int round = -kWarmUpRounds; round < rounds; ++round) {
    for (const auto& pinger : pingers) pinger->ping(/*counts=*/round >= 0);
  }
  for (const auto& pinger : pingers) {
    fmt::print("{} {:.2f} {:.2f} {:.2f}\n", pinger->target(), pinger->quantile_us(0.1),
               pinger->quantile_us(0.5), pinger->quantile_us(0.9));
  }
}

// --- Short connections --------------------------------------------------------------------------

/// Keeps a number of connections going; each sends one message once it is open, ends when all of
/// the echo is back, and is followed by the next.
class ShortConnections {
 public:
  ShortConnections(std::string_view target, std::size_t bytes, int count)
      : address_(address_of(target)), message_(bytes), chunk_(bytes), left_(count), open_(count) {}

  void run(int at_once) {
    for (int i = 0; i < at_once; ++i) start();
    while (open_ > 0) {
      const auto events =
          poll_.wait(static_cast<int>(std::chrono::milliseconds(kSilenceMax).count()));
      if (events.empty()) {
        errno = ETIMEDOUT;
        die("no connection moves");
      }
      for (const ::epoll_event& event : events) step(event);
    }
  }

 private:
  struct Connection {
    Socket socket{SOCK_NONBLOCK};
    std::size_t received = 0;
    bool is_asked = false;
  };

  void start() {
    if (left_ == 0) return;
    --left_;
    auto connection = std::make_unique<Connection>();
    const int socket = connection->socket.number();
    if (::connect(socket, reinterpret_cast<const ::sockaddr*>(&address_), sizeof address_) != 0 &&
        errno != EINPROGRESS) {
      die("connect");
    }
    poll_.watch(socket, EPOLLOUT);
    connections_[socket] = std::move(connection);
  }

  void step(const ::epoll_event& event) {
    const int socket = event.data.fd;
    Connection& connection = *connections_.at(socket);
    if (!std::exchange(connection.is_asked, true)) {
      if (::send(socket, message_.data(), message_.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(message_.size())) {
        die("send");
      }
      poll_.watch(socket, EPOLLIN, /*is_known=*/true);
      return;
    }
    const ssize_t count = ::recv(socket, chunk_.data(), chunk_.size(), 0);
    if (count <= 0) die("recv");
    connection.received += static_cast<std::size_t>(count);
    if (connection.received < message_.size()) return;
    connections_.erase(socket);
    --open_;
    start();
  }

  const ::sockaddr_in address_;
  Poll poll_;
  const std::vector<std::byte> message_;
  std::vector<std::byte> chunk_;
  int left_;
  int open_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
};

/// Prints connections per second.
void measure_connections(std::size_t bytes, int count, int at_once, std::string_view target) {
  ShortConnections(target, bytes, std::max(count / 10, at_once)).run(at_once);  // Warms up.
  const auto start = Clock::now();
  ShortConnections(target, bytes, count).run(at_once);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  fmt::print("{:.1f}\n", count / seconds.count());
}

}  // namespace
}  // namespace openp2p::bench

int main(int argc, char** argv) {
  namespace bench = openp2p::bench;
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "serve" && argc == 3)
    bench::EchoServer(bench::number<std::uint16_t>(argv[2])).run();
  if (command == "rtt" && argc > 4) {
    bench::measure_rtt(bench::number<std::size_t>(argv[2]), bench::number<int>(argv[3]),
                       std::span(argv, static_cast<std::size_t>(argc)).subspan(4));
    return 0;
  }
  if (command == "connect" && argc == 6) {
    bench::measure_connections(bench::number<std::size_t>(argv[2]), bench::number<int>(argv[3]),
                               bench::number<int>(argv[4]), argv[5]);
    return 0;
  }
  fmt::print(stderr,
             "usage: echo_probe serve PORT | rtt BYTES ROUNDS HOST:PORT... | "
             "connect BYTES COUNT AT_ONCE HOST:PORT\n");
  return 2;
}
