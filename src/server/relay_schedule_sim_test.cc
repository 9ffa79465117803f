#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"
#include "server/relay_roster.h"

/// The schedule against two others that could be had for less: any relay, and the nearest one. All
/// three see the same world: relays on a map, with caps, own traffic, loss, absences and lies, and
/// pairs that come, download for some minutes, and leave. The schedule knows what a server knows
/// (RelayRoster); the nearest is found by true round trips, which is more than anybody knows.
namespace openp2p::server {
namespace {

using namespace std::chrono_literals;

enum class Policy { kRandom, kNearest, kSchedule, kAllKnowing };

constexpr Duration kStep = 10s;
constexpr int kHours = 6;
constexpr std::size_t kRelays = 60;
constexpr std::size_t kNetworks = 40;
constexpr double kPairsPerStep = 1.0;
/// From when on goodput counts: before, nobody knows anything.
constexpr int kWarmUpSteps = 60;

double normal(Random& random) {
  double sum = -6;  // Irwin and Hall: twelve uniform numbers are near enough.
  for (int i = 0; i < 12; ++i) sum += random.fraction();
  return sum;
}

NodeId node_id(std::size_t number) {
  NodeId id;
  id.key[0] = std::byte(number >> 8);
  id.key[1] = std::byte(number & 255);
  return id;
}

/// A place on a map whose unit is a millisecond of round trip; the server is at 0, 0.
struct Place {
  double x = 0;
  double y = 0;
  static Place draw(Random& random) {
    static constexpr Place kContinents[] = {{-60, 20}, {50, 40}, {20, -70}, {0, 10}};
    const Place& at = kContinents[random.below(4)];
    return {at.x + 12 * normal(random), at.y + 12 * normal(random)};
  }
  Duration rtt(const Place& to) const {
    const double ms = 5 + std::hypot(x - to.x, y - to.y);  // 5 ms of access lines.
    return std::chrono::microseconds(std::llround(ms * 1000));
  }
};

struct Relay {
  NodeId id;
  Place place;
  double cap_bits = 0;
  double own_bits = 0;
  double loss = 0;
  double leaves_per_hour = 0;
  bool is_liar = false;  ///< Claims 200 Mbit/s and no load, and carries a twentieth of its cap.
  int away_steps = 0;
  std::vector<std::size_t> users;

  double carried_bits() const { return is_liar ? cap_bits / 20 : cap_bits - own_bits; }
};

struct Pair {
  NodeId id;  ///< Of the end that reports.
  NodeId peer;
  Place one;
  Place other;
  double line_bits = 0;
  int steps_left = 0;
  int steps = 0;
  int stalled_steps = 0;  ///< While it looks for another relay.
  double bits = 0;
  bool is_counted = false;
  std::size_t relay = kRelays;  ///< kRelays: none.
};

class World {
 public:
  World(std::uint64_t seed, Policy policy) : policy_(policy), random_(seed), choices_(seed) {
    for (std::size_t i = 0; i < kRelays; ++i) add_relay(i);
  }

  /// Goodput of each pair, Mbit/s.
  std::vector<double> run() {
    const int steps = kHours * 360;
    for (int step = 0; step < steps; ++step) {
      now_ += kStep;
      for (std::size_t i = 0; i < kRelays; ++i) churn(i);
      if (step % 6 == 0) offer_all();
      if (random_.chance(kPairsPerStep)) add_pair(/*is_counted=*/step >= kWarmUpSteps);
      assign();
      for (Pair& pair : pairs_) carry(pair);
      finish();
      assign();
    }
    return goodputs_;
  }

 private:
  void add_relay(std::size_t number) {
    Relay relay;
    relay.id = node_id(number);
    relay.place = Place::draw(random_);
    relay.cap_bits = std::clamp(10e6 * std::exp(0.9 * normal(random_)), 1e6, 100e6);
    relay.own_bits = relay.cap_bits * 0.6 * random_.fraction();
    relay.loss = random_.chance(0.15) ? 0.01 + 0.03 * random_.fraction() : 1e-5;
    relay.leaves_per_hour = random_.chance(0.2) ? 4 : 0.02;
    relay.is_liar = random_.chance(0.1);
    roster_.on_online(relay.id, network(1000 + number), 1, now_);
    roster_.on_rtt(relay.id, relay.place.rtt({}));
    relays_.push_back(std::move(relay));
  }

  static NetworkId network(std::size_t number) {
    NetworkId id{};
    id[0] = std::byte(number >> 8);
    id[1] = std::byte(number & 255);
    return id;
  }

  void churn(std::size_t number) {
    Relay& relay = relays_[number];
    if (relay.away_steps > 0) {
      if (--relay.away_steps == 0) {
        roster_.on_online(relay.id, network(1000 + number), 1, now_);
        offer(relay);
      }
      return;
    }
    if (!random_.chance(relay.leaves_per_hour / 360)) return;
    relay.away_steps = 30;
    roster_.on_offline(relay.id, /*is_planned=*/false, now_);
    for (const std::size_t user : relay.users) pairs_[user].stalled_steps = 1;
  }

  void assign() {
    for (Relay& relay : relays_) relay.users.clear();
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      if (pairs_[i].stalled_steps == 0) relays_[pairs_[i].relay].users.push_back(i);
    }
  }

  void offer(const Relay& relay) {
    double used = 0;
    for (const std::size_t user : relay.users) used += goodput(pairs_[user]);
    const auto number = [](double bits) { return static_cast<std::uint64_t>(bits); };
    roster_.on_offer(
        relay.id,
        {.bits_per_second = relay.is_liar ? 200'000'000 : number(relay.cap_bits),
         .used_bits_per_second = relay.is_liar ? 0 : number(used),
         .allocations = relay.is_liar ? 0 : static_cast<std::uint32_t>(relay.users.size()),
         .own_bits_per_second = relay.is_liar ? 0 : number(relay.own_bits),
         .is_reachable = true});
  }
  void offer_all() {
    for (const Relay& relay : relays_) {
      if (relay.away_steps == 0) offer(relay);
    }
  }

  void add_pair(bool is_counted) {
    const std::size_t of = random_.below(kNetworks);
    Pair pair;
    pair.id = node_id(5000 + 2 * next_pair_);
    pair.peer = node_id(5001 + 2 * next_pair_);
    ++next_pair_;
    pair.one = Place::draw(random_);
    pair.other = Place::draw(random_);
    pair.line_bits = 20e6 + 60e6 * random_.fraction();
    pair.steps_left = static_cast<int>(6 + random_.below(54));
    pair.is_counted = is_counted;
    for (const auto& [node, place] : {std::pair(pair.id, pair.one), {pair.peer, pair.other}}) {
      roster_.on_online(node, network(of), 1, now_);
      roster_.on_rtt(node, place.rtt({}));
    }
    choose(pair);
    pairs_.push_back(pair);
  }

  double rtt_seconds(const Pair& pair, const Relay& relay) const {
    const Duration rtt = relay.place.rtt(pair.one) + relay.place.rtt(pair.other);
    return std::chrono::duration<double>(rtt).count();
  }

  void choose(Pair& pair) {
    std::vector<std::size_t> there;
    for (std::size_t i = 0; i < kRelays; ++i) {
      if (relays_[i].away_steps == 0 && i != pair.relay) there.push_back(i);
    }
    switch (policy_) {
      case Policy::kRandom:
        pair.relay = there[choices_.below(there.size())];
        return;
      case Policy::kNearest:
        pair.relay = *std::ranges::min_element(
            there, {}, [&](std::size_t i) { return rtt_seconds(pair, relays_[i]); });
        return;
      case Policy::kAllKnowing:
        pair.relay = *std::ranges::max_element(
            there, {}, [&](std::size_t i) { return goodput_of(pair, relays_[i], /*more=*/1); });
        relays_[pair.relay].users.push_back(pairs_.size());
        return;
      case Policy::kSchedule:
        break;
    }
    std::vector<RelayCandidate> candidates;
    candidates.reserve(there.size());
    for (const std::size_t i : there) {
      candidates.push_back(
          roster_.candidate(relays_[i].id, RelayKind::kShared, pair.id, pair.peer, now_));
    }
    pair.relay = there[rank_relays(candidates, 3).front()];
    roster_.on_granted(relays_[pair.relay].id);
  }

  /// What the pair gets now: its part of the relay, its line, or what loss leaves of both.
  double goodput(const Pair& pair) const {
    const Relay& relay = relays_[pair.relay];
    if (relay.away_steps > 0 || pair.stalled_steps > 0) return 0;
    return goodput_of(pair, relay, /*more=*/0);
  }
  double goodput_of(const Pair& pair, const Relay& relay, std::size_t more) const {
    const double users = static_cast<double>(std::max<std::size_t>(relay.users.size() + more, 1));
    const double lossy = 9'600 * 1.22 / (rtt_seconds(pair, relay) * std::sqrt(relay.loss));
    return std::min({relay.carried_bits() / users, pair.line_bits, lossy});
  }

  void carry(Pair& pair) {
    ++pair.steps;
    --pair.steps_left;
    if (pair.stalled_steps > 0) {
      if (--pair.stalled_steps == 0) choose(pair);
      return;
    }
    // The first step loses the round trips of the beginning.
    const double lost =
        pair.steps == 1 ? std::min(10 * rtt_seconds(pair, relays_[pair.relay]), 10.0) : 0;
    pair.bits += goodput(pair) * (10 - lost);
    if (pair.steps == 2 || pair.steps_left == 0) report(pair);
  }

  void report(const Pair& pair) {
    const Relay& relay = relays_[pair.relay];
    roster_.on_report(pair.id,
                      {.relay = relay.id,
                       .rtt_us = static_cast<std::uint32_t>(relay.place.rtt(pair.one) / 1us),
                       .bits_per_second = static_cast<std::uint64_t>(goodput(pair)),
                       .loss_permille = static_cast<std::uint32_t>(std::lround(relay.loss * 1000))},
                      now_);
  }

  void finish() {
    for (Pair& pair : pairs_) {
      if (pair.steps_left > 0) continue;
      roster_.on_offline(pair.id, /*is_planned=*/true, now_);
      roster_.on_offline(pair.peer, /*is_planned=*/true, now_);
      if (pair.is_counted) goodputs_.push_back(pair.bits / (pair.steps * 10) / 1e6);
    }
    std::erase_if(pairs_, [](const Pair& pair) { return pair.steps_left <= 0; });
  }

  const Policy policy_;
  Random random_;   ///< Of the world: equal for all policies.
  Random choices_;  ///< Of the policy.
  TimePoint now_;
  RelayRoster roster_;
  std::vector<Relay> relays_;
  std::vector<Pair> pairs_;
  std::size_t next_pair_ = 0;
  std::vector<double> goodputs_;
};

struct Figures {
  double mean = 0;
  double median = 0;
  double tenth = 0;  ///< Nine of ten pairs get more.
};

Figures figures(Policy policy) {
  std::vector<double> all;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const auto of_world = World(seed, policy).run();
    all.insert(all.end(), of_world.begin(), of_world.end());
  }
  std::ranges::sort(all);
  return {.mean = std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size()),
          .median = all[all.size() / 2],
          .tenth = all[all.size() / 10]};
}

TEST(RelayScheduleSimulation, BeatsRandomAndNearestOnGoodput) {
  const Figures random = figures(Policy::kRandom);
  const Figures nearest = figures(Policy::kNearest);
  const Figures schedule = figures(Policy::kSchedule);
  const Figures all_knowing = figures(Policy::kAllKnowing);
  const auto row = [](const char* name, const Figures& f) {
    std::printf("| %s | %.1f | %.1f | %.1f |\n", name, f.mean, f.median, f.tenth);
  };
  row("random", random);
  row("nearest", nearest);
  row("schedule", schedule);
  row("all-knowing", all_knowing);

  for (const Figures& other : {random, nearest}) {
    EXPECT_GT(schedule.mean, 1.5 * other.mean);
    EXPECT_GT(schedule.median, 1.5 * other.median);
    EXPECT_GT(schedule.tenth, 1.5 * other.tenth);
  }
}

}  // namespace
}  // namespace openp2p::server
