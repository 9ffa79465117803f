#include "session/socket_ledger.h"

#include <gtest/gtest.h>

#include <set>

namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

/// Hands out numbers, and knows what was closed.
class CountingSource final : public path::SocketSource {
 public:
  std::optional<Opened> open_udp(bool) override { return Opened{SocketId(++last), {}}; }
  std::optional<SocketId> connect_tcp(const Address&, std::uint16_t, Duration) override {
    return SocketId(++last);
  }
  std::uint16_t listen_tcp() override { return 443; }
  void close(SocketId socket) override { closed.insert(socket); }

  std::uint32_t last = 100;
  std::set<SocketId> closed;
};

Connection incoming(std::uint32_t socket, IpAddress from = IpAddress::v4(192, 0, 2, 1)) {
  return {{SocketId(socket), {from, static_cast<std::uint16_t>(1024 + socket % 60'000)}},
          {IpAddress::v4(192, 0, 2, 200), 443},
          /*is_incoming=*/true};
}

TEST(SocketLedger, AStrangerIsClosedAfterTenSeconds) {
  CountingSource source;
  SocketLedger ledger(&source);
  const TimePoint start{};

  EXPECT_EQ(ledger.on_connected(incoming(1), start), SocketLedger::kNobody);
  ledger.on_timeout(start + 10s - 1ns);
  EXPECT_TRUE(ledger.is_stranger(SocketId(1)));
  ASSERT_EQ(ledger.next_timeout(), start + 10s);
  ledger.on_timeout(start + 10s);

  EXPECT_FALSE(ledger.is_stranger(SocketId(1)));
  EXPECT_TRUE(source.closed.contains(SocketId(1)));
  EXPECT_EQ(ledger.size(), 0U);
}

TEST(SocketLedger, AGuestStaysWhileItAsksAndTakesNoPlaceOfOthers) {
  CountingSource source;
  SocketLedger ledger(&source);
  TimePoint now{};
  ledger.on_connected(incoming(1), now);

  ledger.on_answered(SocketId(1), now);
  EXPECT_EQ(ledger.strangers(), 0U);
  EXPECT_EQ(ledger.guests(), 1U);
  for (int i = 0; i < 3; ++i) {
    now += 2min;
    ledger.on_timeout(now);
    ASSERT_TRUE(ledger.is_stranger(SocketId(1)));
    ledger.on_answered(SocketId(1), now);
  }
  ledger.on_timeout(now + SocketLedger::kGuestPatience);

  EXPECT_TRUE(source.closed.contains(SocketId(1)));
  EXPECT_EQ(ledger.guests(), 0U);
  EXPECT_FALSE(ledger.next_timeout());
}

TEST(SocketLedger, AGuestCanBeClaimed) {
  CountingSource source;
  SocketLedger ledger(&source);
  ledger.on_connected(incoming(1), TimePoint{});
  ledger.on_answered(SocketId(1), TimePoint{});

  ASSERT_NE(ledger.claim(SocketId(1), 7, std::nullopt), nullptr);

  EXPECT_EQ(ledger.guests(), 0U);
  EXPECT_EQ(ledger.connections_of(7).size(), 1U);
  ledger.on_answered(SocketId(1), TimePoint{});  // It is somebody's: that changes nothing.
  EXPECT_EQ(ledger.guests(), 0U);
}

TEST(SocketLedger, GuestsOfOneAddressAreLimited) {
  CountingSource source;
  SocketLedger ledger(&source);
  const auto count = static_cast<std::uint32_t>(SocketLedger::kGuestsPerAddressMax);

  for (std::uint32_t i = 1; i <= count + 5; ++i) {
    ledger.on_connected(incoming(i), TimePoint{});
    ledger.on_answered(SocketId(i), TimePoint{});
  }

  EXPECT_EQ(ledger.guests(), count);
  EXPECT_EQ(ledger.strangers(), 5U);
  ledger.on_timeout(TimePoint{} + SocketLedger::kStrangerPatience);
  EXPECT_EQ(ledger.strangers(), 0U);
  EXPECT_EQ(ledger.guests(), count);
}

TEST(SocketLedger, AClaimedConnectionStaysUntilItsSessionEnds) {
  CountingSource source;
  SocketLedger ledger(&source);
  TimePoint now{};
  ledger.on_connected(incoming(1), now);

  ASSERT_NE(ledger.claim(SocketId(1), 7, std::nullopt), nullptr);
  EXPECT_EQ(ledger.claim(SocketId(1), 8, std::nullopt), nullptr);  // It is somebody's now.
  now += 1h;
  ledger.on_timeout(now);
  EXPECT_EQ(ledger.connections_of(7).size(), 1U);
  ledger.release_all(7, now);
  ledger.on_timeout(now + SocketLedger::kLinger - 1ns);
  EXPECT_TRUE(source.closed.empty());
  ledger.on_timeout(now + SocketLedger::kLinger);

  EXPECT_TRUE(source.closed.contains(SocketId(1)));
  EXPECT_EQ(ledger.size(), 0U);
}

TEST(SocketLedger, OneAddressMayHaveNoMoreThanItsShareOfStrangers) {
  CountingSource source;
  SocketLedger ledger(&source);
  const TimePoint now{};
  constexpr auto kMax = static_cast<std::uint32_t>(SocketLedger::kStrangersPerAddressMax);

  for (std::uint32_t i = 1; i <= kMax + 5; ++i) ledger.on_connected(incoming(i), now);
  ledger.on_connected(incoming(1000, IpAddress::v4(192, 0, 2, 2)), now);

  EXPECT_EQ(source.closed.size(), 5U);
  EXPECT_EQ(ledger.size(), kMax + 1);
  // A claimed one and one that went make room for the next.
  ledger.claim(SocketId(1), 7, std::nullopt);
  EXPECT_EQ(ledger.on_disconnected(SocketId(2)), SocketLedger::kNobody);
  ledger.on_connected(incoming(2001), now);
  ledger.on_connected(incoming(2002), now);
  EXPECT_EQ(source.closed.size(), 5U);
  ledger.on_connected(incoming(2003), now);
  EXPECT_EQ(source.closed.size(), 6U);
}

TEST(SocketLedger, AFloodFromEverywhereIsBounded) {
  CountingSource source;
  SocketLedger ledger(&source);

  for (std::uint32_t i = 1; i <= 5'000; ++i) {
    ledger.on_connected(incoming(i, IpAddress::v4(0x0a000000 + i)), TimePoint{});
  }

  EXPECT_EQ(ledger.size(), SocketLedger::kStrangersMax);
  EXPECT_EQ(source.closed.size(), 5'000 - SocketLedger::kStrangersMax);
  ledger.on_timeout(TimePoint{} + 10s);
  EXPECT_EQ(ledger.size(), 0U);
  EXPECT_EQ(source.closed.size(), 5'000U);
}

TEST(SocketLedger, ASessionThatClaimsForEverLosesItsOldestButNotTheOneInUse) {
  CountingSource source;
  SocketLedger ledger(&source);
  const Path in_use = incoming(1).path;

  for (std::uint32_t i = 1; i <= 100; ++i) {
    ledger.on_connected(incoming(i), TimePoint{});
    ASSERT_NE(ledger.claim(SocketId(i), 7, in_use), nullptr);
  }

  const auto left = ledger.connections_of(7);
  EXPECT_EQ(left.size(), SocketLedger::kIncomingPerSessionMax);
  EXPECT_EQ(left.front().path, in_use);
  EXPECT_EQ(left.back().path.socket, SocketId(100));
}

TEST(SocketLedger, WhatASessionAskedForIsItsOwn) {
  CountingSource source;
  SocketLedger ledger(&source);
  const auto of_seven = ledger.source_for(7);
  const auto of_eight = ledger.source_for(8);
  const SocketId socket = *of_seven->connect_tcp({IpAddress::v4(192, 0, 2, 9), 443}, 0, 1s);
  Connection connection = incoming(socket.value());
  connection.is_incoming = false;

  EXPECT_TRUE(ledger.connections_of(7).empty());  // Not up yet.
  EXPECT_EQ(ledger.on_connected(connection, TimePoint{}), 7U);
  EXPECT_EQ(ledger.connections_of(7).size(), 1U);
  of_eight->close(socket);  // Not its own.
  EXPECT_TRUE(source.closed.empty());
  of_seven->close(socket);

  EXPECT_TRUE(source.closed.contains(socket));
  EXPECT_EQ(ledger.size(), 0U);
  // It came up all the same: nobody wants it any more.
  EXPECT_EQ(ledger.on_connected(connection, TimePoint{}), SocketLedger::kNobody);
  EXPECT_EQ(ledger.size(), 0U);
}

}  // namespace
}  // namespace openp2p::session
