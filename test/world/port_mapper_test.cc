#include "agent/port_mapper.h"

#include <gtest/gtest.h>

#include "sim/internet.h"
#include "sim/seeded_secrets.h"
#include "test/world/simulated_platform.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 4'500;

/// What a node core asks for by NAT-PMP and UPnP, answered by the test; the rest is simulated.
class GatewayScript final : public agent::Platform {
 public:
  using Answer = std::function<net::GatewayAnswer(const net::GatewayRequest&)>;

  GatewayScript(sim::Host& host, Answer answer)
      : platform_(host), world_(host.world()), answer_(std::move(answer)) {}

  Result<std::unique_ptr<Listener>> listen(
      const Address& at, std::function<void(Stream, TimePoint)> on_accept) override {
    return platform_.listen(at, std::move(on_accept));
  }
  std::unique_ptr<Pending> dial(const std::string& host, std::uint16_t port, Duration timeout,
                                std::function<bool(const IpAddress&)> allows,
                                std::function<void(Result<Stream>, TimePoint)> done) override {
    return platform_.dial(host, port, timeout, std::move(allows), std::move(done));
  }
  Result<Datagrams> listen_datagrams(const Address& at,
                                     forward::LocalDatagramsHandler& handler) override {
    return platform_.listen_datagrams(at, handler);
  }
  std::unique_ptr<Pending> dial_datagrams(
      const std::string& host, std::uint16_t port, Duration timeout,
      std::function<bool(const IpAddress&)> allows, forward::LocalDatagramsHandler& handler,
      std::function<void(Result<Datagrams>, TimePoint)> done) override {
    return platform_.dial_datagrams(host, port, timeout, std::move(allows), handler,
                                    std::move(done));
  }
  std::unique_ptr<Pending> resolve(
      const std::string& name, std::function<void(std::vector<Address>, TimePoint)> done) override {
    return platform_.resolve(name, std::move(done));
  }
  Result<std::unique_ptr<DatagramSocket>> open_datagrams(bool is_v4, OnDatagram take) override {
    return platform_.open_datagrams(is_v4, std::move(take));
  }
  Result<std::unique_ptr<ConnectionPort>> open_connections(
      bool is_v4, path::ConnectionHandler& handler) override {
    return platform_.open_connections(is_v4, handler);
  }
  std::vector<IpAddress> local_addresses() const override { return platform_.local_addresses(); }
  std::vector<net::Gateway> gateways() const override {
    return has_gateways ? platform_.gateways() : std::vector<net::Gateway>();
  }
  Result<std::unique_ptr<DatagramSocket>> open_gateway_datagrams(const net::Gateway& gateway,
                                                                 OnDatagram take) override {
    return platform_.open_gateway_datagrams(gateway, std::move(take));
  }
  std::unique_ptr<Pending> hear_announcements(const net::Gateway& gateway,
                                              OnDatagram take) override {
    return platform_.hear_announcements(gateway, std::move(take));
  }
  std::unique_ptr<Pending> ask_gateway(
      net::GatewayRequest request,
      std::function<void(const net::GatewayAnswer&, TimePoint)> done) override {
    asked.push_back(request);
    return std::make_unique<Later>(
        world_, [this, request, done = std::move(done)] { done(answer_(request), world_.now()); });
  }

  std::vector<net::GatewayRequest> asked;
  bool has_gateways = true;

 private:
  class Later final : public Pending {
   public:
    Later(sim::World& world, std::function<void()> run)
        : world_(world), id_(world.after(20ms, std::move(run))) {}
    ~Later() override { world_.cancel(id_); }

   private:
    sim::World& world_;
    sim::EventId id_;
  };

  SimulatedPlatform platform_;
  sim::World& world_;
  Answer answer_;
};

net::GatewayAnswer nobody(const net::GatewayRequest&) {
  return {.failure = "the gateway does not answer"};
}

/// Everything granted as asked, for as long as asked.
net::GatewayAnswer agrees(const net::GatewayRequest& request) {
  net::GatewayAnswer answer{.is_answered = true, .external = IpAddress::v4(203, 0, 113, 5)};
  for (const net::PortAsk& ask : request.ports) {
    answer.ports.push_back({.ask = ask, .is_granted = true, .lease = request.lease});
  }
  return answer;
}

/// Only by one protocol.
GatewayScript::Answer only(net::MappingProtocol protocol) {
  return [protocol](const net::GatewayRequest& request) {
    return request.protocol == protocol ? agrees(request) : nobody(request);
  };
}

class PortMapperTest : public testing::Test {
 protected:
  void start(const sim::HomeOptions& options, GatewayScript::Answer answer = nobody,
             sim::NatKind kind = sim::NatKind::kPortRestricted) {
    home_.emplace(internet_, kind, options);
    platform_.emplace(home_->host(), std::move(answer));
    context_.emplace(agent::NodeContext{identity_, *platform_, secrets_, Log(), Random(3), 1,
                                        [this] { arm(); }});
    mapper_.emplace(*context_, [this] { ++changes_; });
    input([this] { mapper_->start({.udp_v4 = kPort, .udp_v6 = kPort, .tcp = kPort}); });
  }

  template <class Give>
  void input(Give&& give) {
    context_->now = world_.now();
    give();
    arm();
  }
  void arm() { timer_.arm(mapper_->next_timeout()); }
  std::size_t asks(net::MappingProtocol protocol) const {
    return static_cast<std::size_t>(
        std::ranges::count(platform_->asked, protocol, &net::GatewayRequest::protocol));
  }
  bool is_reachable() {
    sim::UdpSocket& listener = home_->host().open_udp(kPort);
    bool has_arrived = false;
    listener.on_receive([&](const Address&, ByteView, TimePoint) { has_arrived = true; });
    auto stranger = sim::make_public_host(internet_);
    const auto external = home_->router()->uplink().address(sim::Family::kV4);
    stranger->open_udp().send({*external, kPort}, as_bytes("knock"));
    world_.run_for(1s);
    listener.close();
    return has_arrived;
  }

  sim::World world_{1};
  sim::Internet internet_{world_};
  std::optional<sim::Home> home_;
  sim::SeededSecrets secrets_{std::uint64_t{2}};
  IdentityKey identity_ = IdentityKey::generate(secrets_);
  std::optional<GatewayScript> platform_;
  std::optional<agent::NodeContext> context_;
  std::optional<agent::PortMapper> mapper_;
  sim::Timer timer_{world_, [this] { input([this] { mapper_->on_timeout(); }); }};
  unsigned changes_ = 0;
};

TEST_F(PortMapperTest, MapsByPcpAndAsksNobodyElse) {
  start({.has_pcp = true});

  world_.run_for(30s);

  ASSERT_EQ(mapper_->mapped().size(), 2U);
  EXPECT_EQ(mapper_->mapped()[0].how, net::MappingProtocol::kPcp);
  EXPECT_EQ(mapper_->mapped()[0].external.port, kPort);
  EXPECT_TRUE(is_reachable());
  EXPECT_TRUE(platform_->asked.empty());
  EXPECT_TRUE(mapper_->is_settled());
}

TEST_F(PortMapperTest, WakesForRenewalsOnly) {
  start({.has_pcp = true});
  world_.run_for(1min);
  const std::uint64_t events = world_.events_run();

  world_.run_for(29min);

  EXPECT_LE(world_.events_run() - events, 0U);
  world_.run_for(24h);
  EXPECT_EQ(mapper_->mapped().size(), 2U);
  EXPECT_EQ(changes_, 2U);  // One a port, at the start.
}

TEST_F(PortMapperTest, ComesBackWithinSecondsAfterTheRouterDid) {
  start({.has_pcp = true});
  world_.run_for(1min);

  home_->router()->reboot(/*has_new_address=*/true);
  EXPECT_FALSE(is_reachable());
  world_.run_for(6s);

  EXPECT_TRUE(is_reachable());
  EXPECT_EQ(mapper_->mapped()[0].external.ip, *home_->router()->uplink().address(sim::Family::kV4));
}

TEST_F(PortMapperTest, OpensPinholesInTheIpv6Firewall) {
  start({.has_v6 = true, .has_pcp = true});

  world_.run_for(1s);

  EXPECT_EQ(mapper_->mapped().size(), 4U);
  EXPECT_EQ(std::ranges::count_if(mapper_->mapped(),
                                  [](const auto& m) { return m.external == m.internal; }),
            2);
}

TEST_F(PortMapperTest, TakesItsMappingsBack) {
  start({.has_pcp = true});
  world_.run_for(1s);

  input([this] { mapper_->stop(); });
  world_.run_for(10ms);

  EXPECT_TRUE(mapper_->is_stopped());
  EXPECT_FALSE(is_reachable());
  EXPECT_TRUE(mapper_->mapped().empty());
}

TEST_F(PortMapperTest, AMappingBehindACarriersNatIsEvidenceOnly) {
  start({.has_pcp = true}, nobody, sim::NatKind::kDoubleNat);

  world_.run_for(1s);

  EXPECT_EQ(mapper_->all_mapped().size(), 2U);
  EXPECT_TRUE(mapper_->mapped().empty());
  EXPECT_NE(mapper_->evidence().at(0).find("but behind another NAT"), std::string::npos);
}

TEST_F(PortMapperTest, FallsBackToNatPmpAndRenewsAtHalfTime) {
  start({}, only(net::MappingProtocol::kNatPmp));

  world_.run_for(1s);
  ASSERT_EQ(mapper_->mapped().size(), 2U);
  EXPECT_EQ(mapper_->mapped()[0].how, net::MappingProtocol::kNatPmp);
  world_.run_for(10h);

  EXPECT_EQ(asks(net::MappingProtocol::kUpnp), 0U);
  EXPECT_GE(asks(net::MappingProtocol::kNatPmp), 20U);
  EXPECT_LE(asks(net::MappingProtocol::kNatPmp), 21U);
  EXPECT_EQ(changes_, 1U);
}

TEST_F(PortMapperTest, FallsBackToUpnpWithinTwoSeconds) {
  start({}, only(net::MappingProtocol::kUpnp));

  world_.run_for(2s);

  ASSERT_EQ(mapper_->mapped().size(), 2U);
  EXPECT_EQ(mapper_->evidence().at(0), "UPnP: mapped UDP 203.0.113.5:4500 for 60 min");
  world_.run_for(1h);
  EXPECT_LE(asks(net::MappingProtocol::kUpnp), 8U);  // Each ten minutes.
}

TEST_F(PortMapperTest, PermanentLeasesAreRefreshedAndTakenBack) {
  start({}, [](const net::GatewayRequest& request) {
    if (request.protocol != net::MappingProtocol::kUpnp) return nobody(request);
    auto answer = agrees(request);
    for (net::PortGrant& grant : answer.ports) grant.lease = Duration::zero();
    return answer;
  });
  world_.run_for(1h);

  EXPECT_EQ(mapper_->evidence().at(0),
            "UPnP: mapped UDP 203.0.113.5:4500 until the router restarts");
  input([this] { mapper_->stop(); });
  EXPECT_FALSE(mapper_->is_stopped());
  world_.run_for(100ms);
  EXPECT_TRUE(mapper_->is_stopped());
  EXPECT_EQ(platform_->asked.back().lease, Duration::zero());
}

TEST_F(PortMapperTest, AGatewayThatStopsAnsweringLosesItsMappingWhenTheLeaseEnds) {
  bool is_there = true;
  start({}, [&is_there](const net::GatewayRequest& request) {
    return is_there ? only(net::MappingProtocol::kNatPmp)(request) : nobody(request);
  });
  world_.run_for(1s);
  is_there = false;

  world_.run_for(50min);
  EXPECT_EQ(mapper_->mapped().size(), 2U);
  world_.run_for(11min);
  EXPECT_TRUE(mapper_->mapped().empty());

  is_there = true;
  world_.run_for(70min);
  EXPECT_EQ(mapper_->mapped().size(), 2U);
}

TEST_F(PortMapperTest, NobodyAnswersAndItIsAskedOnceAnHour) {
  start({});
  world_.run_for(2min);
  EXPECT_TRUE(mapper_->is_settled());
  EXPECT_EQ(mapper_->evidence().size(), 3U);
  const std::size_t before = platform_->asked.size();

  world_.run_for(10h);

  EXPECT_LE(platform_->asked.size() - before, 2U * 10U);
  EXPECT_GE(platform_->asked.size() - before, 2U * 8U);
}

TEST_F(PortMapperTest, AStopDoesNotWaitForASilentGateway) {
  start({}, only(net::MappingProtocol::kUpnp));
  world_.run_for(3s);
  input([this] { mapper_->stop(); });
  input([this] { mapper_->stop(); });

  const bool is_over =
      world_.run_until([this] { return mapper_->is_stopped(); }, world_.now() + 2s);

  EXPECT_TRUE(is_over);
}

TEST_F(PortMapperTest, AnotherNetworkMeansAnotherGateway) {
  start({.has_pcp = true});
  world_.run_for(1s);

  platform_->has_gateways = false;
  input([this] { mapper_->on_network_changed(); });
  EXPECT_TRUE(mapper_->mapped().empty());
  EXPECT_EQ(mapper_->evidence().at(0), "this machine has no gateway to ask");

  platform_->has_gateways = true;
  input([this] { mapper_->on_network_changed(); });
  world_.run_for(1s);
  EXPECT_EQ(mapper_->mapped().size(), 2U);
}

}  // namespace
}  // namespace openp2p::test
