#include <gtest/gtest.h>

#include "path/test_reach.h"

// This side has come to another network: what it sends before the peer knows may spoil the peer's
// NAT, which remembers what comes unasked.

namespace openp2p::path::reach {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

/// A laptop with a path to a NAS moves.
struct Move {
  explicit Move(NatKind peer, NatKind to = NatKind::kPortRestricted)
      : simulation(1, {.kinds = {NatKind::kPortRestricted, peer}, .line = {.delay = 20ms}}),
        cafe(simulation.internet, to, {.link = {.delay = 20ms}}) {
    simulation.meet();
    EXPECT_TRUE(simulation.run_until_joined(5s));
    simulation.world.run_for(2s);
  }
  void go(bool is_quiet) {
    simulation.homes[0]->host().move_to(cafe.lan(), cafe.host_options());
    if (is_quiet) laptop().be_quiet(now() + 1s);
    laptop().on_network_changed(now());
    simulation.parties[0]->poke();
  }
  /// Both know where the laptop is, and its new NAT.
  void tell() {
    simulation.parties[0]->node().reflexive.reset();
    simulation.measure();
    laptop().on_peer_told();
    simulation.begin();
  }
  std::size_t entries() { return simulation.homes[1]->router()->nat().flows(now()); }
  bool is_back(Duration at_most) {
    const IpAddress there = simulation.parties[0]->node().reflexive->ip;
    const auto has_path = [&] {
      const Path* path = simulation.finder(1).selected();
      return path != nullptr && path->remote.ip == there && !laptop().is_doubted();
    };
    return simulation.world.run_until(has_path, now() + at_most);
  }
  PathFinder& laptop() { return simulation.finder(0); }
  TimePoint now() { return simulation.world.now(); }

  Simulation simulation;
  sim::Home cafe;
};

TEST(PathFinderQuiet, NothingReachesATouchyNatBeforeThePeerKnows) {
  Move quiet(NatKind::kSymmetricPreserving), loud(NatKind::kSymmetricPreserving);
  const std::size_t before = quiet.entries();

  quiet.go(/*is_quiet=*/true);
  loud.go(/*is_quiet=*/false);
  quiet.simulation.world.run_for(900ms);
  loud.simulation.world.run_for(900ms);

  EXPECT_EQ(quiet.entries(), before);
  EXPECT_GT(loud.entries(), before) << "that is what spoils it";
}

TEST(PathFinderQuiet, BothAreBackSoonAfterThePeerWasTold) {
  for (const NatKind to : {NatKind::kPortRestricted, NatKind::kSymmetricPreserving}) {
    SCOPED_TRACE(sim::nat_kind_text(to));
    Move move(NatKind::kSymmetricPreserving, to);
    move.go(/*is_quiet=*/true);

    move.tell();

    EXPECT_TRUE(move.is_back(400ms));
  }
}

TEST(PathFinderQuiet, EndsByItselfWhereNobodyCanTellThePeer) {
  Move move(NatKind::kSymmetricPreserving);
  const Path path = *move.laptop().selected();
  const std::size_t before = move.entries();

  move.go(/*is_quiet=*/true);

  EXPECT_EQ(move.laptop().closed_until(path, move.now()), move.now() + 1s);
  move.simulation.world.run_for(1200ms);
  EXPECT_EQ(move.laptop().closed_until(path, move.now()), std::nullopt);
  EXPECT_GT(move.entries(), before);
}

TEST(PathFinderQuiet, NatsThatForgetWhatComesUnaskedAreAskedAtOnce) {
  Move move(NatKind::kPortRestricted);
  const Path path = *move.laptop().selected();

  move.go(/*is_quiet=*/true);

  EXPECT_EQ(move.laptop().closed_until(path, move.now()), std::nullopt);
}

TEST(PathFinderQuiet, APeerThatComesFirstIsAnsweredAtOnce) {
  Move move(NatKind::kSymmetricPreserving);
  const Path path = *move.laptop().selected();

  move.laptop().be_quiet(move.now() + 1s);  // The network is the same after all.
  move.simulation.finder(1).on_network_changed(move.now());
  move.simulation.parties[1]->poke();
  move.simulation.world.run_for(100ms);

  EXPECT_EQ(move.laptop().closed_until(path, move.now()), std::nullopt);
}

}  // namespace
}  // namespace openp2p::path::reach
