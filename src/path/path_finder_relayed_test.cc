#include <gtest/gtest.h>

#include "path/test_world.h"

/// What a relay is to a session: a path at once, the last choice, and no reason to stop looking.
namespace openp2p::path::test {
namespace {

using namespace std::chrono_literals;

/// Two homes with full-cone NATs, and a relay that both have allocated.
struct RelayedPair {
  explicit RelayedPair(std::uint64_t seed) : world(seed) {
    for (int i = 0; i < 2; ++i) {
      const auto byte = static_cast<std::uint8_t>(i + 1);
      Router* nat = world.add_router({.external = IpAddress::v4(203, 0, 113, byte)});
      world.add_socket(i, address(i == 0 ? "192.168.1.2:27183" : "192.168.7.3:27183"), nat);
      world.gather(i);  // What a relay gave is no candidate of one's own.
      world.party(i).sockets.push_back({kSocket, relayed(i), nullptr});
    }
    world.drop = [this](const Flight& flight) {
      const bool is_relayed_one = flight.to.ip.is_v6();
      return is_relayed_one ? is_relay_dead : is_direct_dead;
    };
  }
  static Address relayed(int party) { return address(party == 0 ? "[100::1]:1" : "[100::2]:1"); }
  void tell() {
    world.tell(0);
    world.tell(1);
  }
  void allocate(unsigned rank = 0) {
    for (int i = 0; i < 2; ++i) {
      world.finder(i).add_relayed({kSocket, relayed(1 - i)}, world.now(), rank);
      world.settle(i);
    }
  }
  void add_second_relay(unsigned rank) {
    const SocketId socket(kSocket.value() + 1);
    const Address at[] = {address("[100::3]:1"), address("[100::4]:1")};
    for (int i = 0; i < 2; ++i) world.party(i).sockets.push_back({socket, at[i], nullptr});
    for (int i = 0; i < 2; ++i) {
      world.finder(i).add_relayed({socket, at[1 - i]}, world.now(), rank);
      world.settle(i);
    }
  }
  bool are_both(bool is_over_relay) {
    if (!world.both_selected()) return false;
    return is_relayed(world.finder(0).selected()->socket) == is_over_relay &&
           is_relayed(world.finder(1).selected()->socket) == is_over_relay;
  }
  void begin_round(unsigned round) {
    for (int i = 0; i < 2; ++i) {
      world.finder(i).set_profiles({}, {}, round, world.now(), world.now());
      world.settle(i);
    }
  }
  /// As data does that flows all the time.
  bool keeps_talking_until(const std::function<bool()>& is_done, Duration at_most) {
    for (Duration passed{}; passed < at_most; passed += 50ms) {
      world.send_data(0);
      world.send_data(1);
      if (world.run_until(is_done, 50ms)) return true;
    }
    return false;
  }

  static constexpr SocketId kSocket{kRelayedSocketFirst + 7};
  World world;
  bool is_direct_dead = false;
  bool is_relay_dead = false;
};

TEST(PathFinderRelayed, IsUsedAtOnceAndLeftForADirectPath) {
  RelayedPair pair(1);
  pair.allocate();
  EXPECT_TRUE(pair.are_both(/*is_over_relay=*/true));
  EXPECT_EQ(pair.world.finder(0).reason(), ReasonCode::kChecking);

  pair.tell();

  EXPECT_TRUE(pair.world.run_until([&] { return pair.are_both(false); }, 1s));
  pair.world.run_for(5s);
  EXPECT_EQ(pair.world.finder(0).reason(), ReasonCode::kNone);
}

TEST(PathFinderRelayed, GoesOnTellingWhyThereIsNoDirectPath) {
  RelayedPair pair(2);
  pair.is_direct_dead = true;
  pair.tell();
  pair.allocate();

  pair.world.run_for(20s);

  EXPECT_TRUE(pair.are_both(true));
  EXPECT_FALSE(pair.world.finder(0).is_failed());
  EXPECT_EQ(pair.world.finder(0).reason(), ReasonCode::kNoAnswer);
}

TEST(PathFinderRelayed, AFurtherRoundFindsADirectPathThatCameToBe) {
  RelayedPair pair(3);
  pair.is_direct_dead = true;
  pair.tell();
  pair.begin_round(0);
  pair.allocate();
  pair.world.run_for(20s);
  pair.is_direct_dead = false;

  pair.begin_round(1);

  EXPECT_TRUE(pair.world.run_until([&] { return pair.are_both(false); }, 1s));
}

TEST(PathFinderRelayed, TakesOverWhenTheDirectPathDiesAndGivesBack) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RelayedPair pair(seed);
    pair.allocate();
    pair.tell();
    ASSERT_TRUE(pair.world.run_until([&] { return pair.are_both(false); }, 1s));
    pair.world.run_for(5s);

    pair.is_direct_dead = true;
    EXPECT_TRUE(pair.keeps_talking_until([&] { return pair.are_both(true); }, 2500ms));
    pair.is_direct_dead = false;

    EXPECT_TRUE(pair.keeps_talking_until([&] { return pair.are_both(false); }, 10s));
  }
}

TEST(PathFinderRelayed, ARelayThatCarriesNothingIsLeft) {
  RelayedPair pair(4);
  pair.is_relay_dead = true;
  pair.is_direct_dead = true;
  pair.allocate();
  pair.tell();

  EXPECT_TRUE(
      pair.keeps_talking_until([&] { return pair.world.finder(0).selected() == nullptr; }, 3s));
  pair.is_direct_dead = false;
  EXPECT_TRUE(pair.keeps_talking_until([&] { return pair.are_both(false); }, 10s));
}

TEST(PathFinderRelayed, TheMoreWelcomeRelayIsUsedWheneverItComes) {
  RelayedPair pair(6);
  pair.is_direct_dead = true;
  pair.tell();
  pair.allocate(/*rank=*/2);
  pair.world.run_for(3s);
  ASSERT_TRUE(pair.are_both(true));
  const Path before = *pair.world.finder(0).selected();

  pair.add_second_relay(/*rank=*/0);

  ASSERT_TRUE(pair.world.run_until([&] { return *pair.world.finder(0).selected() != before; }, 5s));
  pair.world.run_for(60s);
  EXPECT_NE(*pair.world.finder(0).selected(), before);
  EXPECT_LE(pair.world.finder(0).counters().switches, 1U);
}

TEST(PathFinderRelayed, EndsWithItsSocketAndLeavesNoPlaceTaken) {
  RelayedPair pair(5);
  for (std::uint32_t i = 0; i < 100; ++i) {
    const SocketId socket(kRelayedSocketFirst + i);
    const Address remote{RelayedPair::relayed(1).ip, static_cast<std::uint16_t>(i + 1)};
    pair.world.finder(0).add_relayed({socket, remote}, pair.world.now());
    ASSERT_NE(pair.world.finder(0).selected(), nullptr);

    pair.world.finder(0).remove_socket(socket, pair.world.now());
    ASSERT_EQ(pair.world.finder(0).selected(), nullptr);
  }
  EXPECT_TRUE(pair.world.finder(0).report().empty());
}

}  // namespace
}  // namespace openp2p::path::test
