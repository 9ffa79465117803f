#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "bench/probe.h"

/// The ends of a measurement of round trips by UDP: an echo server, and a client.
///
///   datagram_probe serve PORT                        echoes until it is killed
///   datagram_probe rtt BYTES ROUNDS HOST:PORT...     a round trip with each in turn, ROUNDS times
///
/// The client prints for each address what was lost, and 10 %, median and 90 % in microseconds.
namespace openp2p::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kDatagramBytesMax = 65'507;
constexpr int kWarmUpRounds = 200;  // The flow is opened, and all caches settle.
constexpr int kSilenceSeconds = 1;  // Then a datagram counts as lost.

int make_socket() {
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) die("socket");
  return socket;
}

[[noreturn]] void serve(std::uint16_t port) {
  const int socket = make_socket();
  const ::sockaddr_in any = any_address(port);
  if (::bind(socket, reinterpret_cast<const ::sockaddr*>(&any), sizeof any) != 0) die("bind");
  fmt::print("datagram_probe: listening\n");
  std::fflush(stdout);
  std::vector<std::byte> datagram(kDatagramBytesMax);
  for (;;) {
    ::sockaddr_in from{};
    socklen_t size = sizeof from;
    auto* const address = reinterpret_cast<::sockaddr*>(&from);
    const ssize_t got = ::recvfrom(socket, datagram.data(), datagram.size(), 0, address, &size);
    if (got >= 0)
      ::sendto(socket, datagram.data(), static_cast<std::size_t>(got), 0, address, size);
  }
}

/// One address, and the round trips to it.
class Target {
 public:
  explicit Target(std::string_view text) : socket_(make_socket()) {
    const ::sockaddr_in to = address_of(text);
    const ::timeval silence{kSilenceSeconds, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    if (::connect(socket_, reinterpret_cast<const ::sockaddr*>(&to), sizeof to) != 0)
      die("connect");
  }

  void round_trip(std::vector<std::byte>& datagram, bool counts) {
    const auto start = Clock::now();
    if (::send(socket_, datagram.data(), datagram.size(), 0) < 0) die("send");
    const bool is_lost = ::recv(socket_, datagram.data(), datagram.size(), 0) < 0;
    if (!counts) return;
    if (is_lost) {
      ++lost_;
    } else {
      times_us_.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    }
  }
  void print() {
    if (times_us_.empty()) die("nothing came back");
    std::ranges::sort(times_us_);
    const auto at = [this](std::size_t percent) {
      return times_us_[times_us_.size() * percent / 100];
    };
    fmt::print("{} {:.1f} {:.1f} {:.1f}\n", lost_, at(10), at(50), at(90));
  }

 private:
  int socket_;
  std::size_t lost_ = 0;
  std::vector<double> times_us_;
};

void rtt(std::size_t bytes, int rounds, const std::vector<std::string_view>& addresses) {
  std::vector<std::byte> datagram(std::min(bytes, kDatagramBytesMax));
  std::vector<Target> targets;
  targets.reserve(addresses.size());
  for (const std::string_view address : addresses) targets.emplace_back(address);
  for (int i = -kWarmUpRounds; i < rounds; ++i) {
    for (Target& target : targets) target.round_trip(datagram, i >= 0);
  }
  for (Target& target : targets) target.print();
}

int run(const std::vector<std::string_view>& words) {
  if (words.size() == 2 && words[0] == "serve") serve(number<std::uint16_t>(words[1]));
  if (words.size() >= 4 && words[0] == "rtt") {
    rtt(number<std::size_t>(words[1]), number<int>(words[2]), {words.begin() + 3, words.end()});
    return 0;
  }
  fmt::print(stderr, "usage: datagram_probe serve PORT | rtt BYTES ROUNDS HOST:PORT...\n");
  return 2;
}

}  // namespace
}  // namespace openp2p::bench

int main(int count, char** arguments) {
  return openp2p::bench::run({arguments + 1, arguments + count});
}
