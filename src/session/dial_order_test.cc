#include "session/dial_order.h"

#include <gtest/gtest.h>

#include <map>

#include "session/endpoint.h"
#include "session/test_session.h"
#include "sim/seeded_secrets.h"

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

Address v4(std::uint8_t number) { return {IpAddress::v4(198, 51, 100, number), 27183}; }
Address v6(std::uint8_t number) {
  return {IpAddress::v6({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number}), 27183};
}
bool always(const Address&) { return true; }

TEST(DialOrder, TakesTheFamiliesInTurnIpv6First) {
  EXPECT_EQ(dial_order({v4(1), v4(2), v6(1), v6(2), v6(3)}, {}, always),
            (std::vector{v6(1), v4(1), v6(2), v4(2), v6(3)}));
}

TEST(DialOrder, Ipv6GoesLastWhereNoWayLeadsToIt) {
  EXPECT_EQ(dial_order({v6(1), v4(1), v6(2), v4(2)}, {.has_v6 = false}, always),
            (std::vector{v4(1), v4(2), v6(1), v6(2)}));
}

TEST(DialOrder, WhatWonLastGoesFirstAndTheOtherFamilyNext) {
  EXPECT_EQ(dial_order({v6(1), v6(2), v4(1)}, {.last = v6(2)}, always),
            (std::vector{v6(2), v4(1), v6(1)}));
  EXPECT_EQ(dial_order({v6(1), v4(1)}, {.last = v4(9)}, always), (std::vector{v6(1), v4(1)}))
      << "it is not the server's any more";
}

TEST(DialOrder, NamesEachOnceAndNotTooMany) {
  std::vector<Address> many(3, v4(1));
  for (std::uint8_t i = 0; i < 100; ++i) many.push_back(v4(i));
  const auto order = dial_order(many, {}, always);
  ASSERT_EQ(order.size(), kDialAddressesMax);
  EXPECT_EQ(order[0], v4(1));
  EXPECT_EQ(std::ranges::count(order, v4(1)), 1);
}

TEST(DialOrder, WhatHasNoSocketIsLeftToTcp) {
  const auto is_v4 = [](const Address& address) { return address.ip.is_v4(); };
  EXPECT_EQ(dial_order({v4(1), v6(1), v4(2)}, {}, is_v4), (std::vector{v4(1), v4(2), v6(1)}));
}

/// A party that dials and gets no answer: when each address was first tried, since the beginning.
struct Dialer final : path::SocketSource {
  explicit Dialer(bool has_v6_socket = true)
      : secrets(1),
        identity(IdentityKey::generate(secrets)),
        protection(quic::make_packet_protection()) {
    Endpoint::Options options;
    options.identity = &identity;
    options.protection = protection.get();
    options.secrets = &secrets;
    options.sockets = this;
    endpoint = std::make_unique<Endpoint>(options);
    endpoint->add_socket(SocketId(1), {IpAddress::any_v4(), 1});
    if (has_v6_socket) endpoint->add_socket(SocketId(2), {IpAddress::any_v6(), 1});
  }
  void dial(const std::vector<Address>& addresses, const DialHints& hints = {}) {
    endpoint->dial(IdentityKey::generate(secrets).id(), addresses, handler, now, hints);
    for (; now < TimePoint() + 3s; now += 10ms) {
      endpoint->on_timeout(now);
      while (const auto transmit = endpoint->poll_transmit(buffer, now)) {
        udp.try_emplace(transmit->to, now - TimePoint());
      }
    }
  }
  std::optional<Opened> open_udp(bool) override { return std::nullopt; }
  std::optional<SocketId> connect_tcp(const Address& remote, std::uint16_t, Duration) override {
    tcp.try_emplace(remote, now - TimePoint());
    return SocketId(static_cast<std::uint32_t>(100 + tcp.size()));
  }
  std::uint16_t listen_tcp() override { return 0; }
  void close(SocketId) override {}

  class Silent final : public SessionHandler {
    void on_established(Session&) override {}
    void on_stream_opened(Session&, StreamId) override {}
    void on_stream_data(Session&, StreamId, ByteView, bool) override {}
    void on_stream_writable(Session&, StreamId) override {}
    void on_stream_reset(Session&, StreamId, std::uint64_t) override {}
    void on_stream_stopped(Session&, StreamId, std::uint64_t) override {}
    void on_stream_closed(Session&, StreamId) override {}
    void on_path_changed(Session&) override {}
    void on_batch_end(Session&) override {}
    void on_closed(Session&, const CloseReason&) override {}
  } handler;
  sim::SeededSecrets secrets;
  IdentityKey identity;
  std::unique_ptr<quic::PacketProtection> protection;
  std::unique_ptr<Endpoint> endpoint;
  TimePoint now;
  Bytes buffer = Bytes(65'536);
  std::map<Address, Duration> udp, tcp;
};

using Times = std::map<Address, Duration>;

TEST(Dial, TriesAllByUdpAQuarterSecondApartAndByTcpFromASecondOn) {
  Dialer dialer;
  dialer.dial({v4(1), v4(2), v6(1)});
  EXPECT_EQ(dialer.udp, (Times{{v6(1), 0ms}, {v4(1), 250ms}, {v4(2), 500ms}}));
  EXPECT_EQ(dialer.tcp, (Times{{v6(1), 1'000ms}, {v4(1), 1'250ms}, {v4(2), 1'500ms}}));
}

TEST(Dial, TcpDoesNotWaitWhereUdpIsKnownToBeBlocked) {
  Dialer dialer;
  dialer.dial({v6(1), v4(1)}, {.last = v4(1), .stream_delay = 0ms});
  EXPECT_EQ(dialer.udp, (Times{{v4(1), 0ms}, {v6(1), 250ms}}));
  EXPECT_EQ(dialer.tcp, (Times{{v4(1), 0ms}, {v6(1), 250ms}}));
}

TEST(Dial, LosesNoTimeWithAFamilyThatThisMachineDoesNotHave) {
  Dialer dialer(/*has_v6_socket=*/false);
  dialer.dial({v6(1), v6(2), v4(1)});
  EXPECT_EQ(dialer.udp, (Times{{v4(1), 0ms}}));
  EXPECT_EQ(dialer.tcp.size(), 3U);
  EXPECT_EQ(dialer.tcp[v4(1)], 1'000ms);
}

}  // namespace
}  // namespace openp2p::session
