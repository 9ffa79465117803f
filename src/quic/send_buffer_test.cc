#include "quic/send_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/random.h"

namespace openp2p::quic {
namespace {

constexpr std::size_t kLimit = 1 << 20;

struct Fixture {
  ChunkPool pool;
  SendBudget budget;
};

/// Commits up to `size` bytes; gives how many there was room for.
std::size_t put(SendBuffer& buffer, std::size_t size, std::byte value = std::byte{0}) {
  std::size_t done = 0;
  while (done < size) {
    const MutableByteView room = buffer.room();
    if (room.empty()) break;
    const std::size_t bytes = std::min(room.size(), size - done);
    std::memset(room.data(), std::to_integer<int>(value), bytes);
    buffer.commit(bytes);
    done += bytes;
  }
  return done;
}

TEST(SendBuffer, HoldsNoMemoryWhenAllIsAcknowledged) {
  Fixture fixture;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);

  put(buffer, 100'000);
  while (buffer.has_unsent()) buffer.mark_sent(buffer.unsent().bytes);
  EXPECT_GT(fixture.budget.used_bytes, 0u);
  buffer.mark_acknowledged(100'000);

  EXPECT_EQ(fixture.budget.used_bytes, 0u);
}

TEST(SendBuffer, TakesASmallChunkForAShortStream) {
  Fixture fixture;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);

  put(buffer, 500);

  EXPECT_EQ(fixture.budget.used_bytes, ChunkPool::kSmallBytes);
}

TEST(SendBuffer, StopsAtItsLimit) {
  Fixture fixture;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);

  const std::size_t taken = put(buffer, 2 * kLimit);

  EXPECT_LE(taken, kLimit);
  EXPECT_GT(taken, kLimit - 4096);
  EXPECT_TRUE(buffer.room().empty());
}

TEST(SendBuffer, KeepsARoomThatWasGivenOutWhileEverythingIsAcknowledged) {
  Fixture fixture;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);
  put(buffer, 10);
  const MutableByteView room = buffer.room();
  buffer.mark_sent(10);

  buffer.mark_acknowledged(10);
  std::memset(room.data(), 7, room.size());  // AddressSanitizer watches.
  buffer.commit(5);

  EXPECT_EQ(buffer.unsent().bytes, 5u);
  EXPECT_EQ(buffer.unsent().pieces[0][0], std::byte{7});
}

TEST(SendBuffer, AbandonKeepsWhatWasSentReadable) {
  Fixture fixture;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);
  put(buffer, 600'000, std::byte{5});
  const SendBuffer::Unsent before = buffer.unsent();
  buffer.mark_sent(1000);

  buffer.abandon();

  EXPECT_FALSE(buffer.has_unsent());
  EXPECT_EQ(before.pieces[0][999], std::byte{5});
  EXPECT_EQ(fixture.budget.used_bytes, ChunkPool::kSmallBytes);
  buffer.mark_acknowledged(1000);
  EXPECT_EQ(fixture.budget.used_bytes, 0u);
}

TEST(SendBuffer, GivesOneChunkEachWhenTheBudgetIsSpent) {
  Fixture fixture;
  fixture.budget.used_bytes = SendBudget::kBytesMax;
  SendBuffer buffer(fixture.pool, fixture.budget, kLimit);

  const std::size_t taken = put(buffer, kLimit);

  EXPECT_EQ(taken, ChunkPool::kSmallBytes);
}

TEST(ChunkPool, KeepsABoundedAmount) {
  ChunkPool pool;
  std::vector<ChunkPool::Chunk*> chunks;
  for (int i = 0; i < 200; ++i) chunks.push_back(pool.take(ChunkPool::kLargeBytes));

  for (ChunkPool::Chunk* chunk : chunks) pool.give(chunk);

  EXPECT_LE(pool.kept_bytes(), ChunkPool::kKeptBytesMax);
}

// Against a plain queue of bytes, over random schedules of every call.
TEST(SendBuffer, BehavesLikeAQueueOfBytes) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Fixture fixture;
    SendBuffer buffer(fixture.pool, fixture.budget, 200'000);
    std::deque<std::byte> unsent;
    std::uint64_t sent = 0, acknowledged = 0;
    for (int step = 0; step < 1500; ++step) {
      const std::uint64_t choice = random.below(4);
      if (choice == 0) {
        const MutableByteView room = buffer.room();
        const std::size_t size = random.below(room.size() + 1);
        random.fill(room.first(size));
        unsent.insert(unsent.end(), room.begin(), room.begin() + static_cast<long>(size));
        buffer.commit(size);
      } else if (choice < 3) {
        const SendBuffer::Unsent next = buffer.unsent();
        ASSERT_EQ(next.is_all, next.bytes == unsent.size());
        ASSERT_EQ(next.bytes == 0, unsent.empty());
        const std::size_t size = random.below(std::min<std::size_t>(next.bytes, 30'000) + 1);
        for (std::size_t i = 0; i < size; ++i) {
          const std::size_t first = next.pieces[0].size();
          const std::byte value = i < first ? next.pieces[0][i] : next.pieces[1][i - first];
          ASSERT_EQ(value, unsent.front());
          unsent.pop_front();
        }
        buffer.mark_sent(size);
        sent += size;
      } else {
        acknowledged += random.below(sent - acknowledged + 1);
        buffer.mark_acknowledged(acknowledged);
      }
    }
    buffer.clear();
    EXPECT_EQ(fixture.budget.used_bytes, 0u);
  }
}

}  // namespace
}  // namespace openp2p::quic
