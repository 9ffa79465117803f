// What `openp2p netcheck` finds, with whole nodes and the server in virtual time.

#include <gtest/gtest.h>

#include "sim/internet.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;
using sim::NatKind;

struct CheckedHome {
  explicit CheckedHome(NatKind kind, const sim::HomeOptions& options = {.link = {.delay = 20ms}})
      : server_host(world, internet.core(), two_addresses()),
        home(internet, kind, options),
        server(server_host, 2),
        node(home.host(), 3, "laptop") {
    node.join(server.new_token("admin", {}));
    EXPECT_TRUE(
        world.run_until([this] { return node.is_connected_to_server(); }, TimePoint{} + 60s));
  }
  static sim::AttachOptions two_addresses() {
    sim::AttachOptions options = sim::line({.delay = 5ms});
    options.v4_addresses = 2;
    return options;
  }
  agent::NetcheckReport check() {
    std::optional<agent::NetcheckReport> report;
    node.node().netcheck({}, [&report](const agent::NetcheckReport& found) { report = found; });
    node.poke();
    EXPECT_TRUE(world.run_until([&report] { return report.has_value(); }, world.now() + 60s));
    return report.value_or(agent::NetcheckReport());
  }

  sim::World world{1};
  sim::Internet internet{world};
  sim::Host server_host;
  sim::Home home;
  server::SimulatedServer server;
  SimulatedNode node;
};

const agent::NetcheckFinding& finding(const agent::NetcheckReport& report,
                                      std::string_view transport) {
  const auto found = std::ranges::find_if(report.findings, [&](const auto& each) {
    return each.transport == transport && each.family == "ipv4";
  });
  CHECK(found != report.findings.end());
  return *found;
}

TEST(Netcheck, TellsMappingAndFilteringOfBothTransports) {
  const std::tuple<NatKind, std::string, std::string> expected[] = {
      {NatKind::kNone, "endpoint-independent", "no NAT"},
      {NatKind::kFullCone, "endpoint-independent", "full cone"},
      {NatKind::kAddressRestricted, "endpoint-independent", "address-restricted cone"},
      {NatKind::kPortRestricted, "endpoint-independent", "port-restricted cone"},
      {NatKind::kSymmetricRandom, "address- and port-dependent", "symmetric"}};
  for (const auto& [kind, mapping, name] : expected) {
    SCOPED_TRACE(sim::nat_kind_text(kind));
    CheckedHome scene(kind);

    const agent::NetcheckReport report = scene.check();

    for (const char* transport : {"udp", "tcp"}) {
      const agent::NetcheckFinding& found = finding(report, transport);
      EXPECT_TRUE(found.works);
      EXPECT_EQ(found.mapping, mapping);
      EXPECT_EQ(found.nat, name);
      EXPECT_EQ(found.filtering, finding(report, "udp").filtering);
    }
  }
}

TEST(Netcheck, TellsWhereUdpIsBlocked) {
  CheckedHome scene(NatKind::kUdpBlocked);

  const agent::NetcheckReport report = scene.check();

  EXPECT_TRUE(finding(report, "udp").is_blocked);
  EXPECT_TRUE(finding(report, "tcp").works);
  EXPECT_EQ(finding(report, "tcp").filtering, "address- and port-dependent");
}

TEST(Netcheck, TellsWhereUdpIsHeldBack) {
  sim::HomeOptions options{.link = {.delay = 20ms}};
  EXPECT_EQ(CheckedHome(NatKind::kPortRestricted, options).check().throttling, "none");
  options.udp_policer = {.bits_per_second = 500'000, .burst_bytes = 10'000};
  CheckedHome scene(NatKind::kPortRestricted, options);

  const agent::NetcheckReport report = scene.check();

  EXPECT_EQ(report.throttling, "throttled") << testing::PrintToString(report.evidence);
  EXPECT_EQ(finding(report, "udp").nat, "port-restricted cone") << "what else is found stays true";
}

// sim::NatOptions: a mapping lives for 120 s, which is between two of the silences that are tried.
TEST(Netcheck, TheNodeLearnsByItselfHowLongMappingsLive) {
  CheckedHome home(NatKind::kPortRestricted);

  const agent::NetcheckReport early = home.check();
  home.world.run_for(agent::LifetimeWatch::kCalm + 5min);
  const agent::NetcheckReport late = home.check();

  EXPECT_FALSE(early.lifetime_alive || early.lifetime_dead);
  ASSERT_TRUE(late.lifetime_alive && late.lifetime_dead);
  EXPECT_EQ(*late.lifetime_alive, 118s);
  EXPECT_EQ(*late.lifetime_dead, 148s);
  EXPECT_GT(std::ranges::count_if(
                late.evidence,
                [](const std::string& line) { return line.find("118 s") != std::string::npos; }),
            0);
}

TEST(Netcheck, WhatWasLearnedInOneNetworkIsNotSaidOfAnother) {
  CheckedHome home(NatKind::kPortRestricted);
  home.world.run_for(agent::LifetimeWatch::kCalm + 5min);

  home.home.router()->reboot(/*has_new_address=*/true);
  home.world.run_for(30s);
  const agent::NetcheckReport soon = home.check();
  home.world.run_for(agent::LifetimeWatch::kCalm + 5min);
  const agent::NetcheckReport later = home.check();

  EXPECT_FALSE(soon.lifetime_alive || soon.lifetime_dead);
  EXPECT_EQ(later.lifetime_alive.value_or(0s), 118s);
}

TEST(Netcheck, AMoveInTheMiddleBeginsTheMeasurementAnew) {
  CheckedHome home(NatKind::kPortRestricted);
  home.world.run_for(agent::LifetimeWatch::kCalm + 100s);

  home.home.router()->reboot(/*has_new_address=*/true);
  home.world.run_for(agent::LifetimeWatch::kCalm + 90s);
  const agent::NetcheckReport soon = home.check();
  home.world.run_for(4min);
  const agent::NetcheckReport later = home.check();

  EXPECT_FALSE(soon.lifetime_alive || soon.lifetime_dead);
  EXPECT_EQ(later.lifetime_alive.value_or(0s), 118s);
}

TEST(Netcheck, NothingIsMeasuredWhereNothingForgets) {
  CheckedHome home(NatKind::kNone);

  home.world.run_for(agent::LifetimeWatch::kCalm + 5min);
  const agent::NetcheckReport report = home.check();

  EXPECT_FALSE(report.lifetime_alive || report.lifetime_dead);
}

}  // namespace
}  // namespace openp2p::test
