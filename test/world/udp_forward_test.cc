// UDP forwards between whole nodes in virtual time: who is told apart from whom, what waits, what
// ends, and what survives.

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <string>

#include "agent/udp_clients.h"
#include "sim/internet.h"
#include "test/world/applications.h"
#include "test/world/simulated_node.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kService = 5'300;
constexpr std::uint16_t kLocal = 15'300;
const IpAddress kLoopbackV6 = *IpAddress::parse("::1");

/// A program with a UDP socket that keeps what comes.
class Program {
 public:
  explicit Program(sim::Host& host, sim::Family family = sim::Family::kV4, std::uint16_t port = 0)
      : socket_(host.open_udp(port, family, loopback(family))), family_(family) {
    socket_.on_receive([this](const Address& from, ByteView datagram, TimePoint) {
      received.push_back(to_bytes(datagram));
      froms.insert(from);
      if (answers) socket_.send(from, datagram);
    });
  }
  ~Program() { socket_.close(); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void send(ByteView datagram, std::uint16_t port = kLocal) {
    socket_.send({loopback(family_), port}, datagram);
  }
  void say(std::string_view words, std::uint16_t port = kLocal) { send(as_bytes(words), port); }
  bool has(std::string_view words) const {
    return std::ranges::any_of(received, [&](const Bytes& d) { return as_text(d) == words; });
  }

  std::vector<Bytes> received;
  std::set<Address> froms;
  bool answers = false;  ///< Gives everything back.

 private:
  static IpAddress loopback(sim::Family family) {
    return family == sim::Family::kV4 ? IpAddress::loopback_v4() : kLoopbackV6;
  }
  sim::UdpSocket& socket_;
  const sim::Family family_;
};

/// A laptop with a UDP forward to a service on the nas.
struct UdpWorld {
  explicit UdpWorld(std::uint64_t seed, sim::NatKind kind = sim::NatKind::kPortRestricted,
                    double loss = 0)
      : world(seed),
        internet(world),
        server_host(sim::make_public_host(internet)),
        home_a(internet, kind, {.link = {.delay = 10ms, .loss = loss}}),
        home_b(internet, sim::NatKind::kPortRestricted, {.link = {.delay = 10ms, .loss = loss}}),
        server(*server_host, seed ^ 0xa5a5),
        a(home_a.host(), seed * 3 + 1, "laptop"),
        b(home_b.host(), seed * 3 + 2, "nas") {}

  void join() {
    const JoinToken token = server.new_token("admin", {.is_reusable = true, .expires_at = {}});
    a.join(token);
    b.join(token);
    ASSERT_TRUE(run_until(
        [&] { return a.is_connected_to_server() && a.node().status().peers_online == 1; }, 60s));
  }
  agent::ForwardSpec spec() const {
    agent::ForwardSpec spec;
    spec.name = "udp";
    spec.peer = "nas";
    spec.host = "127.0.0.1";
    spec.port = kService;
    spec.listen = {IpAddress::loopback_v4(), kLocal};
    spec.has_tcp = false;
    spec.has_udp = true;
    return spec;
  }
  void add(const agent::ForwardSpec& spec) {
    const auto error = a.node().add_forward(spec);
    ASSERT_FALSE(error) << error->text;
    a.poke();
  }
  void start() {
    join();
    add(spec());
    ASSERT_TRUE(run_until([&] { return forward().state == "connected"; }, 20s));
  }
  /// The peer has joined, and is away.
  void start_without_peer() {
    join();
    b.stop();
    world.run_for(1s);
    add(spec());
  }
  agent::ForwardStatus forward() { return a.node().forwards().front(); }
  template <class Done>
  bool run_until(Done&& done, Duration patience) {
    return world.run_until(done, world.now() + patience);
  }

  sim::World world;
  sim::Internet internet;
  std::unique_ptr<sim::Host> server_host;
  sim::Home home_a, home_b;
  server::SimulatedServer server;
  SimulatedNode a, b;
};

/// A forward that is connected, a service behind it that gives everything back, and a program that
/// uses it.
struct EchoWorld : UdpWorld {
  explicit EchoWorld(std::uint64_t seed) : UdpWorld(seed) {
    service.answers = true;
    start();
  }
  /// Whether the program has these words back in time.
  bool echoes(std::string_view words, Duration patience = 5s) {
    return run_until([&] { return client.has(words); }, patience);
  }

  Program service{home_b.host(), sim::Family::kV4, kService};
  Program client{home_a.host()};
};

TEST(UdpForward, CarriesEverySizeBothWays) {
  EchoWorld net(1);
  std::size_t sent = 0;
  for (const std::size_t size : {1U, 148U, 1'198U, 1'199U, 1'420U, 1'472U, 9'000U, 65'507U}) {
    const Bytes datagram = random_bytes(net.world.random(), size);
    net.client.send(datagram);
    ++sent;
    ASSERT_TRUE(net.run_until([&] { return net.client.received.size() == sent; }, 5s)) << size;
    EXPECT_EQ(net.service.received.back(), datagram);
    EXPECT_EQ(net.client.received.back(), datagram);
  }
  const agent::ForwardStatus status = net.forward();
  EXPECT_EQ(status.flows_now, 1U);
  EXPECT_EQ(status.datagrams_sent, sent);
  EXPECT_EQ(status.datagrams_received, sent);
  EXPECT_EQ(status.datagrams_dropped, 0U);
}

TEST(UdpForward, TheFirstDatagramNeedsNoRoundTripMoreThanTheStream) {
  EchoWorld net(2);
  const TimePoint start = net.world.now();

  net.client.say("first");

  ASSERT_TRUE(net.echoes("first"));
  const Duration round_trip = 2 * (10ms + 10ms + 400us);
  EXPECT_LE(net.world.now() - start, round_trip + 5ms);  // What lines and programs take besides.
}

TEST(UdpForward, ManyClientsAreKeptApartInBothFamilies) {
  UdpWorld net(3);
  net.start();
  agent::ForwardSpec over_v6 = net.spec();
  over_v6.name = "udp6";
  over_v6.listen.ip = kLoopbackV6;
  over_v6.host = "::1";
  net.add(over_v6);
  Program service(net.home_b.host(), sim::Family::kV4, kService);
  Program service6(net.home_b.host(), sim::Family::kV6, kService);
  service.answers = service6.answers = true;
  std::list<Program> clients;
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back(net.home_a.host(), i % 2 == 0 ? sim::Family::kV4 : sim::Family::kV6);
  }

  for (int round = 0; round < 3; ++round) {
    int number = 0;
    for (Program& client : clients) {
      client.say("client " + std::to_string(number++) + " round " + std::to_string(round));
    }
    net.world.run_for(500ms);
  }

  int number = 0;
  for (const Program& client : clients) {
    ASSERT_EQ(client.received.size(), 3U) << number;
    for (int round = 0; round < 3; ++round) {
      EXPECT_TRUE(
          client.has("client " + std::to_string(number) + " round " + std::to_string(round)));
    }
    ++number;
  }
  EXPECT_EQ(service.froms.size(), 50U);
  EXPECT_EQ(service6.froms.size(), 50U);
  EXPECT_EQ(net.forward().flows_now, 50U);
}

TEST(UdpForward, IdleFlowsEndAndTheNextDatagramBeginsAnother) {
  UdpWorld net(4);
  net.start();
  Program service(net.home_b.host(), sim::Family::kV4, kService);
  Program silent(net.home_a.host()), answered(net.home_a.host());
  silent.say("nobody answers me");
  net.world.run_for(1s);
  service.answers = true;
  answered.say("hello");
  ASSERT_TRUE(net.run_until([&] { return answered.has("hello"); }, 5s));
  EXPECT_EQ(net.forward().flows_now, 2U);

  net.world.run_for(agent::UdpClients::kIdleUnanswered);
  EXPECT_EQ(net.forward().flows_now, 1U);
  net.world.run_for(agent::UdpClients::kIdleAnswered);
  EXPECT_EQ(net.forward().flows_now, 0U);
  EXPECT_EQ(service.froms.size(), 2U);

  answered.say("again");
  ASSERT_TRUE(net.run_until([&] { return answered.has("again"); }, 20s));
  EXPECT_EQ(net.forward().flows_total, 3U);
  EXPECT_EQ(service.froms.size(), 3U);
}

TEST(UdpForward, TrafficInEitherDirectionKeepsAFlow) {
  EchoWorld net(5);
  for (int minute = 0; minute < 12; ++minute) {
    net.client.say("minute " + std::to_string(minute));
    net.world.run_for(60s);
  }

  EXPECT_EQ(net.client.received.size(), 12U);
  EXPECT_EQ(net.service.froms.size(), 1U);
  EXPECT_EQ(net.forward().flows_total, 1U);
}

TEST(UdpForward, TooManyClientsMakeTheLongestUnusedOneGiveWay) {
  UdpWorld net(6);
  net.start();
  Program service(net.home_b.host(), sim::Family::kV4, kService);
  service.answers = true;
  Program regular(net.home_a.host());
  std::list<Program> crowd;
  for (std::size_t i = 0; i < agent::UdpClients::kClientsMax * 2; ++i) {
    crowd.emplace_back(net.home_a.host()).say("one question");
    if (i % 50 == 0) regular.say("still here");
    net.world.run_for(100ms);
  }

  const agent::ForwardStatus status = net.forward();
  EXPECT_EQ(status.flows_now, agent::UdpClients::kClientsMax);
  EXPECT_EQ(status.flows_failed, 0U);
  for (const Program& client : crowd) EXPECT_EQ(client.received.size(), 1U);
  regular.say("the same flow");
  net.world.run_for(1s);
  EXPECT_TRUE(regular.has("the same flow"));
  EXPECT_EQ(status.flows_total, 1 + agent::UdpClients::kClientsMax * 2);  // It never had another.
}

TEST(UdpForward, DatagramsWaitForAPeerThatComesLater) {
  UdpWorld net(7);
  net.start_without_peer();
  Program client(net.home_a.host());
  client.say("is anybody there?");
  net.world.run_for(10s);
  Program service(net.home_b.host(), sim::Family::kV4, kService);
  service.answers = true;

  net.b.start();

  ASSERT_TRUE(net.run_until([&] { return client.has("is anybody there?"); }, 20s));
}

TEST(UdpForward, WhatWaitsInVainIsDroppedWithTheReason) {
  UdpWorld net(8);
  net.start_without_peer();
  Program client(net.home_a.host());
  client.say("lost");

  net.world.run_for(31s);

  const agent::ForwardStatus status = net.forward();
  EXPECT_EQ(status.flows_now, 0U);
  EXPECT_EQ(status.flows_failed, 1U);
  EXPECT_EQ(status.datagrams_dropped, 1U);
  EXPECT_NE(status.reason.find("was not reached within 30 s"), std::string::npos) << status.reason;
}

TEST(UdpForward, SaysThatTheSessionEndedBeforeAnAnswer) {
  UdpWorld net(18);
  net.start();
  Program client(net.home_a.host());

  net.b.crash();
  client.say("lost");

  ASSERT_TRUE(net.run_until([&] { return net.forward().flows_failed == 1; }, 60s));
  EXPECT_EQ(net.forward().reason, "the session ended before the peer had answered");
}

TEST(UdpForward, GoesOnAfterThePeerHasRestarted) {
  EchoWorld net(9);
  net.client.say("before");
  ASSERT_TRUE(net.echoes("before"));

  net.b.crash();
  net.world.run_for(2s);
  net.b.start();

  bool is_back = false;
  for (int second = 0; second < 60 && !is_back; ++second) {
    net.client.say("after");
    is_back = net.echoes("after", 1s);
  }
  EXPECT_TRUE(is_back) << net.forward().reason;
}

TEST(UdpForward, AFlowStaysTheSameWhileItsNodeMovesToAnotherNetwork) {
  EchoWorld net(10);
  net.client.say("at home");
  ASSERT_TRUE(net.echoes("at home"));
  sim::Home cafe(net.internet, sim::NatKind::kFullCone);

  net.home_a.host().move_to(cafe.lan(), cafe.host_options());
  bool is_back = false;
  for (int tries = 0; tries < 50 && !is_back; ++tries) {
    net.client.say("in the cafe");
    is_back = net.echoes("in the cafe", 200ms);
  }

  EXPECT_TRUE(is_back);
  EXPECT_EQ(net.service.froms.size(), 1U);
  EXPECT_EQ(net.forward().flows_total, 1U);
  net.a.crash();  // Before the networks that it is in.
}

TEST(UdpForward, SaysThatNobodyListensAndThatItIsOver) {
  UdpWorld net(11);
  net.start();
  Program client(net.home_a.host());
  client.say("hello?");
  ASSERT_TRUE(net.run_until([&] { return !net.forward().reason.empty(); }, 5s));
  EXPECT_NE(net.forward().reason.find("connection refused"), std::string::npos)
      << net.forward().reason;
  EXPECT_EQ(net.forward().flows_now, 1U);

  Program service(net.home_b.host(), sim::Family::kV4, kService);
  service.answers = true;
  client.say("now?");

  ASSERT_TRUE(net.run_until([&] { return client.has("now?"); }, 5s));
  EXPECT_EQ(net.forward().reason, "");
}

TEST(UdpForward, ThePolicyOfTheDestinationNodeDecides) {
  UdpWorld net(12);
  net.join();
  agent::ForwardSpec spec = net.spec();
  spec.host = "192.168.77.1";
  net.add(spec);
  Program client(net.home_a.host());
  client.say("let me in");

  ASSERT_TRUE(net.run_until([&] { return net.forward().flows_failed == 1; }, 20s));
  EXPECT_NE(net.forward().reason.find("not allowed"), std::string::npos) << net.forward().reason;
  EXPECT_NE(net.forward().hint.find("--accept 192.168.77.1:5300"), std::string::npos);
  EXPECT_EQ(net.forward().flows_now, 0U);
}

TEST(UdpForward, ARangeLeadsPortByPortAndCarriesTcpBeside) {
  UdpWorld net(13);
  net.join();
  agent::ForwardSpec spec = net.spec();
  spec.ports = 3;
  spec.has_tcp = true;
  net.add(spec);
  std::list<Program> services;
  std::list<std::unique_ptr<Application>> served;
  for (std::uint16_t i = 0; i < 3; ++i) {
    services.emplace_back(net.home_b.host(), sim::Family::kV4, kService + i).answers = true;
    net.b.platform().serve(kService + i, [&served, i](sim::PipeEnd& end) {
      served.push_back(std::make_unique<Application>(end, Bytes(10U + i)));
    });
  }
  Program client(net.home_a.host());

  for (std::uint16_t i = 0; i < 3; ++i) client.say("to " + std::to_string(i), kLocal + i);
  ASSERT_TRUE(net.run_until([&] { return client.received.size() == 3; }, 20s));

  std::uint16_t offset = 0;
  for (const Program& service : services) {
    EXPECT_EQ(service.received.size(), 1U);
    EXPECT_TRUE(service.has("to " + std::to_string(offset)));
    Application connection(*net.a.platform().connect(kLocal + offset), {});
    ASSERT_TRUE(net.run_until([&] { return connection.has_end; }, 5s));
    EXPECT_EQ(connection.received.size(), 10U + offset);
    ++offset;
  }
  EXPECT_EQ(net.forward().flows_now, 3U);
}

TEST(UdpForward, SaysThatItCannotListenWhereNoPortCanBeHad) {
  UdpWorld net(16);
  net.join();
  agent::ForwardSpec spec = net.spec();
  spec.listen = {IpAddress::v4(192, 0, 2, 77), 0};  // No address of this machine; any port.

  net.add(spec);

  EXPECT_EQ(net.forward().state, "failed");
  EXPECT_NE(net.forward().reason.find("cannot listen on 192.0.2.77"), std::string::npos)
      << net.forward().reason;
  EXPECT_EQ(net.forward().bound, std::nullopt);
}

TEST(UdpForward, DisablingEndsFlowsAndClosesThePorts) {
  EchoWorld net(14);
  net.client.say("hello");
  ASSERT_TRUE(net.echoes("hello"));

  ASSERT_FALSE(net.a.node().set_forward_enabled("udp", false));
  net.a.poke();
  net.client.say("too late");
  net.world.run_for(2s);
  EXPECT_FALSE(net.service.has("too late"));
  EXPECT_EQ(net.forward().flows_now, 0U);

  ASSERT_FALSE(net.a.node().set_forward_enabled("udp", true));
  net.a.poke();
  net.client.say("again");
  EXPECT_TRUE(net.echoes("again", 20s));
  ASSERT_FALSE(net.a.node().remove_forward("udp"));
  net.a.poke();
  net.world.run_for(1s);
}

TEST(UdpForward, LossLosesDatagramsAndNothingElse) {
  UdpWorld net(15, sim::NatKind::kPortRestricted, /*loss=*/0.05);
  net.start();
  Program service(net.home_b.host(), sim::Family::kV4, kService);
  Program client(net.home_a.host());
  for (int i = 0; i < 1'000; ++i) {
    client.say("datagram " + std::to_string(i));
    net.world.run_for(5ms);
  }
  net.world.run_for(3s);

  // Two lines of 5 % each; the first datagrams go by a stream and are never lost.
  EXPECT_GT(service.received.size(), 850U);
  EXPECT_LT(service.received.size(), 960U);
  EXPECT_TRUE(service.has("datagram 0"));
  std::set<Bytes> once(service.received.begin(), service.received.end());
  EXPECT_EQ(once.size(), service.received.size());
}

}  // namespace
}  // namespace openp2p::test
