#include "agent/node_driver.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <set>
#include <vector>

#include "agent/asio_platform.h"
#include "net/descriptor_limit.h"
#include "net/tcp_listener.h"
#include "net/test_loop.h"

/// The driver on real sockets, on loopback only: no server is there, and no peer.
namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

class Driving final : public NodeMemory {
 public:
  explicit Driving(const OwnPorts& last = {}) : driver(io, options()) {
    net::raise_descriptor_limit();
    EXPECT_EQ(driver.open(0, last), std::nullopt);
  }
  ~Driving() override { driver.stop(); }

  std::optional<std::string> store_forwards(const std::vector<ForwardSpec>&) override {
    return std::nullopt;
  }
  std::optional<std::string> store_share(unsigned) override { return std::nullopt; }
  void store_peers(ByteView) override {}
  void on_joined(const std::string&) override {}
  void on_refused(const Refusal&) override {}

  boost::asio::io_context io{1};
  SystemSecrets secrets;
  IdentityKey key = IdentityKey::generate(secrets);
  std::unique_ptr<quic::PacketProtection> protection = quic::make_packet_protection();
  AsioPlatform platform{io};
  NodeDriver driver;

 private:
  Node::Options options() {
    Node::Options node;
    node.identity = &key;
    node.protection = protection.get();
    node.secrets = &secrets;
    node.platform = &platform;
    node.memory = this;
    node.server = IdentityKey::generate(secrets).id();
    node.server_addresses = {"127.0.0.1:9"};  // Discard (RFC 863): nobody answers.
    node.name = "test";
    return node;
  }
};

TEST(NodeDriver, OpensAFanOfSocketsAndNoMoreThanItsLimit) {
  Driving driving;
  std::set<SocketId> ids;
  std::set<std::uint16_t> ports;

  const TimePoint before = net::monotonic_now();
  for (std::size_t i = 0; i < NodeDriver::kExtraSocketsMax; ++i) {
    const auto opened = driving.driver.open_udp(/*is_v4=*/true);
    ASSERT_TRUE(opened) << i;
    ids.insert(opened->socket);
    ports.insert(opened->local.port);
  }
  const Duration took = net::monotonic_now() - before;

  EXPECT_EQ(ids.size(), NodeDriver::kExtraSocketsMax);
  EXPECT_EQ(ports.size(), NodeDriver::kExtraSocketsMax);
  EXPECT_GE(ids.begin()->value(), 2u) << "a main socket's number";
  EXPECT_LT(took, 1s);
  RecordProperty("microseconds", static_cast<int>(took / 1us));
  EXPECT_FALSE(driving.driver.open_udp(/*is_v4=*/true));

  driving.driver.close(*ids.begin());
  const auto again = driving.driver.open_udp(/*is_v4=*/true);
  ASSERT_TRUE(again);
  EXPECT_GT(again->socket, *ids.rbegin()) << "numbers are used once";
}

TEST(NodeDriver, ListensForTcpOnceAndConnectsFromThatPort) {
  Driving driving;
  const std::uint16_t port = driving.driver.listen_tcp();
  ASSERT_NE(port, 0);
  std::vector<Address> came;
  auto other = net::TcpListener::listen(driving.io, {IpAddress::loopback_v4(), 0},
                                        [&](std::unique_ptr<forward::LocalStream> stream) {
                                          came.push_back(stream->remote_address());
                                        });
  ASSERT_TRUE(other);

  const auto socket = driving.driver.connect_tcp((*other)->local_address(), port, 5s);

  ASSERT_TRUE(socket);
  ASSERT_TRUE(net::run_until(driving.io, [&] { return !came.empty(); }));
  EXPECT_EQ(came[0].port, port);
  driving.driver.close(*socket);
  driving.driver.close(*socket);
  driving.driver.close(SocketId(4'000'000));
}

TEST(NodeDriverTest, TakesThePortsOfTheLastTimeUnlessSomebodyHasThem) {
  OwnPorts ports;
  {
    Driving before;
    before.driver.start();
    ports = before.driver.node().last_ports();
    ASSERT_NE(ports.v4, 0);
  }

  Driving again(ports);
  Driving beside(ports);
  again.driver.start();
  beside.driver.start();

  EXPECT_EQ(again.driver.node().last_ports(), ports);
  EXPECT_NE(beside.driver.node().last_ports().v4, ports.v4);
}

}  // namespace
}  // namespace openp2p::agent
