// The probe and the STUN service with a NAT between them, in virtual time.
#include "nat/lifetime_probe.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "nat/stun_service.h"
#include "sim/link.h"
#include "sim/nat_table.h"
#include "sim/seeded_secrets.h"
#include "sim/world.h"

namespace openp2p::nat {
namespace {

using namespace std::chrono_literals;

const Address kServer = *Address::parse("203.0.113.1:3478");
constexpr std::uint16_t kFirstPort = 40'000;

class Simulation {
 public:
  Simulation(std::uint64_t seed, const sim::NatOptions& nat, double loss = 0)
      : world_(seed),
        up_(world_, {.delay = 20ms, .loss = loss}),
        down_(world_, {.delay = 20ms, .loss = loss, .duplication = 0.05}),
        nat_(nat, {IpAddress::v4(198, 51, 100, 1)}, Random(seed).fork()),
        service_({{SocketId{0}, kServer, false, false}}, {}, seed),
        secrets_(seed),
        probe_({.tag = 1, .server = kServer}, secrets_, world_.now()),
        timer_(world_, [this] {
          probe_.on_timeout(world_.now());
          pump();
        }) {}

  const LifetimeReport& run() {
    pump();
    EXPECT_TRUE(world_.run_until([this] { return probe_.is_done(); }, world_.now() + 400s));
    return probe_.report();
  }
  Duration elapsed() const { return world_.elapsed(); }
  std::size_t mappings_peak() const { return nat_.mappings_peak(); }
  bool knows_response_port = true;
  /// What the line swallows: the socket's n-th request, from 0.
  std::function<bool(std::size_t socket, unsigned number, TimePoint now)> swallows;

 private:
  void pump() {
    Bytes out(kStunBytesMax);
    Address to;
    std::size_t socket = 0;
    while (const std::size_t size = probe_.poll_datagram(socket, to, out, world_.now())) {
      const Address from{IpAddress::v4(192, 168, 1, 10),
                         static_cast<std::uint16_t>(kFirstPort + socket)};
      if (const unsigned number = sent_[socket]++;
          swallows && swallows(socket, number, world_.now())) {
        continue;
      }
      up_.send(ByteView(out).first(size), [this, from](ByteView bytes, TimePoint now) {
        const sim::NatVerdict verdict = nat_.outbound(from, kServer, now);
        if (verdict.action == sim::NatAction::kForward) serve(verdict.from, bytes);
      });
    }
    timer_.arm(probe_.next_timeout());
  }
  void serve(const Address& from, ByteView bytes) {
    Bytes out(StunService::kAnswerBytesMax);
    Bytes request = to_bytes(bytes);
    if (const auto asked = decode_stun(bytes); asked->response_port && !knows_response_port) {
      StunMessage low = *asked;
      low.response_port = 80;  // Which the service refuses with 420, as others do any port.
      request.resize(kStunBytesMax);
      request.resize(encode_stun(low, {}, request));
    }
    const auto answer = service_.on_datagram(SocketId{0}, from, request, out, world_.now());
    if (!answer) return;
    const sim::NatVerdict verdict = nat_.inbound(kServer, answer->to, world_.now());
    if (verdict.action != sim::NatAction::kForward) return;
    down_.send(ByteView(out).first(answer->size),
               [this, to = verdict.to](ByteView copy, TimePoint now) {
                 probe_.on_datagram(to.port - kFirstPort, kServer, copy, now);
                 pump();
               });
  }

  std::array<unsigned, LifetimeProbe::kAsker + 1> sent_{};
  sim::World world_;
  sim::Link up_;
  sim::Link down_;
  sim::NatTable nat_;
  StunService service_;
  sim::SeededSecrets secrets_;
  LifetimeProbe probe_;
  sim::Timer timer_;
};

TEST(LifetimeProbe, BracketsEveryLifetime) {
  const sim::NatMapping mappings[] = {sim::NatMapping::kEndpointIndependent,
                                      sim::NatMapping::kAddressAndPortDependent};
  for (const auto mapping : mappings) {
    for (const Duration lifetime : {20s, 30s, 60s, 120s, 180s, 300s}) {
      for (const bool is_refreshed_by_inbound : {false, true}) {
        Simulation simulation(1, {.mapping = mapping,
                                  .timeout = lifetime,
                                  .is_refreshed_by_inbound = is_refreshed_by_inbound});

        const LifetimeReport& report = simulation.run();

        SCOPED_TRACE(lifetime / 1s);
        EXPECT_EQ(report.problem, "");
        ASSERT_TRUE(report.alive.has_value());
        EXPECT_LT(*report.alive, lifetime);
        if (lifetime < 298s) {
          EXPECT_GT(report.dead.value_or(0s), lifetime - 1s);
          EXPECT_LE(simulation.elapsed(), *report.dead + 10s);
        }
        EXPECT_LE(simulation.elapsed(), 310s);
      }
    }
  }
}

TEST(LifetimeProbe, TakesNoMoreMappingsThanSocketsUnderLoss) {
  unsigned exact = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Simulation simulation(seed, {.timeout = 60s}, /*loss=*/0.1);

    const LifetimeReport& report = simulation.run();

    exact += report.alive == 58s && report.dead == 88s;
    EXPECT_LT(report.alive.value_or(0s), 60s) << "seed " << seed;
    EXPECT_LE(simulation.mappings_peak(), kLifetimeSilences.size() + 1);
  }
  EXPECT_GE(exact, 95u);
}

TEST(LifetimeProbe, SaysThatTheServiceCannot) {
  Simulation simulation(1, {});
  simulation.knows_response_port = false;

  const LifetimeReport& report = simulation.run();

  EXPECT_FALSE(report.alive || report.dead);
  EXPECT_NE(report.problem.find("another port"), std::string::npos);
  EXPECT_LE(simulation.elapsed(), 20s);  // With the first that was to be asked.
}

TEST(LifetimeProbe, SaysThatNothingAnswers) {
  sim::SeededSecrets secrets(1);
  LifetimeProbe probe({.tag = 1, .server = kServer}, secrets, TimePoint{});
  Bytes out(kStunBytesMax);
  unsigned sent = 0;
  TimePoint now{};

  while (!probe.is_done()) {
    std::size_t socket = 0;
    Address to;
    while (probe.poll_datagram(socket, to, out, now) != 0) ++sent;
    now = probe.next_timeout().value();
    probe.on_timeout(now);
  }

  EXPECT_FALSE(probe.report().problem.empty());
  EXPECT_LE(now - TimePoint{}, 15s);
  EXPECT_EQ(sent, kLifetimeSilences.size() * 6);
}

TEST(LifetimeProbe, BelievesOnlyTheServer) {
  sim::SeededSecrets secrets(1);
  LifetimeProbe probe({.tag = 1, .server = kServer}, secrets, TimePoint{});
  Bytes out(kStunBytesMax);
  std::size_t socket = 0;
  Address to;
  const std::size_t size = probe.poll_datagram(socket, to, out, TimePoint{});
  StunMessage answer = *decode_stun(ByteView(out).first(size));
  answer.message_class = StunClass::kSuccess;
  answer.xor_mapped_address = kServer;
  Bytes lie(kStunBytesMax);
  lie.resize(encode_stun(answer, {}, lie));
  const auto before = probe.next_timeout();

  EXPECT_TRUE(probe.on_datagram(socket, *Address::parse("203.0.113.66:3478"), lie, TimePoint{}));
  EXPECT_TRUE(probe.on_datagram(socket + 1, kServer, lie, TimePoint{}));
  EXPECT_EQ(probe.next_timeout(), before);

  for (int i = 0; i < 1000; ++i) probe.on_datagram(socket, kServer, lie, TimePoint{});
  EXPECT_FALSE(probe.is_done());
}

TEST(LifetimeProbe, WhatLivedLongerShowsThatAShorterSilenceKilledNobody) {
  Simulation simulation(1, sim::NatOptions());
  // The first mapping is late by 15 s, so that the second is asked about before it, and then the
  // line is gone for a while.
  simulation.swallows = [](std::size_t socket, unsigned number, TimePoint now) {
    if (socket == 0) return number % 6 != 5;
    return socket == LifetimeProbe::kAsker && now >= TimePoint{} + 31s;
  };

  const LifetimeReport& report = simulation.run();

  EXPECT_LT(simulation.elapsed(), 45s);
  EXPECT_EQ(report.alive.value_or(0s), 28s);
  EXPECT_FALSE(report.dead);
}

}  // namespace
}  // namespace openp2p::nat
