#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "path/path_finder.h"

/// A small internet for two finders in virtual time: sockets behind NATs and firewalls, delay,
/// jitter, loss, and hooks for what an attacker or a cut cable does. For this folder's tests and
/// fuzz target.
namespace openp2p::path::test {

enum class Filtering { kNone, kAddress, kPort };  // RFC 4787 section 5.

/// Endpoint-independent mapping (RFC 4787 section 4.1), or, with `is_firewall`, no mapping at all.
class Router {
 public:
  struct Options {
    IpAddress external;
    Filtering filtering = Filtering::kPort;
    bool is_firewall = false;
    bool has_hairpin = false;
    Duration timeout = std::chrono::seconds(60);
    Duration delay = std::chrono::milliseconds(10);  ///< From a host behind it to the middle.
  };
  explicit Router(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }
  Address outbound(const Address& inside, const Address& to, TimePoint now);
  std::optional<Address> inbound(const Address& outside, const Address& from, TimePoint now);
  void reboot();  ///< Forgets all mappings; new ones get other ports.
  void set_external(IpAddress external) { options_.external = external; }

 private:
  struct Mapping {
    Address outside;
    std::map<Address, TimePoint> peers;
    TimePoint used_at;
  };
  Options options_;
  std::uint16_t next_port_ = 40000;
  std::map<Address, Mapping> mappings_;  // By inside address.
};

struct Socket {
  SocketId id;
  Address address;
  Router* router = nullptr;  ///< nullptr: on the public internet.
  bool is_fan = false;       ///< Opened by the finder for a search.
};

/// One party: a finder, its sockets, and a driver's loop.
struct Party {
  std::unique_ptr<PathFinder> finder;
  std::vector<Socket> sockets;
  std::optional<TimePoint> armed_for;
  int wakeups = 0;
  TimePoint last_wakeup = TimePoint::min();
  int data_received = 0;
  std::optional<TimePoint> first_selected_at;
};

struct Flight {
  Address from;  ///< As seen on the public internet.
  Address to;
  Bytes bytes;
};

class World {
 public:
  static constexpr std::size_t kFanMax = 48;  ///< What this world's systems give a finder.

  explicit World(std::uint64_t seed);
  ~World();

  Router* add_router(const Router::Options& options);
  /// Party 0 controls, party 1 is controlled.
  Party& party(int index) { return parties_[static_cast<std::size_t>(index)]; }
  PathFinder& finder(int index) { return *party(index).finder; }
  const Socket& add_socket(int party, const Address& address, Router* router);
  /// Host and, behind a NAT, server-reflexive candidates of all sockets, to both finders.
  void gather(int party);
  void tell(int from_party);  ///< Gives the peer what was gathered.
  void gather_and_tell();

  void run_for(Duration duration);
  bool run_until(const std::function<bool()>& is_done, Duration at_most);
  bool both_selected() { return finder(0).selected() && finder(1).selected(); }
  void send_data(int party);  ///< Over the selected path; the peer answers over its own.
  void inject(int party, SocketId socket, const Address& from, ByteView bytes);
  void settle(int party);  ///< A driver's loop after an input: poll all, arm the timer.
  void remove_socket(int party, SocketId socket);

  TimePoint now() const { return now_; }
  Random& random() { return random_; }
  std::vector<Candidate> gathered(int party) const {
    return gathered_[static_cast<std::size_t>(party)];
  }

  double loss = 0;
  std::size_t datagram_bytes_max = 1472;  ///< Larger ones disappear.
  Duration jitter{};
  /// True: the datagram disappears in the middle.
  std::function<bool(const Flight&)> drop;
  std::function<Duration(const Flight&)> extra_delay;
  std::function<void(const Flight&)> tap;
  std::map<Address, int> strays;  ///< Datagrams to addresses where nobody of this world is.
  std::uint64_t trace = 0;        ///< A hash over everything sent: equal seeds, equal traces.

 private:
  /// A finder's further sockets are behind the router of its first one.
  class Sockets final : public SocketSource {
   public:
    Sockets(World& world, int index) : world_(world), index_(index) {}
    std::optional<Opened> open_udp(bool is_v4) override;
    std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
      return std::nullopt;
    }
    std::uint16_t listen_tcp() override { return 0; }
    void close(SocketId socket) override;

   private:
    World& world_;
    int index_;
  };

  void at(TimePoint time, std::function<void()> action);
  void send(const Socket& socket, const Address& to, ByteView bytes);
  void arrive(const Flight& flight, const Router* origin);
  void deliver(int party, const Socket& socket, const Address& from, ByteView bytes);
  bool deliver_to(const Address& inside, const Router* router, const Address& from, ByteView bytes);
  void wake(int party);
  void on_timer(int party);

  TimePoint now_{};
  Random random_;
  std::uint64_t sequence_ = 0;
  std::uint32_t next_socket_ = 1;
  std::map<std::pair<TimePoint, std::uint64_t>, std::function<void()>> events_;
  std::vector<std::unique_ptr<Router>> routers_;
  std::array<Sockets, 2> sources_{Sockets(*this, 0), Sockets(*this, 1)};
  std::array<ProbeBudget, 2> probes_;
  std::uint16_t next_fan_port_ = 50'000;
  std::array<Party, 2> parties_;
  std::array<std::vector<Candidate>, 2> gathered_;
};

/// The config of a party of a World, for making messages by hand.
PathFinderConfig config_of(int party);
/// A check as the finder of `from_party` would send it.
Bytes make_check(int from_party, std::uint64_t number, bool is_nomination, ByteView key);

inline Address address(const char* text) { return *Address::parse(text); }

}  // namespace openp2p::path::test
