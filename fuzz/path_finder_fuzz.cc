#include <algorithm>
#include <span>

#include "base/check.h"
#include "path/test_world.h"
#include "wire/codec.h"

/// Two finders talk while the input picks what happens to them: time, losses, reboots, lost
/// sockets, lying candidates, copies, garbage and, in some inputs, a peer that lies with the right
/// key. Laws: limits hold, no deadline spins, Ta bounds what is sent; and once honest faults end,
/// both have a path again.
namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

// Short lives, so that many are tried: what takes minutes is left to the simulations.
constexpr int kOperationsMax = 60;
constexpr int kPauseMax = 8;  ///< s.
/// Operations that make a finder meet addresses; it takes in 32 at once (CheckList).
constexpr int kNewAddressesMax = 16;

class Schedule {
 public:
  explicit Schedule(ByteView input) : in_(input), world_(byte()) {
    knows_key_ = byte() % 4 == 0;
    world_.loss = byte() / 1024.0;
    world_.tap = [this](const Flight& flight) {
      if (seen_.size() < 64) seen_.push_back(flight);
    };
    for (int i = 0; i < 2; ++i) add_home(i);
    world_.gather_and_tell();
  }

  void run() {
    for (int i = 0; i < kOperationsMax && !in_.empty(); ++i) {
      operate();
      if (i % 4 == 0) check_limits();
    }
    check_limits();
    if (!knows_key_) check_recovery();
  }

 private:
  std::uint8_t byte() {
    const auto value = in_.u8();
    return value ? *value : std::uint8_t{0};
  }
  int some_party() { return byte() % 2; }
  Address some_address() {
    static constexpr std::array kFirst{10, 127, 192, 198, 203, 224, 255, 0};
    const auto first = static_cast<std::uint8_t>(kFirst[byte() % kFirst.size()]);
    return {IpAddress::v4(first, 0, 113, byte()), static_cast<std::uint16_t>(byte() * 100)};
  }

  void add_home(int party) {
    const auto number = static_cast<std::uint8_t>(party + 1);
    routers_[party] = world_.add_router({.external = IpAddress::v4(203, 0, 113, number),
                                         .filtering = static_cast<Filtering>(byte() % 3)});
    firewalls_[party] = world_.add_router({.external = {}, .is_firewall = true});
    world_.add_socket(party, {IpAddress::v4(192, 168, number, 2), 1000}, routers_[party]);
    const Address v6 = address(party == 0 ? "[2001:db8:1::2]:1" : "[2001:db8:2::2]:1");
    world_.add_socket(party, v6, firewalls_[party]);
  }

  void operate() {
    const int party = some_party();
    const std::uint8_t operation = byte();
    const bool is_elsewhere = operation >= 128;
    switch (operation % 13) {
      case 0:
        return world_.run_for(byte() * 10ms);
      case 1:
        return world_.run_for(byte() % kPauseMax * 1s);
      case 2:
        return world_.send_data(party);
      case 3:
        return cut(byte());
      case 4:
        return may_show_addresses() ? routers_[party]->reboot() : void();
      case 5:
        return may_show_addresses() ? lie(party) : void();
      case 6:
        return may_show_addresses() ? replay(party) : void();
      case 7:
        return forge(party);
      case 8:
        if (is_elsewhere) world_.finder(party).be_quiet(world_.now() + 1s);
        world_.finder(party).on_network_changed(world_.now());
        return world_.settle(party);
      case 9:
        world_.gather(party);
        return world_.tell(party);
      case 10:  // Late, early and repeated calls are legal.
        world_.finder(party).on_timeout(world_.now() + byte() * 1ms);
        return world_.settle(party);
      case 11:
        return lose_ipv6(party);
      case 12:
        if (is_elsewhere) world_.finder(party).on_peer_told();
        return plan(party);
    }
  }

  bool may_show_addresses() { return knows_key_ || addresses_shown_++ < kNewAddressesMax; }

  nat::NatProfile some_profile() {
    nat::NatProfile profile;
    profile.mapping = static_cast<nat::Dependence>(byte() % 5);
    profile.filtering = static_cast<nat::Dependence>(byte() % 5);
    profile.allocation = static_cast<nat::PortAllocation>(byte() % 5);
    profile.external = byte() % 2 == 0 ? some_address().ip : IpAddress::v4(203, 0, 113, byte() % 3);
    profile.last_port = static_cast<std::uint16_t>(byte() * 257);
    profile.step = (byte() - 128) * (byte() % 2 == 0 ? 1 : 0x100'0000 - 1);
    profile.block = {static_cast<std::uint16_t>(byte() * 257),
                     static_cast<std::uint16_t>(byte() * 257)};
    const std::uint8_t flags = byte();
    profile.is_translated = (flags & 1) != 0;
    profile.is_blocked = (flags & 6) == 6;
    profile.is_spoilt_by_unsolicited = (flags & 8) != 0;
    return profile;
  }

  /// Words about NATs that fit nothing, and that each side has others of.
  void plan(int party) {
    SideProfile own;
    SideProfile peer;
    own.udp = some_profile();
    peer.udp = some_profile();
    peer.methods = MethodSet::from_bits(byte());
    const TimePoint go_at = world_.now() + (byte() - 128) * 100ms;
    world_.finder(party).set_profiles(own, peer, byte(), go_at, world_.now());
    world_.settle(party);
  }

  void cut(std::uint8_t which) {
    world_.drop = [which](const Flight& flight) {
      const bool is_first_way = flight.to.ip.bytes()[15] % 2 == 0;
      return ((which & 1) && flight.to.ip.is_v4() && is_first_way) ||
             ((which & 2) && flight.to.ip.is_v4() && !is_first_way) ||
             ((which & 4) && flight.to.ip.is_v6());
    };
  }

  void lie(int party) {
    const auto type = static_cast<CandidateType>(byte() % 5);
    world_.finder(party).add_remote({type, some_address(), {}}, world_.now());
    world_.settle(party);
  }

  SocketId socket_of(int party) { return world_.party(party).sockets.front().id; }

  void replay(int party) {
    if (seen_.empty()) return;
    Bytes copy = seen_[byte() % seen_.size()].bytes;
    const std::uint8_t place = byte();
    if (place < copy.size()) copy[place] ^= static_cast<std::byte>(byte());
    world_.inject(party, socket_of(party), some_address(), copy);
  }

  void forge(int party) {
    const Bytes wrong(32, std::byte{byte()});
    const auto key = config_of(party).check_key;
    const Bytes check = make_check(1 - party, byte() * 1000u, byte() % 2 == 0,
                                   knows_key_ ? ByteView(key) : ByteView(wrong));
    world_.inject(party, socket_of(party), some_address(), check);
  }

  void lose_ipv6(int party) {
    const auto& sockets = world_.party(party).sockets;  // Those of a fan, which IPv4 has, are last.
    const auto lost = std::ranges::find_if(
        sockets, [](const Socket& socket) { return !socket.address.ip.is_v4(); });
    if (lost != sockets.end()) world_.remove_socket(party, SocketId(lost->id));
  }

  void check_limits() {
    for (int i = 0; i < 2; ++i) {
      const auto report = world_.finder(i).report();
      CHECK(report.size() <= PathFinder::kPairsMax);
      const auto selected = std::ranges::count(report, "selected", &PairReport::state);
      CHECK(selected == (world_.finder(i).selected() == nullptr ? 0 : 1));
      const auto ticks = static_cast<std::uint64_t>(world_.now().time_since_epoch() / 20ms);
      const PathFinder::Counters& counters = world_.finder(i).counters();
      CHECK(counters.checks_sent <= 10 + ticks + 1);
      const auto probe_ticks =
          static_cast<std::uint64_t>(world_.now().time_since_epoch() / ProbeBudget::kPacketGap);
      CHECK(counters.probes_sent <= ProbeBudget::kPacketBurst + probe_ticks + 1);
      CHECK(world_.finder(i).timeline().size() <= Timeline::kEntriesMax);
    }
  }

  void check_recovery() {
    world_.drop = nullptr;
    world_.loss = 0;
    for (int i = 0; i < 2; ++i) {  // All methods are allowed again.
      world_.finder(i).set_profiles({}, {}, 0, world_.now(), world_.now());
    }
    world_.run_for(20s);  // Each address may be asked a few times again, whatever was spent.
    world_.gather_and_tell();
    world_.run_for(20s);
    CHECK(world_.both_selected());
  }

  Reader in_;
  World world_;
  bool knows_key_ = false;
  int addresses_shown_ = 0;
  Router* routers_[2] = {};
  Router* firewalls_[2] = {};
  std::vector<Flight> seen_;
};

}  // namespace
}  // namespace openp2p::path::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  openp2p::path::test::Schedule(std::as_bytes(std::span(data, size))).run();
  return 0;
}
