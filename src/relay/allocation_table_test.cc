#include "relay/allocation_table.h"

#include <gtest/gtest.h>

#include <set>

#include "relay/test_ids.h"

namespace openp2p::relay {
namespace {

Ticket numbered(std::uint8_t number) {
  Ticket ticket;
  ticket.allocation.fill(std::byte{number});
  return ticket;
}

TEST(AllocationTable, FindsTheWaitingOneByTicketAndPair) {
  AllocationTable table;
  Allocation& by_ticket = table.add(node(1), node(2), numbered(7), {});
  Allocation& by_pair = table.add(node(1), node(2), std::nullopt, {});

  EXPECT_EQ(table.find_waiting(numbered(7), node(2), node(1)), &by_ticket);
  EXPECT_EQ(table.find_waiting(std::nullopt, node(2), node(1)), &by_pair);
  EXPECT_EQ(table.find_waiting(numbered(8), node(2), node(1)), nullptr);
  EXPECT_EQ(table.find_waiting(numbered(7), node(3), node(1)), nullptr);
  EXPECT_EQ(table.find_waiting(numbered(7), node(1), node(2)), nullptr) << "who is there waits";
}

TEST(AllocationTable, DoesNotFindWhatIsJoinedOrGoneAsWaiting) {
  AllocationTable table;
  Allocation& joined = table.add(node(1), node(2), numbered(1), {});
  table.on_joined(joined);
  Allocation& gone = table.add(node(1), node(2), numbered(2), {});
  table.take_out(gone);

  EXPECT_EQ(table.find_waiting(numbered(1), node(2), node(1)), nullptr);
  EXPECT_EQ(table.find_waiting(numbered(2), node(2), node(1)), nullptr);
  EXPECT_EQ(table.find(joined.channel), &joined);
  EXPECT_EQ(table.size(), 1u);
}

TEST(AllocationTable, GivesAPlaceAnotherChannelEachTime) {
  AllocationTable table;
  std::set<Channel> seen;
  for (int i = 0; i < 128; ++i) {
    Allocation& allocation = table.add(node(1), node(2), std::nullopt, {});
    EXPECT_LE(allocation.channel, kChannelMax);
    EXPECT_TRUE(seen.insert(allocation.channel).second);
    const Channel old = allocation.channel;
    table.take_out(allocation);
    EXPECT_EQ(table.find(old), nullptr);
  }
  EXPECT_EQ(table.add(node(1), node(2), std::nullopt, {}).channel, *seen.begin());
}

TEST(AllocationTable, HoldsAllItsPlaces) {
  AllocationTable table;
  std::set<Channel> channels;
  for (std::size_t i = 0; i < AllocationTable::kPlacesMax; ++i) {
    channels.insert(table.add(node(1), node(2), std::nullopt, {}).channel);
  }
  EXPECT_EQ(channels.size(), AllocationTable::kPlacesMax);
  EXPECT_EQ(table.find(kChannelMax), nullptr);
  std::size_t visited = 0;
  table.for_each([&](Allocation& allocation) {
    ++visited;
    table.take_out(allocation);
  });
  EXPECT_EQ(visited, AllocationTable::kPlacesMax);
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace openp2p::relay
