// Several searches for ports that want the same router at the same time: what it may be asked to
// remember is promised to one of them, and the others wait for their turn.

#include <gtest/gtest.h>

#include <array>
#include <deque>

#include "test/world/reach.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

constexpr std::uint16_t kService = 80;
/// Of all that is tried at once: the worst search, and what is done beside it.
constexpr std::size_t kEntriesMax = 1'100;
/// A search that nobody stands in the way of, and half a second until somebody looks.
constexpr Duration kOneSearch = 3'500ms;
/// Until routers have forgotten the first search, and the second is over too.
constexpr Duration kBothTurns = 300s;

/// A laptop, a phone and a NAS in homes of their own; no relay.
class ThreeHomes {
 public:
  ThreeHomes(NatKind laptop, NatKind phone, NatKind nas, std::uint64_t seed)
      : world_(seed),
        internet_(world_),
        server_host_(world_, internet_.core(), two_addresses()),
        server_(server_host_, seed ^ 0xa5a5) {
    const std::array kinds{laptop, phone, nas};
    const std::array names{"laptop", "phone", "nas"};
    const JoinToken token = server_.new_token("admin", {.is_reusable = true, .expires_at = {}});
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      homes_.emplace_back(internet_, kinds[i], /*has_mapping=*/false,
                          sim::LinkOptions{.delay = 25ms, .loss = 0.005});
      nodes_.emplace_back(homes_.back().host(), seed * 7 + i, names[i]);
      nodes_.back().join(token);
    }
    const auto knows_others = [](SimulatedNode& node) {
      return node.is_connected_to_server() && node.node().status().peers_online == 2;
    };
    EXPECT_TRUE(world_.run_until([&] { return std::ranges::all_of(nodes_, knows_others); },
                                 world_.now() + 30s));
    world_.run_for(8s);  // NATs are measured.
    for (ReachHome& home : homes_) home.mark(world_.now());
  }

  SimulatedNode& laptop() { return nodes_[0]; }
  SimulatedNode& phone() { return nodes_[1]; }
  SimulatedNode& nas() { return nodes_[2]; }

  void want(SimulatedNode& from, const std::string& to, std::uint16_t listen) {
    EXPECT_FALSE(from.forward(to, to, kService, listen));
    wanted_.emplace_back(&from, to);
  }
  /// Watches the routers and why who waits does so. nullopt: it is not done in time.
  template <class Done>
  std::optional<Duration> run_until(Done done, Duration patience) {
    const TimePoint begin = world_.now();
    while (!done()) {
      if (world_.now() - begin >= patience) return std::nullopt;
      world_.run_for(10ms);
      for (ReachHome& home : homes_) entries_ = std::max(entries_, home.entries_made(world_.now()));
      for (const auto& [from, to] : wanted_) note_waiting(*from, to);
    }
    return world_.now() - begin;
  }
  static bool has_path(SimulatedNode& from, std::string_view to) {
    return !seen(from, to).path.empty();
  }
  static agent::PeerStatus seen(SimulatedNode& from, std::string_view to) {
    const auto peers = from.node().peers();
    return *std::ranges::find(peers, to, &agent::PeerStatus::name);
  }
  std::size_t entries() const { return entries_; }
  bool has_waited_for_budget() const { return has_waited_; }
  std::string story() { return story(laptop()) + story(phone()) + story(nas()); }

 private:
  static sim::AttachOptions two_addresses() {
    sim::AttachOptions options = sim::line({.delay = 5ms});
    options.v4_addresses = 2;
    return options;
  }
  /// Who has no path for want of a router's entries says so, and when it tries again.
  void note_waiting(SimulatedNode& from, std::string_view to) {
    const agent::PeerStatus status = seen(from, to);
    has_waited_ |= std::ranges::any_of(status.timeline, [](const agent::PathEventStatus& event) {
      return event.reason == "budget-exhausted";
    });
    const bool has_given_up = status.session == "none" && status.reason_code == "budget-exhausted";
    EXPECT_TRUE(!has_given_up || status.retry_in) << status.reason;
  }
  std::string story(SimulatedNode& node) {
    std::string text;
    for (const agent::PeerStatus& peer : node.node().peers()) {
      text += "to " + peer.name + ": " + peer.path + " " + peer.reason_code + "\n";
      for (const auto& event : peer.timeline) {
        text += "  " + std::to_string(std::chrono::duration<double>(event.ago).count()) + " ago " +
                event.event + " " + event.method + " " + event.reason + " " +
                std::to_string(event.count) + "\n";
      }
    }
    return text;
  }

  sim::World world_;
  sim::Internet internet_;
  sim::Host server_host_;
  server::SimulatedServer server_;
  std::deque<ReachHome> homes_;
  std::deque<SimulatedNode> nodes_;
  std::vector<std::pair<SimulatedNode*, std::string>> wanted_;
  std::size_t entries_ = 0;
  bool has_waited_ = false;
};

struct Case {
  NatKind searcher;
  NatKind third;
};
constexpr std::array kCases{
    Case{NatKind::kSymmetricRandom, NatKind::kPortRestricted},
    Case{NatKind::kSymmetricRandom, NatKind::kSymmetricPreserving},
    Case{NatKind::kPortRestricted, NatKind::kSymmetricRandom},
    Case{NatKind::kSymmetricPreserving, NatKind::kSymmetricRandom},
};
std::string name_of(const Case& c, std::uint64_t seed) {
  return std::string(nat_kind_text(c.searcher)) + " x 2 -> " + std::string(nat_kind_text(c.third)) +
         ", seed " + std::to_string(seed);
}

/// `begin` starts two searches at once, which want the router of the NAS.
void expect_turns(void (*begin)(ThreeHomes&)) {
  for (const Case& c : kCases) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(name_of(c, seed));
      ThreeHomes net(c.searcher, c.searcher, c.third, seed);

      begin(net);

      const auto taken = net.run_until(
          [&] { return net.has_path(net.nas(), "laptop") && net.has_path(net.nas(), "phone"); },
          kBothTurns);
      EXPECT_TRUE(taken) << net.story();
      EXPECT_TRUE(net.has_waited_for_budget()) << net.story();
      EXPECT_LE(net.entries(), kEntriesMax) << net.story();
    }
  }
}

TEST(ReachTurns, TwoThatSearchForAThirdAtOnceTakeTurns) {
  expect_turns([](ThreeHomes& net) {
    net.want(net.laptop(), "nas", 8'080);
    net.want(net.phone(), "nas", 8'080);
  });
}

TEST(ReachTurns, OneThatSearchesForTwoAtOnceTakesThemInTurns) {
  expect_turns([](ThreeHomes& net) {
    net.want(net.nas(), "laptop", 8'080);
    net.want(net.nas(), "phone", 8'081);
  });
}

/// What was promised with an offer to a peer that needs no search is free as soon as that is known.
TEST(ReachTurns, APeerThatIsFoundAtOnceTakesNobodysTurn) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ThreeHomes net(NatKind::kFullCone, NatKind::kPortRestricted, NatKind::kSymmetricRandom, seed);

    net.want(net.nas(), "laptop", 8'080);
    net.want(net.nas(), "phone", 8'081);

    const auto taken = net.run_until([&] { return net.has_path(net.nas(), "phone"); }, kBothTurns);
    EXPECT_TRUE(net.has_path(net.nas(), "laptop"));
    EXPECT_LE(taken.value_or(kBothTurns), kOneSearch) << net.story();
  }
}

}  // namespace
}  // namespace openp2p::test
