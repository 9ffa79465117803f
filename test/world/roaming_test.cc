// A laptop with an open session moves to another network: another address, another NAT, the same
// streams. How soon data flows again, both ways.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "test/world/applications.h"
#include "test/world/reach.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kService = 80;
constexpr std::uint16_t kLocal = 8'080;
constexpr Duration kBackWithin = 1s;

enum class Relay { kNone, kServer };
std::uint64_t seeds(Relay relay) { return relay == Relay::kNone ? 20 : 10; }

struct Move {
  NatKind from;
  NatKind to;
  NatKind peer;
};
std::string text_of(const Move& move) {
  return std::string(nat_kind_text(move.from)) + " => " + std::string(nat_kind_text(move.to)) +
         ", peer: " + std::string(nat_kind_text(move.peer));
}

/// A laptop with a connection to a NAS, which both sides use.
class RoamingWorld {
 public:
  RoamingWorld(const Move& move, std::uint64_t seed, Relay relay)
      : net_({move.from, move.peer}, seed, {.server_mbit = relay == Relay::kServer ? 100U : 0U}),
        cafe_(net_.internet(), move.to, /*has_mapping=*/false, {.delay = 25ms, .loss = 0.005}) {}

  bool connect() {
    if (!net_.settle() || net_.a().forward("web", "nas", kService, kLocal)) return false;
    net_.b().platform().serve(kService, [this](sim::PipeEnd& end) { nas_.emplace(end); });
    laptop_.emplace(*net_.a().platform().connect(kLocal));
    if (!until([&] { return nas_.has_value(); }, 20s)) return false;
    net_.world().run_for(3s);
    return exchange(5s).has_value();
  }
  /// How long a byte each way takes from now on; nullopt: longer than `patience`.
  std::optional<Duration> exchange(Duration patience) {
    const TimePoint begin = net_.world().now();
    const std::size_t laptop = laptop_->heard() + 1;
    const std::size_t nas = nas_->heard() + 1;
    EXPECT_TRUE(laptop_->say() && nas_->say());
    const auto is_heard = [&] { return laptop_->heard() >= laptop && nas_->heard() >= nas; };
    if (!until(is_heard, patience)) return std::nullopt;
    return net_.world().now() - begin;
  }
  void move() { go_to(cafe_.home()); }
  /// From its radio to a cable: another address behind the same router.
  void move_within() { go_to(net_.home_a().home()); }
  /// A second interface comes up, and all packets go by the first as before.
  void plug_in() { net_.home_a().host().attach(cafe_.home().lan(), cafe_.home().host_options()); }

  bool is_intact() const { return !laptop_->is_over() && !nas_->is_over(); }

 private:
  void go_to(sim::Home& home) { net_.home_a().host().move_to(home.lan(), home.host_options()); }
  template <class Done>
  bool until(Done done, Duration patience) {
    return net_.world().run_until(done, net_.world().now() + patience);
  }

  ReachWorld net_;
  ReachHome cafe_;
  std::optional<Talker> nas_, laptop_;
};

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

/// How long each of the moves took, in order.
void measure(const Move& move, Relay relay, std::vector<Duration>& took) {
  for (std::uint64_t seed = 1; seed <= seeds(relay); ++seed) {
    SCOPED_TRACE(text_of(move) + ", seed " + std::to_string(seed));
    RoamingWorld net(move, seed, relay);
    ASSERT_TRUE(net.connect());

    net.move();

    const std::optional<Duration> back = net.exchange(20s);
    ASSERT_TRUE(back);
    EXPECT_TRUE(net.is_intact());
    took.push_back(*back);
  }
  std::ranges::sort(took);
  std::printf("%-90s median %.2f s, max %.2f s\n", text_of(move).c_str(),
              seconds(took[took.size() / 2]), seconds(took.back()));
}

/// So many of them may take longer: a datagram in a hundred is lost, and one that mattered
/// is asked again only after a while.
void expect_back_soon(const Move& move, Relay relay, std::size_t late_max) {
  std::vector<Duration> took;
  measure(move, relay, took);
  if (testing::Test::HasFatalFailure()) return;
  const auto late = std::ranges::count_if(took, [](Duration d) { return d > kBackWithin; });
  EXPECT_LE(static_cast<std::size_t>(late), late_max)
      << text_of(move) << ": " << seconds(took.back()) << " s";
}
constexpr std::size_t kOneInTwenty = 1;

bool is_port_filtering(NatKind kind) {
  return kind == NatKind::kPortRestricted || kind == NatKind::kSymmetricPreserving ||
         kind == NatKind::kDoubleNat;
}

/// No search is needed between any two of them.
std::vector<NatKind> kept_ports() {
  std::vector<NatKind> kinds(sim::kEimNatKinds.begin(), sim::kEimNatKinds.end());
  kinds.push_back(NatKind::kSymmetricPreserving);
  return kinds;
}

TEST(Roaming, ALaptopIsBackWithinASecond) {
  for (const NatKind to : kept_ports()) {
    for (const NatKind peer : kept_ports()) {
      expect_back_soon({NatKind::kPortRestricted, to, peer}, Relay::kNone, kOneInTwenty);
    }
  }
}

TEST(Roaming, ALaptopIsBackWithinASecondBehindAnyNatWhereThePeerIsOpen) {
  for (const NatKind to : sim::kNatKinds) {
    if (to == NatKind::kUdpBlocked) continue;
    for (const NatKind peer : {NatKind::kNone, NatKind::kFullCone}) {
      expect_back_soon({NatKind::kFullCone, to, peer}, Relay::kNone, kOneInTwenty);
    }
  }
}

TEST(Roaming, ALaptopComesBackFromAnywhere) {
  for (const NatKind from : sim::kNatKinds) {
    if (from == NatKind::kUdpBlocked) continue;
    for (const NatKind peer : {NatKind::kAddressRestricted, NatKind::kSymmetricPreserving}) {
      expect_back_soon({from, NatKind::kPortRestricted, peer}, Relay::kNone, kOneInTwenty);
    }
  }
}

/// The peer's NAT might be spoilt, had this been a move. So the laptop waits until the peer asks it
/// where it was, or the server says that it sees it there: not for all of the second that is the
/// limit.
TEST(Roaming, AnInterfaceThatChangesNothingHoldsASessionUpForAMomentAlone) {
  for (std::uint64_t seed = 1; seed <= seeds(Relay::kNone); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RoamingWorld net(
        {NatKind::kPortRestricted, NatKind::kPortRestricted, NatKind::kSymmetricPreserving}, seed,
        Relay::kNone);
    ASSERT_TRUE(net.connect());

    net.plug_in();

    EXPECT_TRUE(net.exchange(600ms));
    EXPECT_TRUE(net.is_intact());
  }
}

/// The router still has the mappings of the old address. One that preserves ports gives the new one
/// others towards the same peer, so that a peer whose NAT filters ports has to search.
TEST(Roaming, ALaptopKeepsItsConnectionsBehindTheSameRouter) {
  constexpr Duration kSearch = 8s;  // Half of them take 3 s.
  for (const NatKind here : kept_ports()) {
    for (const NatKind peer : kept_ports()) {
      const bool is_searched = here == NatKind::kSymmetricPreserving && is_port_filtering(peer);
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        SCOPED_TRACE(text_of({here, here, peer}) + ", seed " + std::to_string(seed));
        RoamingWorld net({here, here, peer}, seed, Relay::kNone);
        ASSERT_TRUE(net.connect());

        net.move_within();

        EXPECT_TRUE(net.exchange(is_searched ? kSearch : kBackWithin));
        EXPECT_TRUE(net.is_intact());
      }
    }
  }
}

/// Whatever the two NATs are like, also where nothing direct can work or a search takes seconds:
/// the session goes on over the server, and from there to a better path.
TEST(Roaming, ARelayCarriesWithinASecondWhereverTheLaptopGoes) {
  for (const NatKind to : sim::kNatKinds) {
    if (to == NatKind::kUdpBlocked) continue;
    for (const NatKind peer : sim::kNatKinds) {
      expect_back_soon({NatKind::kPortRestricted, to, peer}, Relay::kServer, /*late_max=*/0);
    }
  }
}

/// Into a network without UDP: TCP to the server comes first.
TEST(Roaming, ARelayCarriesWithinASecondWhereUdpIsBlocked) {
  for (const NatKind peer : sim::kNatKinds) {
    expect_back_soon({NatKind::kPortRestricted, NatKind::kUdpBlocked, peer}, Relay::kServer,
                     /*late_max=*/0);
  }
}

/// Those whose TCP ports can be told beforehand.
constexpr NatKind kTcpKinds[] = {NatKind::kNone,
                                 NatKind::kFullCone,
                                 NatKind::kAddressRestricted,
                                 NatKind::kPortRestricted,
                                 NatKind::kSymmetricSequential,
                                 NatKind::kSymmetricPreserving,
                                 NatKind::kDoubleNat,
                                 NatKind::kUdpBlocked};

TEST(Roaming, ALaptopIsBackWithinASecondByTcpWhereUdpIsBlocked) {
  for (const NatKind peer : kTcpKinds) {
    expect_back_soon({NatKind::kPortRestricted, NatKind::kUdpBlocked, peer}, Relay::kNone,
                     kOneInTwenty);
  }
}

/// The old path goes over TCP as well. Of two connections' worth of SYNs one is lost now and then,
/// and what is up at one end only is waited for.
TEST(Roaming, ALaptopIsBackWithinASecondByTcpWhereThePeerHasNoUdp) {
  constexpr std::size_t kTwoInTwenty = 2;
  for (const NatKind to : {NatKind::kNone, NatKind::kPortRestricted, NatKind::kSymmetricSequential,
                           NatKind::kDoubleNat}) {
    expect_back_soon({NatKind::kPortRestricted, to, NatKind::kUdpBlocked}, Relay::kNone,
                     kTwoInTwenty);
  }
}

struct Kinds {
  NatKind to;
  NatKind peer;
};

/// Pairs in which one side's NAT maps each destination to another port, and both can meet.
std::vector<Kinds> hard_pairs() {
  constexpr NatKind kMoving[] = {NatKind::kSymmetricSequential, NatKind::kSymmetricBlocks};
  constexpr NatKind kFixed[] = {NatKind::kAddressRestricted, NatKind::kPortRestricted,
                                NatKind::kSymmetricPreserving, NatKind::kDoubleNat};
  std::vector<Kinds> pairs{{NatKind::kSymmetricSequential, NatKind::kSymmetricSequential}};
  for (const NatKind moving : kMoving) {
    for (const NatKind fixed : kFixed) {
      pairs.push_back({moving, fixed});
      pairs.push_back({fixed, moving});
    }
  }
  return pairs;
}

TEST(Roaming, ALaptopIsBackWithinASecondWherePortsMustBeFound) {
  for (const Kinds& kinds : hard_pairs()) {
    expect_back_soon({NatKind::kPortRestricted, kinds.to, kinds.peer}, Relay::kNone, kOneInTwenty);
  }
}

}  // namespace
}  // namespace openp2p::test
