#include "server/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>

#include "nat/stun_message.h"
#include "net/stream_table.h"
#include "net/tcp_listener.h"
#include "net/test_loop.h"
#include "net/udp_socket.h"
#include "server/memory_records.h"

/// The driver on real sockets, on loopback only.
namespace openp2p::server {
namespace {

Address loopback(std::uint16_t port) { return {IpAddress::loopback_v4(), port, 0}; }

Server::Options options(std::vector<ListenSocket> sockets) {
  SystemSecrets secrets;
  return {.identity = IdentityKey::generate(secrets),
          .records = std::make_unique<MemoryRecords>(),
          .sockets = std::move(sockets),
          .stun_servers = {},
          .log = {}};
}

/// Of RFC 8489, without attributes.
Bytes binding_request() {
  Bytes request(20);
  request[1] = std::byte{1};
  const Bytes cookie = {std::byte{0x21}, std::byte{0x12}, std::byte{0xa4}, std::byte{0x42}};
  std::ranges::copy(cookie, request.begin() + 4);
  return request;
}

/// Asks for its address and counts answers.
class StunClient final : public net::UdpHandler {
 public:
  explicit StunClient(net::IoContext& io) {
    auto opened = net::UdpSocket::open(io, loopback(0), buffers_, *this);
    EXPECT_TRUE(opened);
    socket_ = std::move(*opened);
  }
  void ask(const Address& server) {
    const Bytes request = binding_request();
    net::Outgoing out;
    out.to = server;
    out.datagrams = request;
    out.segment_bytes = request.size();
    socket_->send({&out, 1}, net::monotonic_now());
  }
  void on_datagrams(std::span<const net::Received> batch, TimePoint) override {
    for (const net::Received& one : batch) answers.push_back(one.from);
  }
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

  std::vector<Address> answers;

 private:
  net::UdpBuffers buffers_;
  std::unique_ptr<net::UdpSocket> socket_;
};

TEST(Server, AnswersOnEverySocketFromTheAddressThatWasAsked) {
  boost::asio::io_context io(1);
  const Address any{IpAddress::any_v4(), 0, 0};
  Server server(io,
                options({{.address = any}, {.address = loopback(0), .is_alternate_port = true}}));
  ASSERT_FALSE(server.open());
  ASSERT_EQ(server.addresses().size(), 2U);
  StunClient client(io);

  // To one of the many loopback addresses: the kernel by itself would answer from 127.0.0.1.
  const Address asked{IpAddress::v4(127, 0, 0, 9), server.addresses()[0].port, 0};
  client.ask(asked);
  ASSERT_TRUE(net::run_until(io, [&] { return client.answers.size() == 1; }));
  client.ask(server.addresses()[1]);
  ASSERT_TRUE(net::run_until(io, [&] { return client.answers.size() == 2; }));

  EXPECT_EQ(client.answers[0], asked);
  EXPECT_EQ(client.answers[1], server.addresses()[1]);
  server.stop();
}

/// The same over TCP: each datagram behind its length (RFC 4571).
class StreamStunClient final : public net::StreamTableHandler {
 public:
  explicit StreamStunClient(net::IoContext& io) : table_({io, buffers_, *this, 10}) {}

  void connect(const Address& server) {
    (void)table_.connect(server, port_, std::chrono::seconds(5));
  }
  bool listen() {  ///< On the port that connections then come from.
    const auto listening = table_.listen(loopback(0), /*shares_port=*/true);
    if (listening) port_ = listening->port;
    return port_ != 0;
  }
  void send(ByteView datagram) {
    table_.send(up.back(), {datagram, datagram.size()}, net::monotonic_now());
  }

  SocketId new_socket_id() override { return SocketId(next_id_++); }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool,
                    TimePoint) override {
    up.push_back(socket);
    locals.push_back(local);
    remotes.push_back(remote);
  }
  void on_disconnected(SocketId, std::error_code, TimePoint) override { ++down; }
  void on_datagrams(SocketId, const Address&, const DatagramTrain& train, TimePoint) override {
    answers.push_back(nat::decode_stun(train.datagrams));
  }

  std::vector<SocketId> up;
  std::vector<Address> locals;
  std::vector<Address> remotes;
  std::vector<Result<nat::StunMessage>> answers;
  int down = 0;

 private:
  std::uint32_t next_id_ = 0;
  std::uint16_t port_ = 0;
  net::UdpBuffers buffers_;
  net::StreamTable table_;
};

TEST(Server, AnswersStunOverTcpOnEveryPort) {
  boost::asio::io_context io(1);
  const Address any{IpAddress::any_v4(), 0, 0};
  Server server(io,
                options({{.address = any}, {.address = loopback(0), .is_alternate_port = true}}));
  ASSERT_FALSE(server.open());
  ASSERT_EQ(server.tcp_addresses(), server.addresses());
  StreamStunClient client(io);

  for (std::size_t i = 0; i < 2; ++i) {
    client.connect(loopback(server.tcp_addresses()[i].port));
    ASSERT_TRUE(net::run_until(io, [&] { return client.up.size() == i + 1; }));
    client.send(binding_request());
    ASSERT_TRUE(net::run_until(io, [&] { return client.answers.size() == i + 1; }));

    ASSERT_TRUE(client.answers[i]);
    EXPECT_EQ(client.answers[i]->message_class, nat::StunClass::kSuccess);
    EXPECT_EQ(client.answers[i]->xor_mapped_address, client.locals[i]);
  }
  server.stop();
  EXPECT_TRUE(net::run_until(io, [&] { return client.down == 2; }));
}

/// CHANGE-REQUEST (RFC 5780 section 7.2): the port.
Bytes change_port_request() {
  Bytes request = binding_request();
  request[3] = std::byte{8};
  const Bytes attribute = {std::byte{0}, std::byte{3}, std::byte{0}, std::byte{4},
                           std::byte{0}, std::byte{0}, std::byte{0}, std::byte{2}};
  request.insert(request.end(), attribute.begin(), attribute.end());
  return request;
}

struct StunOverTcp {
  StunOverTcp()
      : server(io, options({{.address = loopback(0)},
                            {.address = loopback(0), .is_alternate_port = true}})),
        client(io) {
    EXPECT_FALSE(server.open());
  }
  void connect() {
    client.connect(server.tcp_addresses()[0]);
    ASSERT_TRUE(net::run_until(io, [&] { return client.up.size() == 1; }));
  }
  bool has_answers(std::size_t count) {
    return net::run_until(io, [&] { return client.answers.size() == count; });
  }

  boost::asio::io_context io{1};
  Server server;
  StreamStunClient client;
};

TEST(Server, CallsBackFromAnotherPortWhoAsksForThatOverTcp) {
  StunOverTcp world;
  ASSERT_TRUE(world.client.listen());
  world.connect();

  world.client.send(change_port_request());

  ASSERT_TRUE(world.has_answers(1));
  EXPECT_EQ(world.client.answers[0]->message_class, nat::StunClass::kSuccess);
  EXPECT_EQ(world.client.answers[0]->xor_mapped_address, world.client.locals[0]);
  ASSERT_EQ(world.client.up.size(), 2u) << "over a connection that the server opened";
  EXPECT_EQ(world.client.remotes[1].ip, IpAddress::loopback_v4());
  for (const Address& own : world.server.tcp_addresses()) {
    EXPECT_NE(world.client.remotes[1], own) << "a port that the client never met";
  }
}

TEST(Server, SaysOverTcpWhenItsCallDidNotComeThrough) {
  StunOverTcp world;
  world.connect();  // Nobody listens on the port that it comes from.

  world.client.send(change_port_request());

  ASSERT_TRUE(world.has_answers(1));
  EXPECT_EQ(world.client.answers[0]->message_class, nat::StunClass::kError);
  EXPECT_EQ(world.client.answers[0]->error_code, 447);
  EXPECT_EQ(world.client.up.size(), 1u);
}

TEST(Server, ClosesATcpConnectionThatSendsGarbage) {
  boost::asio::io_context io(1);
  Server server(io, options({{.address = loopback(0)}}));
  ASSERT_FALSE(server.open());
  StreamStunClient client(io);
  client.connect(server.tcp_addresses()[0]);
  ASSERT_TRUE(net::run_until(io, [&] { return client.up.size() == 1; }));

  client.send(Bytes(20'000));  // Longer than any datagram of ours.

  EXPECT_TRUE(net::run_until(io, [&] { return client.down == 1; }));
}

TEST(Server, ListensForTcpAloneWhereToldAndSaysWhereItCannot) {
  boost::asio::io_context io(1);
  Server::Options first = options({{.address = loopback(0)}});
  first.also_tcp = {loopback(0)};
  Server server(io, std::move(first));
  ASSERT_FALSE(server.open());

  ASSERT_EQ(server.addresses().size(), 1U);
  ASSERT_EQ(server.tcp_addresses().size(), 2U);
  const Address also = server.tcp_addresses().back();
  EXPECT_NE(also.port, server.addresses().front().port);

  Server::Options second = options({{.address = loopback(0)}});
  second.also_tcp = {also};
  Server beside(io, std::move(second));
  const auto problem = beside.open();
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find(also.text()), std::string::npos) << *problem;
}

TEST(Server, SaysWhichProtocolsPortIsInUse) {
  boost::asio::io_context io(1);
  const auto taken =
      net::TcpListener::listen_bare(io, loopback(0), /*shares_port=*/false, [](Descriptor) {});
  ASSERT_TRUE(taken);
  Server server(io, options({{.address = (*taken)->local_address()}}));

  const auto problem = server.open();

  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find((*taken)->local_address().text() + "/tcp"), std::string::npos);
}

TEST(Server, SaysWhatToDoWhereAPortIsInUse) {
  boost::asio::io_context io(1);
  Server first(io, options({{.address = loopback(0)}}));
  ASSERT_FALSE(first.open());
  Server second(io, options({{.address = first.addresses()[0]}}));

  const auto problem = second.open();

  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find(first.addresses()[0].text()), std::string::npos);
  EXPECT_NE(problem->find("--listen"), std::string::npos);
}

TEST(Server, LeavesOutAnOptionalAddressThatTheMachineDoesNotHave) {
  const Address not_ours{IpAddress::v4(203, 0, 113, 77), 0, 0};
  boost::asio::io_context io(1);
  Server lenient(io,
                 options({{.address = loopback(0)}, {.address = not_ours, .is_optional = true}}));
  EXPECT_FALSE(lenient.open());
  EXPECT_EQ(lenient.addresses().size(), 1U);

  Server strict(io, options({{.address = not_ours}}));
  EXPECT_TRUE(strict.open());
}

}  // namespace
}  // namespace openp2p::server
