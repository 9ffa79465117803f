#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <vector>

#include "path/path_finder.h"
#include "sim/driver.h"
#include "sim/internet.h"

/// Two finders behind simulated NATs, which know their own and each other's, with real searches for
/// ports in virtual time. For this folder's tests.
namespace openp2p::path::reach {

struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
  std::uint8_t hop_limit = 0;
};

/// A finder, and questions to a STUN server.
class Node {
 public:
  Node(sim::World& world, IceRole role, const Address& stun_server, SocketSource& sockets);

  void ask(SocketId socket) { question_from_ = socket; }
  // sim::Machine
  void on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint now);
  void on_timeout(TimePoint now) { finder.on_timeout(now); }
  std::optional<TimePoint> next_timeout() const { return finder.next_timeout(); }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint now);

  ProbeBudget probes;
  MethodHistory history;
  PathFinder finder;
  std::optional<Address> reflexive;
  std::uint64_t datagrams_sent = 0;  ///< By the finder.

 private:
  Address stun_server_;
  std::optional<SocketId> question_from_;
};

/// A node on a host; its driver is also where it gets its sockets.
class Party final : public SocketSource {
 public:
  Party(sim::World& world, sim::Host& host, IceRole role, const Address& stun_server);
  ~Party() override;

  // SocketSource, for UDP alone.
  std::optional<Opened> open_udp(bool is_v4) override;
  std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
    return std::nullopt;
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId socket) override;

  Node& node() { return *node_; }
  PathFinder& finder() { return node_->finder; }
  SocketId main_socket() const { return main_; }
  std::size_t open_sockets() const { return driver_->open_sockets(); }
  std::vector<Candidate> candidates();
  void ask();
  void poke() { driver_->poke(); }

  std::size_t sockets_max = 2'000;
  std::size_t sockets_peak = 0;

 private:
  Address local() { return driver_->socket(main_).local(); }

  std::unique_ptr<Node> node_;
  std::unique_ptr<sim::Driver<Node>> driver_;
  SocketId main_;
  bool is_ending_ = false;
};

struct Scene {
  sim::NatKind kinds[2] = {sim::NatKind::kPortRestricted, sim::NatKind::kPortRestricted};
  sim::LinkOptions line = {.delay = std::chrono::milliseconds(50), .loss = 0.01};
  Duration disturbance{};  ///< Every so often another host of each home opens a new mapping.
  Duration skew{};         ///< The second side begins later.
  /// How long before the beginning the NATs were measured.
  Duration profile_age = std::chrono::milliseconds(500);
  unsigned round = 0;
  MethodSet methods = MethodSet::all();
  bool has_v6 = false;
  bool tells_entries = true;  ///< Older nodes do not tell what is left of their budgets.
};

/// What a perfect survey says of the NAT of such a home.
nat::NatProfile profile_of(sim::NatKind kind, const Address& reflexive);

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Scene& scene);

  void meet();     ///< Measures, waits for the profile's age, and begins.
  void measure();  ///< Both learn their reflexive addresses, and what there is in `profiles`.
  void begin();    ///< Both are told of each other.
  void tell(int to);

  PathFinder& finder(int party) { return parties[party]->finder(); }
  bool is_joined() { return finder(0).selected() && finder(1).selected(); }
  bool run_until_joined(Duration at_most);
  Duration taken() const { return world.now() - met_at; }
  std::uint64_t packets();
  std::size_t conntrack();  ///< The most entries that one of the two routers ever had.

  sim::World world;
  sim::Internet internet;
  Scene scene;
  std::unique_ptr<sim::Home> homes[2];
  std::unique_ptr<Party> parties[2];
  SideProfile profiles[2];
  TimePoint met_at;

 private:
  Address stun_server();
  void serve();
  void gather(int party);
  void disturb(int party, sim::Host& host);

  std::unique_ptr<sim::Host> server_;
};

/// The figures of one pair of NATs over many seeds.
struct Figures {
  int runs = 0;
  int joined = 0;
  std::vector<Duration> times;
  std::vector<std::uint64_t> packets;
  std::size_t conntrack_max = 0;
  std::vector<std::uint64_t> missed;  ///< Seeds.

  template <class T>
  static T quantile(std::vector<T> values, double part) {
    if (values.empty()) return T{};
    std::ranges::sort(values);
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
  }
  double rate() const { return static_cast<double>(joined) / runs; }
  Duration median() const { return quantile(times, 0.5); }
  Duration p95() const { return quantile(times, 0.95); }
  Duration slowest() const { return quantile(times, 1); }
  std::uint64_t packets_median() const { return quantile(packets, 0.5); }
  std::uint64_t packets_max() const { return quantile(packets, 1); }
};

Figures measure(const Scene& scene, int runs, Duration at_most);
std::ostream& operator<<(std::ostream& out, const Figures& figures);

}  // namespace openp2p::path::reach
