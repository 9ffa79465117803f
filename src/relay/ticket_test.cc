#include "relay/ticket.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "relay/test_ids.h"

namespace openp2p::relay {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kNow{1'800'000'000'000'000};

TicketSecret secret(std::uint8_t number) {
  TicketSecret out;
  out.fill(std::byte{number});
  return out;
}

WallTime later(Duration duration) { return {kNow.us + duration / 1us}; }

const TicketScope kScope{node(1), node(2), node(3)};

Ticket any_ticket() {
  return make_ticket(secret(9), kScope, TicketKind::kShared, AllocationId{std::byte{5}},
                     Account{std::byte{6}}, kNow);
}

Status check(const Ticket& ticket, const TicketScope& scope = kScope, WallTime at = kNow) {
  return check_ticket(secret(9), scope, ticket, at);
}

TEST(Ticket, IsGoodForItsRelayAndPairInAnyOrder) {
  EXPECT_TRUE(check(any_ticket()));
  EXPECT_TRUE(check(any_ticket(), {node(1), node(3), node(2)}));
}

TEST(Ticket, IsForgedForAnyOtherScopeOrSecret) {
  const Ticket ticket = any_ticket();

  EXPECT_EQ(check(ticket, {node(4), node(2), node(3)}).error(), TicketError::kForged);
  EXPECT_EQ(check(ticket, {node(1), node(4), node(3)}).error(), TicketError::kForged);
  EXPECT_EQ(check(ticket, {node(1), node(2), node(4)}).error(), TicketError::kForged);
  EXPECT_EQ(check(ticket, {node(2), node(1), node(3)}).error(), TicketError::kForged);
  EXPECT_EQ(check_ticket(secret(8), kScope, ticket, kNow).error(), TicketError::kForged);
}

TEST(Ticket, CoversEachOfItsBytes) {
  const auto bytes = encode(any_ticket());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = bytes;
      changed[i] ^= std::byte{1} << bit;

      const auto ticket = decode_ticket(changed);

      if (ticket) {
        EXPECT_EQ(check(*ticket).error(), TicketError::kForged) << i << "." << bit;
      }
    }
  }
}

TEST(Ticket, IsGoodForTwoStepsBeforeAndAfterItsOwn) {
  const Ticket ticket = any_ticket();
  EXPECT_TRUE(check(ticket, kScope, later(60s)));
  EXPECT_TRUE(check(ticket, kScope, later(-60s)));
  EXPECT_EQ(check(ticket, kScope, later(91s)).error(), TicketError::kOld);
  EXPECT_EQ(check(ticket, kScope, later(-91s)).error(), TicketError::kOld);
  EXPECT_EQ(check(ticket, kScope, later(10 * 8'766h)).error(), TicketError::kOld);
}

TEST(Ticket, OfOldTimeThatIsForgedIsCalledForged) {
  Ticket ticket = any_ticket();
  ticket.code[0] ^= std::byte{1};
  EXPECT_EQ(check(ticket, kScope, later(1h)).error(), TicketError::kForged);
}

TEST(Ticket, RoundTrips) {
  const Ticket ticket = any_ticket();
  const auto back = decode_ticket(encode(ticket));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, ticket);
}

TEST(Ticket, OfAnotherSizeVersionOrKindIsMalformed) {
  const auto bytes = encode(any_ticket());
  EXPECT_EQ(decode_ticket(ByteView(bytes).first(65)).error(), TicketError::kMalformed);
  EXPECT_EQ(decode_ticket(Bytes(67)).error(), TicketError::kMalformed);
  EXPECT_EQ(decode_ticket({}).error(), TicketError::kMalformed);
  for (const std::size_t at : {0, 1}) {
    auto changed = bytes;
    changed[at] = std::byte{0};
    EXPECT_EQ(decode_ticket(changed).error(), TicketError::kMalformed);
  }
}

TEST(Ticket, SecretsOfRelaysDifferAndStayTheSame) {
  const TicketSecret master = secret(1);
  EXPECT_EQ(derive_ticket_secret(master, node(1)), derive_ticket_secret(master, node(1)));
  EXPECT_NE(derive_ticket_secret(master, node(1)), derive_ticket_secret(master, node(2)));
  EXPECT_NE(derive_ticket_secret(master, node(1)), derive_ticket_secret(secret(2), node(1)));
}

TEST(Ticket, StepsOfTimesBeforeTheEpochAreZero) {
  EXPECT_EQ(ticket_step({-1}), 0u);
  EXPECT_EQ(ticket_step({29'999'999}), 0u);
  EXPECT_EQ(ticket_step({30'000'000}), 1u);
}

TEST(ServerClock, RunsWithTheMonotonicClockFromWhatItWasTold) {
  ServerClock clock;
  EXPECT_EQ(clock.at(TimePoint{} + 5s), std::nullopt);

  clock.set(kNow, TimePoint{} + 100s);

  EXPECT_EQ(clock.at(TimePoint{} + 160s), later(60s));
  clock.set(later(-1h), TimePoint{} + 170s);
  EXPECT_EQ(clock.at(TimePoint{} + 171s), later(-1h + 1s));
}

}  // namespace
}  // namespace openp2p::relay
