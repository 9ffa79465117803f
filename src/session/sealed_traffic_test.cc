#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/check.h"
#include "session/sealed_traffic.h"
#include "session/test_sealed.h"
#include "session/test_sealed_pair.h"

/// The queue, and the two sides of one session's sealed datagrams.
namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

constexpr SealedUse kUse = SealedUse::kForward;

bool put(SealedOutbox& outbox, ByteView payload) {
  const MutableByteView room = outbox.room(kUse, payload.size());
  if (room.empty()) return false;
  std::copy(payload.begin(), payload.end(), room.begin());
  outbox.commit();
  return true;
}

TEST(SealedOutbox, GivesBackInOrder) {
  SealedMemory memory;
  SealedOutbox outbox(memory);
  Random random(1);
  std::uint32_t written = 0, read = 0;
  const auto size_of = [](std::uint32_t number) { return 4 + number * 37 % 1'440; };
  for (int turn = 0; turn < 200; ++turn) {
    for (std::uint64_t i = random.below(60); i > 0; --i, ++written) {
      ASSERT_TRUE(put(outbox, numbered_payload(written, size_of(written))));
    }
    for (std::uint64_t i = random.below(60); i > 0 && !outbox.empty(); --i, ++read) {
      const Bytes expected = numbered_payload(read, size_of(read));
      ASSERT_TRUE(std::ranges::equal(outbox.front().payload, expected));
      outbox.pop();
    }
  }
  while (!outbox.empty()) {
    ASSERT_EQ(number_of(outbox.front().payload), read++);
    outbox.pop();
  }
  EXPECT_EQ(read, written);
  EXPECT_EQ(memory.used_bytes, 0U);
}

TEST(SealedOutbox, IsBounded) {
  SealedMemory memory;
  SealedOutbox outbox(memory);
  const Bytes payload(1'400);
  std::size_t count = 0;
  while (put(outbox, payload)) ++count;

  EXPECT_GT(count, SealedOutbox::kBytesMax / 1'410);
  EXPECT_LE(count * payload.size(), SealedOutbox::kBytesMax);
  outbox.pop();
  EXPECT_TRUE(put(outbox, payload));
}

TEST(SealedOutbox, ManyTogetherAreBounded) {
  SealedMemory memory;
  std::vector<std::unique_ptr<SealedOutbox>> outboxes;
  const Bytes payload(1'400);
  bool is_full = false;
  while (!is_full && outboxes.size() < 5'000) {
    outboxes.push_back(std::make_unique<SealedOutbox>(memory));
    is_full = !put(*outboxes.back(), payload);
  }

  EXPECT_TRUE(is_full);
  EXPECT_LE(memory.used_bytes, SealedMemory::kBytesMax);
  outboxes.clear();
  EXPECT_EQ(memory.used_bytes, 0U);
}

TEST(SealedOutbox, ARoomThatIsNotCommittedIsForgotten) {
  SealedMemory memory;
  SealedOutbox outbox(memory);
  EXPECT_FALSE(outbox.room(kUse, 100).empty());
  EXPECT_TRUE(outbox.empty());

  ASSERT_TRUE(put(outbox, numbered_payload(1)));

  EXPECT_EQ(number_of(outbox.front().payload), 1U);
  outbox.pop();
  EXPECT_TRUE(outbox.empty());
}

TEST(SealedOutbox, RefusesWhatFitsNoDatagram) {
  SealedMemory memory;
  SealedOutbox outbox(memory);

  EXPECT_TRUE(outbox.room(kUse, 0).empty());
  EXPECT_TRUE(outbox.room(kUse, 70'000).empty());
  EXPECT_EQ(memory.used_bytes, 0U);
}

TEST(SealedTraffic, IdsAndKeysDifferForEachUseAndDirection) {
  SealedPair pair;
  std::set<SealedId> ids;
  for (const SealedTraffic::Ids& side : {pair.one.ids, pair.two.ids}) {
    ids.insert(side.begin(), side.end());
  }
  EXPECT_EQ(ids.size(), 2 * kSealedUses);

  const Bytes datagram = pair.send(pair.one, kUse, numbered_payload(1));

  // A datagram of one use is nothing to another, nor to who sent it.
  for (std::size_t i = 0; i < kSealedUses; ++i) {
    const auto use = static_cast<SealedUse>(i);
    EXPECT_EQ(pair.deliver(pair.one, use, datagram), 0U);
    if (use == kUse) continue;
    EXPECT_EQ(pair.deliver(pair.two, use, datagram), 0U);
  }
  EXPECT_EQ(pair.deliver(pair.two, kUse, datagram), 1U);
}

TEST(SealedTraffic, EqualSizesMakeOneBurst) {
  SealedPair pair;
  Bytes out(65'000);
  for (std::uint32_t i = 0; i < 20; ++i) pair.write(pair.one, kUse, numbered_payload(i, 1'000));
  pair.write(pair.one, kUse, numbered_payload(20, 10));
  pair.write(pair.one, kUse, numbered_payload(21, 1'000));

  const quic::Burst first = pair.one.traffic.poll_burst(out, 1'472, pair.now);
  EXPECT_EQ(first.segment_bytes, 1'000 + kSealedOverhead);
  EXPECT_EQ(first.bytes, 20 * (1'000 + kSealedOverhead) + 10 + kSealedOverhead);
  EXPECT_EQ(pair.deliver(pair.two, kUse, ByteView(out).first(first.bytes), first.segment_bytes),
            21U);
  EXPECT_EQ(pair.one.traffic.poll_burst(out, 1'472, pair.now).bytes, 1'000 + kSealedOverhead);
  EXPECT_EQ(pair.one.traffic.poll_burst(out, 1'472, pair.now).bytes, 0U);
}

TEST(SealedTraffic, ABurstFitsTheBuffer) {
  SealedPair pair;
  for (std::uint32_t i = 0; i < 10; ++i) pair.write(pair.one, kUse, numbered_payload(i, 1'000));
  Bytes out(3'500);

  EXPECT_EQ(pair.one.traffic.poll_burst(out, 1'472, pair.now).bytes, 3 * (1'000 + kSealedOverhead));
}

TEST(SealedTraffic, WhatAPathDoesNotCarryIsDropped) {
  SealedPair pair;
  pair.write(pair.one, kUse, numbered_payload(1, 1'400));
  pair.write(pair.one, kUse, numbered_payload(2, 1'000));
  Bytes out(65'000);

  const quic::Burst burst = pair.one.traffic.poll_burst(out, 1'200, pair.now);

  EXPECT_EQ(burst.bytes, 1'000 + kSealedOverhead);
  EXPECT_EQ(pair.one.shared.counters.dropped, 1U);
}

TEST(SealedTraffic, NobodyListens) {
  SealedPair pair;
  const Bytes datagram = pair.send(pair.one, kUse, numbered_payload(1));
  pair.two.traffic.set_handler(kUse, nullptr);

  EXPECT_EQ(pair.deliver(pair.two, kUse, datagram), 0U);
  EXPECT_EQ(pair.two.shared.counters.unheard, 1U);
}

TEST(SealedTraffic, AHandlerMayTakeItselfOffAndStopTheSession) {
  SealedPair pair;
  for (std::uint32_t i = 0; i < 10; ++i) pair.write(pair.one, kUse, numbered_payload(i));
  Bytes out(65'000);
  const quic::Burst burst = pair.one.traffic.poll_burst(out, 1'472, pair.now);
  pair.two.ear.on_heard = [&](Session&, SealedUse use, MutableByteView payload) {
    if (number_of(payload) == 3) pair.two.traffic.set_handler(use, nullptr);
  };

  EXPECT_EQ(pair.deliver(pair.two, kUse, ByteView(out).first(burst.bytes), burst.segment_bytes),
            4U);

  pair.two.traffic.stop();
  EXPECT_TRUE(pair.two.traffic.room(kUse, 10).empty());
  pair.two.traffic.set_handler(kUse, &pair.two.ear);
  EXPECT_EQ(pair.deliver(pair.two, kUse, pair.send(pair.one, kUse, numbered_payload(9))), 0U);
}

/// As a relayed session's datagrams do, which come inside another's.
TEST(SealedTraffic, DatagramsInsideDatagramsLeaveTheOuterPayloadAlone) {
  SealedPair inner(1);
  SealedPair outer(2, &inner.two.shared);
  const Bytes inside = inner.send(inner.one, kUse, numbered_payload(5, 500));
  const Bytes around = outer.send(outer.one, SealedUse::kRelay, inside);
  bool is_unchanged = false;
  outer.two.ear.on_heard = [&](Session&, SealedUse, MutableByteView payload) {
    EXPECT_EQ(inner.deliver(inner.two, kUse, payload), 1U);
    is_unchanged = std::ranges::equal(payload, inside);
  };

  EXPECT_EQ(outer.deliver(outer.two, SealedUse::kRelay, around), 1U);

  EXPECT_TRUE(is_unchanged);
  ASSERT_EQ(inner.two.ear.count(kUse), 1U);
  EXPECT_EQ(inner.two.ear.heard[kUse][0], numbered_payload(5, 500));
  EXPECT_EQ(inner.two.shared.depth, 0U);
}

TEST(SealedTraffic, NoThirdLevelIsOpened) {
  SealedPair pair;
  pair.two.shared.depth = SealedShared::kNestingMax;

  EXPECT_EQ(pair.deliver(pair.two, kUse, pair.send(pair.one, kUse, numbered_payload(1))), 0U);
}

TEST(SealedTraffic, OversizedAndTinyDatagramsAreMalformed) {
  SealedPair pair;

  EXPECT_EQ(pair.deliver(pair.two, kUse, Bytes(kSealedBytesMax + 1, std::byte{0x40})), 0U);
  EXPECT_EQ(pair.deliver(pair.two, kUse, Bytes(kSealedOverhead - 1, std::byte{0x40})), 0U);
  EXPECT_EQ(pair.two.shared.counters.forged, 2U);
}

TEST(SealedTraffic, TellsWhatIsMissingOfWhatThePeerSent) {
  SealedPair pair;
  std::vector<Bytes> sent;
  for (std::uint32_t i = 0; i < 100; ++i) sent.push_back(pair.send(pair.one, kUse, Bytes(50)));
  Bytes forged = sent[99];
  forged.back() ^= std::byte{1};

  for (std::size_t i = 10; i < 90; ++i) {
    if (i % 8 != 0) pair.deliver(pair.two, kUse, sent[i]);
  }
  pair.deliver(pair.two, kUse, sent[20]);
  pair.deliver(pair.two, kUse, forged);

  EXPECT_EQ(pair.two.traffic.arrivals().sent, 90U) << "of what was lost at the end nobody knows";
  EXPECT_EQ(pair.two.traffic.arrivals().came, 70U);
  EXPECT_EQ(pair.two.traffic.arrivals().payload_bytes, 70U * 50U);
  pair.deliver(pair.two, kUse, sent[16]);
  EXPECT_EQ(pair.two.traffic.arrivals().came, 71U) << "it was only late";
  EXPECT_EQ(pair.one.traffic.arrivals().sent, 0U);
}

}  // namespace
}  // namespace openp2p::session
