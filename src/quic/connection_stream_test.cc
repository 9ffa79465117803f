#include <gtest/gtest.h>

#include <set>

#include "base/check.h"
#include "quic/test_pair.h"

/// Streams over connections: order, limits, ends.
namespace openp2p::quic {
namespace {

using namespace std::chrono_literals;

class StreamTest : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    protection = make_packet_protection(GetParam());
    if (!protection) GTEST_SKIP() << "this machine has no such back end";
  }
  std::unique_ptr<PacketProtection> protection;
};

/// Connected, with one stream that the client has opened.
class OpenPair : public Pair {
 public:
  explicit OpenPair(const PacketProtection& protection, Duration delay = NetworkRules().delay)
      : Pair(protection) {
    rules.delay = delay;
    CHECK(connect());
    id = *client.connection->open_stream();
  }
  StreamId id;
};

TEST_P(StreamTest, CarriesStreamsBothWaysOverABadNetwork) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Pair pair(*protection, seed);
    pair.rules = {.loss = 0.1, .duplication = 0.05, .reordering = 0.3};
    ASSERT_TRUE(pair.connect());
    std::vector<std::unique_ptr<Sender>> senders;
    for (Party* party : {&pair.client, &pair.server}) {
      for (std::uint64_t i = 0; i < 3; ++i) {
        const auto id = party->connection->open_stream();
        ASSERT_TRUE(id.has_value());
        senders.push_back(std::make_unique<Sender>(*party, *id, patterned(i, 40'000 + i * 70'000)));
        senders.back()->push();
      }
      party->when_writable = [&senders](StreamId id) {
        for (auto& sender : senders) {
          if (sender->id() == id) sender->push();
        }
      };
      party->when_data = [party](StreamId id, ByteView, bool is_end) {
        if (is_end) party->connection->finish(id);
      };
    }

    const bool done = pair.run(
        120s, [&] { return pair.client.closed_streams == 6 && pair.server.closed_streams == 6; });

    ASSERT_TRUE(done);
    for (std::size_t i = 0; i < senders.size(); ++i) {
      Party& receiver = i < 3 ? pair.server : pair.client;
      EXPECT_TRUE(receiver.streams[senders[i]->id()].data == senders[i]->data());
    }
  }
}

TEST_P(StreamTest, StaysOpenOneWayAfterAHalfClose) {
  OpenPair pair(*protection);
  Sender request(pair.client, pair.id, patterned(1, 5000));
  request.push();
  ASSERT_TRUE(pair.run(5s, [&] { return pair.server.streams[pair.id].is_end; }));
  pair.run(5s);
  EXPECT_FALSE(pair.client.streams[pair.id].is_closed);

  Sender answer(pair.server, pair.id, patterned(2, 300'000));
  answer.push();
  const bool done = pair.run(20s, [&] {
    return pair.client.streams[pair.id].is_closed && pair.server.streams[pair.id].is_closed;
  });

  ASSERT_TRUE(done);
  EXPECT_TRUE(pair.client.streams[pair.id].data == answer.data());
  EXPECT_TRUE(pair.server.streams[pair.id].data == request.data());
}

TEST_P(StreamTest, ResetEndsOneDirectionWithItsCode) {
  OpenPair pair(*protection);
  pair.client.connection->write(pair.id, patterned(1, 500'000));
  pair.run(15ms);

  pair.client.connection->reset(pair.id, kErrorCodeMax);
  EXPECT_EQ(pair.client.connection->write(pair.id, as_bytes("more")), 0u);
  ASSERT_TRUE(pair.run(5s, [&] { return pair.server.streams[pair.id].reset_code.has_value(); }));
  EXPECT_EQ(pair.server.streams[pair.id].reset_code, kErrorCodeMax);
  EXPECT_FALSE(pair.server.streams[pair.id].is_end);
  Sender answer(pair.server, pair.id, patterned(2, 5000));
  answer.push();

  ASSERT_TRUE(pair.run(5s, [&] {
    return pair.client.streams[pair.id].is_closed && pair.server.streams[pair.id].is_closed;
  }));
  EXPECT_TRUE(pair.client.streams[pair.id].data == answer.data());
}

TEST_P(StreamTest, StopReachesTheSender) {
  OpenPair pair(*protection);
  Sender request(pair.client, pair.id, patterned(1, 3'000'000));
  request.push();
  pair.run(25ms);

  pair.server.connection->stop(pair.id, kErrorCodeMax);
  ASSERT_TRUE(pair.run(5s, [&] { return pair.client.streams[pair.id].stop_code.has_value(); }));
  EXPECT_EQ(pair.client.streams[pair.id].stop_code, kErrorCodeMax);
  EXPECT_EQ(pair.client.connection->write(pair.id, as_bytes("more")), 0u);
  pair.server.connection->finish(pair.id);

  ASSERT_TRUE(pair.run(5s, [&] {
    return pair.client.streams[pair.id].is_closed && pair.server.streams[pair.id].is_closed;
  }));
}

TEST_P(StreamTest, CodesThatQuicCannotCarryAreABugOfTheCaller) {
  OpenPair pair(*protection);
  Connection& connection = *pair.client.connection;

  EXPECT_DEATH(connection.reset(pair.id, kErrorCodeMax + 1), "code <= kErrorCodeMax");
  EXPECT_DEATH(connection.stop(pair.id, kErrorCodeMax + 1), "code <= kErrorCodeMax");
  EXPECT_DEATH(connection.close(kErrorCodeMax + 1, "", pair.now), "code <= kErrorCodeMax");
}

// What ngtcp2 sent before a reset it may send again after it: the memory must still be there.
TEST_P(StreamTest, SurvivesResetsAndStopsUnderLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Pair pair(*protection, seed);
    pair.rules = {.loss = 0.15, .reordering = 0.3};
    ASSERT_TRUE(pair.connect());
    Random random(seed);
    std::vector<StreamId> ids;
    for (int i = 0; i < 20; ++i) {
      const StreamId id = *pair.client.connection->open_stream();
      ids.push_back(id);
      pair.client.connection->write(id, patterned(1, 60'000));
      pair.run(std::chrono::milliseconds(random.below(30)));
      if (random.chance(0.5)) pair.client.connection->reset(id, 1);
      if (random.chance(0.5)) pair.server.connection->stop(id, 2);
      pair.client.connection->finish(id);
    }
    pair.run(20s);
    for (const StreamId id : ids) pair.server.connection->finish(id);

    // Streams that were reset before anything of them arrived are unknown to the server.
    ASSERT_TRUE(pair.run(60s, [&] { return pair.server.closed_streams == pair.server.opened; }));
    EXPECT_FALSE(pair.client.closed);
    const StreamId last = *pair.client.connection->open_stream();
    Sender sender(pair.client, last, patterned(9, 50'000));
    sender.push();
    ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[last].is_end; }));
    EXPECT_TRUE(pair.server.streams[last].data == sender.data());
  }
}

TEST_P(StreamTest, ASlowReaderHoldsOnlyItsOwnStream) {
  Pair pair(*protection);
  pair.server.consumes = false;
  ASSERT_TRUE(pair.connect());
  const StreamId slow = *pair.client.connection->open_stream();
  const StreamId fast = *pair.client.connection->open_stream();
  pair.server.when_data = [&](StreamId id, ByteView data, bool) {
    if (id == fast) pair.server.connection->consume(id, data.size());
  };
  Sender slow_sender(pair.client, slow, patterned(1, 3'000'000));
  Sender fast_sender(pair.client, fast, patterned(2, 6'000'000));
  pair.client.when_writable = [&](StreamId id) { (id == slow ? slow_sender : fast_sender).push(); };
  slow_sender.push();
  fast_sender.push();

  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[fast].is_end; }));
  EXPECT_LE(pair.server.streams[slow].size, 1u << 20);  // The first window.
  EXPECT_FALSE(pair.server.streams[slow].is_end);

  // It reads again.
  pair.server.when_data = [&](StreamId id, ByteView data, bool) {
    pair.server.connection->consume(id, data.size());
  };
  pair.server.connection->consume(slow, pair.server.streams[slow].size);
  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[slow].is_end; }));
  EXPECT_TRUE(pair.server.streams[slow].data == slow_sender.data());
}

// Without care, streams that nobody reads use up the whole connection's credit.
TEST_P(StreamTest, ManySlowReadersHoldNoOther) {
  Pair pair(*protection);
  pair.server.consumes = false;
  ASSERT_TRUE(pair.connect());
  for (int i = 0; i < 20; ++i) {
    const StreamId slow = *pair.client.connection->open_stream();
    pair.client.connection->write(slow, Bytes(1 << 20));
    pair.run(1s);
  }
  const StreamId fast = *pair.client.connection->open_stream();
  pair.server.when_data = [&](StreamId id, ByteView data, bool) {
    if (id == fast) pair.server.connection->consume(id, data.size());
  };
  Sender sender(pair.client, fast, patterned(2, 6'000'000));
  pair.client.when_writable = [&](StreamId id) {
    if (id == fast) sender.push();
  };
  sender.push();

  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[fast].is_end; }));
  EXPECT_TRUE(pair.server.streams[fast].data == sender.data());
}

// What a peer can make this side hold ends at the limit, whatever it does with how many streams.
TEST_P(StreamTest, WhatWaitsForReadersIsBounded) {
  Pair pair(*protection);
  pair.server.consumes = false;
  pair.server.keeps_data = false;
  pair.server.config.connection_window_bytes = 4 << 20;
  ASSERT_TRUE(pair.connect());
  for (int i = 0; i < 40; ++i) {
    pair.client.connection->write(*pair.client.connection->open_stream(), Bytes(1 << 20));
  }

  pair.run(30s);

  std::uint64_t held = 0;
  for (const auto& [id, stream] : pair.server.streams) held += stream.size;
  EXPECT_GE(held, 4u << 20);
  EXPECT_LE(held, 8u << 20);
}

TEST_P(StreamTest, PeerGetsOnlyAsManyStreamsAsAllowed) {
  Pair pair(*protection);
  pair.server.config.peer_streams_max = 100;
  pair.server.consumes = false;
  ASSERT_TRUE(pair.connect());
  std::vector<StreamId> ids;

  for (int i = 0; i < 10'000; ++i) {
    const auto id = pair.client.connection->open_stream();
    if (!id) {
      EXPECT_EQ(id.error(), QuicError::kStreamLimit);
      break;
    }
    ids.push_back(*id);
    pair.client.connection->write(*id, as_bytes("hello"));
    pair.client.connection->finish(*id);
  }
  ASSERT_EQ(ids.size(), 100u);
  ASSERT_TRUE(pair.run(5s, [&] { return pair.server.opened == 100; }));
  for (const StreamId id : ids) pair.server.connection->finish(id);
  ASSERT_TRUE(pair.run(5s, [&] { return pair.server.closed_streams == 100; }));

  // All have ended, but their bytes wait here for a reader: no more are allowed before it reads.
  pair.run(1s);
  EXPECT_FALSE(pair.client.connection->open_stream());
  for (std::size_t i = 0; i < 60; ++i) pair.server.connection->consume(ids[i], 5);
  for (std::size_t i = 60; i < 100; ++i) pair.server.connection->stop(ids[i], 0);
  pair.run(1s);
  EXPECT_TRUE(pair.client.connection->open_stream());
}

TEST_P(StreamTest, CarriesThousandsOfShortStreamsOneAfterTheOther) {
  Pair pair(*protection);
  pair.server.config.peer_streams_max = 64;
  pair.client.keeps_data = pair.server.keeps_data = false;
  ASSERT_TRUE(pair.connect());
  pair.server.when_data = [&](StreamId id, ByteView, bool is_end) {
    if (!is_end) return;
    pair.server.connection->write(id, as_bytes("answer"));
    pair.server.connection->finish(id);
  };
  std::size_t opened = 0;
  const auto open_more = [&] {
    while (opened < 5000) {
      const auto id = pair.client.connection->open_stream();
      if (!id) return;
      ++opened;
      pair.client.connection->write(*id, as_bytes("question"));
      pair.client.connection->finish(*id);
    }
  };
  const bool done = pair.run(300s, [&] {
    open_more();
    return pair.client.closed_streams == 5000;
  });

  EXPECT_TRUE(done);
  EXPECT_LT(pair.datagrams, 5000u);  // Frames of many streams share a packet.
}

TEST_P(StreamTest, FillsBurstsForOneSystemCall) {
  OpenPair pair(*protection, 100us);
  Sender sender(pair.client, pair.id, patterned(1, 8'000'000));
  pair.client.when_writable = [&](StreamId) { sender.push(); };
  sender.push();

  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[pair.id].is_end; }));

  EXPECT_GE(pair.largest_burst, 40u);
  EXPECT_TRUE(pair.server.streams[pair.id].data == sender.data());
}

/// The server echoes what comes, after some time; so long the client takes for its next question.
struct EchoAfter {
  EchoAfter(Pair& both, Duration patience) : pair(both), delay(patience) {
    pair.server.when_data = [this](StreamId id, ByteView data, bool) {
      waiting.emplace_back(id, to_bytes(data));
    };
  }
  void exchange(StreamId id, ByteView question) {
    const std::size_t had = pair.client.streams[id].data.size();
    pair.client.connection->write(id, question);
    ASSERT_TRUE(pair.run(1s, [&] { return !waiting.empty(); }));
    pair.run(delay);
    for (const auto& [stream, data] : waiting) pair.server.connection->write(stream, data);
    waiting.clear();
    ASSERT_TRUE(pair.run(1s, [&] { return pair.client.streams[id].data.size() > had; }));
    pair.run(delay);
  }
  Pair& pair;
  Duration delay;
  std::vector<std::pair<StreamId, Bytes>> waiting;
};

TEST_P(StreamTest, AnAnswerAcknowledgesItsQuestion) {
  OpenPair pair(*protection, 50us);
  EchoAfter echo(pair, 30us);
  echo.exchange(pair.id, as_bytes("first"));
  pair.run(1s);
  const std::size_t before = pair.datagrams;

  for (int i = 0; i < 100; ++i) echo.exchange(pair.id, as_bytes("question"));

  EXPECT_EQ(pair.datagrams - before, 200u);
}

TEST_P(StreamTest, AQuestionWithoutAnAnswerIsAcknowledgedSoon) {
  OpenPair pair(*protection, 50us);
  pair.run(1s);
  const std::size_t before = pair.datagrams;

  pair.client.connection->write(pair.id, as_bytes("question"));

  pair.run(1ms);
  EXPECT_EQ(pair.datagrams - before, 1u);
  pair.run(2ms);
  EXPECT_EQ(pair.datagrams - before, 2u);
  pair.run(10s);
  EXPECT_EQ(pair.datagrams - before, 2u);  // Nothing was thought to be lost.
}

TEST_P(StreamTest, EachSecondPacketIsAcknowledgedAtOnce) {
  OpenPair pair(*protection, 50us);
  pair.run(1s);
  const std::size_t before = pair.datagrams;

  pair.client.connection->write(pair.id, as_bytes("one"));
  pair.run(500us);
  pair.client.connection->write(pair.id, as_bytes("two"));
  pair.run(500us);

  EXPECT_EQ(pair.datagrams - before, 3u);
}

// A window of credit, or a ring, that never grew would cap this at 1 MiB a round trip: 6 s.
TEST_P(StreamTest, WindowsGrowWithTheBandwidthDelayProduct) {
  OpenPair pair(*protection, 50ms);
  Sender sender(pair.client, pair.id, Bytes(60'000'000));
  pair.client.when_writable = [&](StreamId) { sender.push(); };
  pair.server.keeps_data = false;
  const TimePoint started = pair.now;
  sender.push();

  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[pair.id].is_end; }));

  EXPECT_LT(pair.now - started, 4s);
}

TEST_P(StreamTest, PacesOnAWideAreaNetwork) {
  OpenPair pair(*protection, 25ms);
  Sender sender(pair.client, pair.id, patterned(1, 2'000'000));
  pair.client.when_writable = [&](StreamId) { sender.push(); };
  sender.push();

  ASSERT_TRUE(pair.run(60s, [&] { return pair.server.streams[pair.id].is_end; }));

  EXPECT_LE(pair.datagrams_at_once, 24u);
  EXPECT_LT(pair.now.time_since_epoch(), 1s);
}

// Everything that a handler may do, it does from inside the calls it gets.
TEST_P(StreamTest, AllowsEveryCommandInsideACallback) {
  Pair pair(*protection);
  pair.client.when_authenticated = [&] {
    const auto id = pair.client.connection->open_stream();
    ASSERT_TRUE(id.has_value());
    pair.client.connection->write(*id, patterned(1, 100'000));
    pair.client.connection->finish(*id);
  };
  pair.server.when_opened = [&](StreamId id) {
    pair.server.connection->write(id, as_bytes("welcome"));
    const auto other = pair.server.connection->open_stream();
    if (other) {
      pair.server.connection->write(*other, as_bytes("mine"));
      pair.server.connection->reset(*other, 5);
    }
  };
  pair.server.when_data = [&](StreamId id, ByteView, bool) {
    pair.server.connection->stop(id, 6);
    pair.server.connection->finish(id);
  };
  pair.client.when_stopped = [&](StreamId id) { pair.client.connection->reset(id, 7); };
  pair.client.when_stream_closed = [&](StreamId id) {
    pair.client.connection->consume(id, 1000);
    pair.client.connection->stop(id, 1);
    pair.client.connection->close(9, "done", pair.now);
  };
  pair.client.when_closed = [&] {
    pair.client.connection->close(10, "again", pair.now);
    EXPECT_FALSE(pair.client.connection->open_stream());
  };
  pair.dial();

  pair.run(30s, [&] { return pair.server.closed.has_value(); });

  ASSERT_TRUE(pair.server.closed);
  EXPECT_EQ(pair.server.closed->code, 9u);
}

/// Counts the keys that are made.
class CountingProtection final : public PacketProtection {
 public:
  explicit CountingProtection(const PacketProtection& inner) : inner_(inner) {}
  std::string_view name() const override { return inner_.name(); }
  std::unique_ptr<AeadKey> make_aead(AeadAlgorithm algorithm, ByteView key) const override {
    keys_.insert(to_hex(key));
    return inner_.make_aead(algorithm, key);
  }
  std::unique_ptr<HeaderKey> make_header(AeadAlgorithm algorithm, ByteView key) const override {
    return inner_.make_header(algorithm, key);
  }
  std::size_t keys() const { return keys_.size(); }

 private:
  const PacketProtection& inner_;
  mutable std::set<std::string> keys_;
};

TEST_P(StreamTest, KeysChangeDuringATransfer) {
  CountingProtection counting(*protection);
  Pair pair(counting);
  pair.rules = {.loss = 0.02, .reordering = 0.1};
  pair.client.config.packets_per_key_max = 200;
  ASSERT_TRUE(pair.connect());
  const std::size_t keys_before = counting.keys();
  const StreamId id = *pair.client.connection->open_stream();
  Sender sender(pair.client, id, patterned(1, 4'000'000));
  pair.client.when_writable = [&](StreamId) { sender.push(); };
  sender.push();

  ASSERT_TRUE(pair.run(300s, [&] { return pair.server.streams[id].is_end; }));

  EXPECT_TRUE(pair.server.streams[id].data == sender.data());
  EXPECT_GE(counting.keys(), keys_before + 6);  // Two a generation, three generations at least.
  const std::size_t keys_after = counting.keys();
  pair.run(5s);
  pair.server.connection->initiate_key_update(pair.now);
  for (int i = 0; i < 2; ++i) {  // The keys after these are made when these have proved good.
    pair.server.connection->write(*pair.server.connection->open_stream(), as_bytes("x"));
    pair.run(5s);
  }
  EXPECT_GT(counting.keys(), keys_after);
  EXPECT_FALSE(pair.client.closed);
}

INSTANTIATE_TEST_SUITE_P(Backends, StreamTest, testing::Values(Backend::kGnutls, Backend::kIpsecMb),
                         [](const auto& test) {
                           return test.param == Backend::kGnutls ? "Gnutls" : "IpsecMb";
                         });

}  // namespace
}  // namespace openp2p::quic
