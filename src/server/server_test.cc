#include "server/server.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

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

/// Asks for its address (a Binding request of RFC 8489, without attributes) and counts answers.
class StunClient final : public net::UdpHandler {
 public:
  explicit StunClient(net::IoContext& io) {
    auto opened = net::UdpSocket::open(io, loopback(0), buffers_, *this);
    EXPECT_TRUE(opened);
    socket_ = std::move(*opened);
  }
  void ask(const Address& server) {
    Bytes request(20);
    request[1] = std::byte{1};
    const Bytes cookie = {std::byte{0x21}, std::byte{0x12}, std::byte{0xa4}, std::byte{0x42}};
    std::ranges::copy(cookie, request.begin() + 4);
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
