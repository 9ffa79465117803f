#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"
#include "session/sealed_receiver.h"
#include "session/sealed_sender.h"
#include "session/test_sealed.h"

/// One direction of one use: what a sender seals, and what a receiver makes of it.
namespace openp2p::session {
namespace {

using namespace std::chrono_literals;
using Verdict = SealedReceiver::Verdict;

constexpr SealedId kId = 0x0102030405060708;
constexpr SealedLimits kSmallEpochs{.datagrams_per_key_max = 100};

struct Way {
  explicit Way(const SealedLimits& limits = {},
               quic::AeadAlgorithm algorithm = quic::AeadAlgorithm::kAes128Gcm)
      : protection(quic::make_packet_protection()),
        sender(kId, ratchet(1, algorithm), limits),
        receiver(ratchet(1, algorithm), limits) {}

  SealedRatchet ratchet(int number, quic::AeadAlgorithm algorithm) const {
    std::array<std::byte, kSealedSecretSize> secret;
    secret.fill(static_cast<std::byte>(number));
    return {*protection, algorithm, secret};
  }

  Bytes seal(ByteView payload) {
    Bytes datagram(payload.size() + kSealedOverhead);
    sender.seal(payload, datagram, now);
    return datagram;
  }
  Bytes seal(std::uint32_t number) { return seal(numbered_payload(number)); }
  /// Whole epochs of datagrams that arrive nowhere.
  void lose(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) seal(i);
  }

  Verdict open(ByteView datagram) {
    opened.assign(datagram.size() - std::min(datagram.size(), kSealedOverhead), std::byte{});
    return receiver.open(datagram, opened, now);
  }

  TimePoint now{1h};
  std::unique_ptr<quic::PacketProtection> protection;
  SealedSender sender;
  SealedReceiver receiver;
  Bytes opened;
};

TEST(Sealed, OpensWhatWasSealedWithEachAlgorithm) {
  for (const auto algorithm : {quic::AeadAlgorithm::kAes128Gcm, quic::AeadAlgorithm::kAes256Gcm,
                               quic::AeadAlgorithm::kChaCha20Poly1305}) {
    Way way({}, algorithm);
    for (const std::size_t size : {4u, 17u, 1'300u, 1'443u}) {
      const Bytes payload = numbered_payload(7, size);
      ASSERT_EQ(way.open(way.seal(payload)), Verdict::kOpened);
      EXPECT_EQ(way.opened, payload);
    }
  }
}

TEST(Sealed, LooksLikeAShortHeaderWithItsId) {
  Way way;
  const Bytes datagram = way.seal(numbered_payload(1));

  EXPECT_EQ(datagram.size(), 100 + kSealedOverhead);
  EXPECT_EQ(quic::destination_id(datagram), kId);
  EXPECT_TRUE(is_sealed_form(datagram));
}

TEST(Sealed, OpensEachDatagramOnce) {
  Way way;
  const Bytes datagram = way.seal(1);

  EXPECT_EQ(way.open(datagram), Verdict::kOpened);
  EXPECT_EQ(way.open(datagram), Verdict::kReplayed);
  EXPECT_EQ(way.open(way.seal(2)), Verdict::kOpened);
  EXPECT_EQ(way.open(datagram), Verdict::kReplayed);
}

TEST(Sealed, AnyOrderWithinTheWindow) {
  Way way;
  std::vector<Bytes> datagrams;
  for (std::uint32_t i = 0; i < SealedReceiver::kWindow; ++i) datagrams.push_back(way.seal(i));
  Random random(5);
  for (std::size_t i = datagrams.size(); i > 1; --i) {
    std::swap(datagrams[i - 1], datagrams[random.below(i)]);
  }

  std::set<std::uint32_t> seen;
  for (const Bytes& datagram : datagrams) {
    ASSERT_EQ(way.open(datagram), Verdict::kOpened);
    seen.insert(number_of(way.opened));
  }
  EXPECT_EQ(seen.size(), SealedReceiver::kWindow);
}

TEST(Sealed, OlderThanTheWindowIsDropped) {
  Way way;
  const Bytes oldest = way.seal(0);
  const Bytes second = way.seal(1);
  way.lose(SealedReceiver::kWindow - 1);
  ASSERT_EQ(way.open(way.seal(2)), Verdict::kOpened);

  EXPECT_EQ(way.open(oldest), Verdict::kReplayed);
  EXPECT_EQ(way.open(second), Verdict::kReplayed);
}

TEST(Sealed, EveryChangedBitIsNoticed) {
  Way way;
  const Bytes datagram = way.seal(numbered_payload(1, 8));

  for (std::size_t bit = 0; bit < datagram.size() * 8; ++bit) {
    Bytes forged = datagram;
    forged[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(way.open(forged), Verdict::kOpened) << "bit " << bit;
  }

  EXPECT_EQ(way.open(datagram), Verdict::kOpened);  // None of them spoilt anything.
}

TEST(Sealed, EveryTruncationIsNoticed) {
  Way way;
  const Bytes datagram = way.seal(1);

  for (std::size_t size = 0; size < datagram.size(); ++size) {
    const Verdict verdict = way.open(ByteView(datagram).first(size));
    ASSERT_EQ(verdict, size < kSealedOverhead ? Verdict::kMalformed : Verdict::kForged) << size;
  }
  Bytes longer = datagram;
  longer.push_back(std::byte{});
  EXPECT_EQ(way.open(longer), Verdict::kForged);

  EXPECT_EQ(way.open(datagram), Verdict::kOpened);
}

TEST(Sealed, ForgedCountersMoveNoWindow) {
  Way way;
  const Bytes first = way.seal(1);
  Bytes forged = way.seal(2);
  forged[9] = std::byte{0x7F};

  EXPECT_EQ(way.open(forged), Verdict::kForged);
  EXPECT_EQ(way.open(first), Verdict::kOpened);
}

TEST(Sealed, FollowsTheSenderFromEpochToEpoch) {
  Way way(kSmallEpochs);
  for (std::uint32_t i = 0; i < 100 * 200; ++i) {  // Three times round the first byte's six bits.
    ASSERT_EQ(way.open(way.seal(i)), Verdict::kOpened) << i;
    ASSERT_EQ(number_of(way.opened), i);
  }

  EXPECT_EQ(way.sender.epoch(), 199U);
  EXPECT_EQ(way.receiver.epoch(), 199U);
}

TEST(Sealed, NoCounterAndNoNonceComesTwice) {
  Way way(kSmallEpochs);
  std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
  for (std::uint32_t i = 0; i < 1'000; ++i) {
    SealedHeader header;
    ASSERT_TRUE(read_sealed_header(way.seal(i), header));
    EXPECT_LT(header.counter, kSmallEpochs.datagrams_per_key_max);
    EXPECT_TRUE(seen.emplace(way.sender.epoch(), header.counter).second);
  }
  EXPECT_LT(SealedLimits().datagrams_per_key_max, 1U << 23);  // RFC 9001 section 6.6.
}

TEST(Sealed, AKeyThatIsUsedForAnHourIsReplaced) {
  Way way;
  ASSERT_EQ(way.open(way.seal(1)), Verdict::kOpened);
  way.now += 59min;
  ASSERT_EQ(way.open(way.seal(2)), Verdict::kOpened);
  EXPECT_EQ(way.sender.epoch(), 0U);

  way.now += 1min;

  EXPECT_EQ(way.open(way.seal(3)), Verdict::kOpened);
  EXPECT_EQ(way.sender.epoch(), 1U);
}

TEST(Sealed, AnUnusedKeyDoesNotAge) {
  Way way;
  way.now += 1000h;

  EXPECT_EQ(way.open(way.seal(1)), Verdict::kOpened);
  EXPECT_EQ(way.sender.epoch(), 0U);
}

TEST(Sealed, TheEpochBeforeIsKeptALittle) {
  Way way(kSmallEpochs);
  std::vector<Bytes> late;
  for (std::uint32_t i = 0; i < 100; ++i) late.push_back(way.seal(i));
  ASSERT_EQ(way.open(way.seal(100)), Verdict::kOpened);

  EXPECT_EQ(way.open(late[99]), Verdict::kOpened);
  EXPECT_EQ(way.open(late[99]), Verdict::kReplayed);
  way.now += SealedReceiver::kPreviousKept - 1ns;
  EXPECT_EQ(way.open(late[98]), Verdict::kOpened);
  way.now += 1ns;
  EXPECT_EQ(way.open(late[97]), Verdict::kStale);
  EXPECT_EQ(way.open(late[99]), Verdict::kStale);
}

TEST(Sealed, AForgedEpochMovesNothing) {
  Way way(kSmallEpochs);
  const Bytes datagram = way.seal(1);
  for (int bits = 0; bits < 64; ++bits) {
    Bytes forged = datagram;
    forged[0] = static_cast<std::byte>(0b0100'0000 | bits);
    if (forged == datagram) continue;
    way.now += 1s;
    EXPECT_NE(way.open(forged), Verdict::kOpened) << bits;
  }

  EXPECT_EQ(way.receiver.epoch(), 0U);
  EXPECT_EQ(way.open(datagram), Verdict::kOpened);
}

TEST(Sealed, ADatagramOfOldRoundsIsNotTakenForANewOne) {
  Way way(kSmallEpochs);
  const Bytes old = way.seal(0);
  for (std::uint32_t i = 1; i < 100 * 64 + 1; ++i) {
    ASSERT_EQ(way.open(way.seal(i)), Verdict::kOpened);
  }
  ASSERT_EQ(way.receiver.epoch(), 64U);  // Has the same six bits.

  SealedHeader header;
  ASSERT_TRUE(read_sealed_header(old, header));
  EXPECT_EQ(header.epoch_bits, 0);
  EXPECT_NE(way.open(old), Verdict::kOpened);
}

TEST(Sealed, WholeLostEpochsAreSkipped) {
  for (const std::uint32_t lost : {1U, 2U, 30U, 62U}) {
    Way way(kSmallEpochs);
    ASSERT_EQ(way.open(way.seal(0)), Verdict::kOpened);
    way.lose(100 * lost - 1);  // To the first of the epoch that is so far ahead.

    EXPECT_EQ(way.open(way.seal(1)), Verdict::kOpened) << lost;
    EXPECT_EQ(way.receiver.epoch(), lost);
    for (std::uint32_t i = 0; i < 300; ++i) ASSERT_EQ(way.open(way.seal(i)), Verdict::kOpened);
  }
}

TEST(Sealed, ForgersGetFewSearchesAhead) {
  Way way(kSmallEpochs);
  Bytes forged = way.seal(0);
  forged[0] = std::byte{0b0110'0000};

  EXPECT_EQ(way.open(forged), Verdict::kForged);
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(way.open(forged), Verdict::kStale);
  way.now += SealedReceiver::kFarGap;
  EXPECT_EQ(way.open(forged), Verdict::kForged);
}

TEST(Sealed, AKeyThatWasAttackedTooOftenOpensNothingMore) {
  Way way({.datagrams_per_key_max = 100, .forged_per_key_max = 10});
  Bytes forged = way.seal(0);
  forged.back() ^= std::byte{1};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(way.open(forged), Verdict::kForged);

  EXPECT_EQ(way.open(way.seal(1)), Verdict::kForged);
  way.lose(98);
  EXPECT_EQ(way.open(way.seal(2)), Verdict::kOpened);  // The next epoch's key is another.
}

TEST(Sealed, AnotherSecretOpensNothing) {
  Way way;
  SealedReceiver other(way.ratchet(2, quic::AeadAlgorithm::kAes128Gcm));
  const Bytes datagram = way.seal(1);
  Bytes out(100);

  EXPECT_EQ(other.open(datagram, out, way.now), Verdict::kForged);
}

/// Whatever order, copies and losses: each payload at most once, unchanged, and all that were
/// neither lost nor overtaken by more than the window.
TEST(Sealed, RandomSchedulesDeliverEachPayloadAtMostOnce) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    Way way({.datagrams_per_key_max = 50});
    std::multimap<std::uint64_t, Bytes> in_flight;  // By the step at which it arrives.
    std::set<std::uint32_t> lost, seen;
    for (std::uint32_t i = 0; i < 2'000; ++i) {
      const Bytes datagram = way.seal(i);
      if (random.chance(0.1)) {
        lost.insert(i);
      } else {
        in_flight.emplace(i + random.below(40), datagram);
        if (random.chance(0.1)) in_flight.emplace(i + random.below(400), datagram);
      }
      const auto end = in_flight.upper_bound(i);
      for (auto it = in_flight.begin(); it != end; ++it) {
        if (way.open(it->second) != Verdict::kOpened) continue;
        ASSERT_EQ(way.opened, numbered_payload(number_of(way.opened)));
        ASSERT_TRUE(seen.insert(number_of(way.opened)).second);
      }
      in_flight.erase(in_flight.begin(), end);
    }
    EXPECT_GE(seen.size() + lost.size() + in_flight.size(), 2'000U);
  }
}

}  // namespace
}  // namespace openp2p::session
