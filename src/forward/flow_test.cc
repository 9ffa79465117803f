#include "forward/flow.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "forward/test_ends.h"
#include "quic/counting_new.h"

namespace openp2p::forward {
namespace {

constexpr TimePoint kNow{};

Bytes text(std::string_view words) { return to_bytes(as_bytes(words)); }

/// A Flow between its two neighbours, and what its owner was told.
struct Harness final : FlowOwner {
  Harness() { flow = std::make_unique<Flow>(session, FakeSession::kStream, *this, buffers); }

  std::unique_ptr<LocalStream> stream() { return std::make_unique<FakeStream>(local); }
  /// The opener, whose peer said yes.
  void open() {
    flow->open(OpenRequest{.host = "nas", .port = 80}, stream());
    session.sent.clear();
    flow->on_stream_data(encode(OpenAnswer{}), false);
    session.consumed = 0;
  }
  /// The side that connects.
  void accept() {
    flow->accept({}, false);
    flow->set_local(stream());
    session.sent.clear();
  }
  void receive(ByteView data, bool is_end = false) {
    flow->on_stream_data(data, is_end);
    flow->on_batch_end();
  }
  /// The loop's turn while the local program has something for us.
  void run_reads() {
    for (int turn = 0; turn < 100 && local.wants_read; ++turn) {
      const std::size_t before = local.read_start;
      flow->on_readable(kNow);
      if (local.read_start == before) return;
    }
  }
  bool was_broken() const {
    return local.resets == 1 && session.reset_code && session.stop_code && finishes == 1;
  }

  void on_answer(Flow&, const OpenAnswer& answer) override { answers.push_back(answer); }
  void on_finished(Flow&) override { ++finishes; }

  FakeSession session;
  LocalEnd local;
  BufferPool buffers;
  std::unique_ptr<Flow> flow;
  std::vector<OpenAnswer> answers;
  int finishes = 0;
};

TEST(Flow, AsksAndSendsAtOnceButDeliversOnlyAfterTheAnswer) {
  Harness h;
  h.local.send(text("GET /"));

  h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());
  h.run_reads();

  Bytes expected = encode(OpenRequest{.host = "nas", .port = 80});
  const Bytes data = text("GET /");
  expected.insert(expected.end(), data.begin(), data.end());
  EXPECT_EQ(h.session.sent, expected);

  Bytes answer = encode(OpenAnswer{});
  const Bytes page = text("200 OK");
  answer.insert(answer.end(), page.begin(), page.end());
  for (const std::byte& b : answer) h.flow->on_stream_data({&b, 1}, false);
  EXPECT_EQ(h.local.writes, 0);
  h.flow->on_batch_end();

  ASSERT_EQ(h.answers.size(), 1U);
  EXPECT_EQ(h.answers[0].status, OpenStatus::kOpened);
  EXPECT_EQ(h.local.written, page);
  EXPECT_EQ(h.session.consumed, answer.size());
}

TEST(Flow, OneBatchIsOneWrite) {
  Harness h;
  h.open();
  const Bytes packet(1'300, std::byte{7});

  for (int i = 0; i < 44; ++i) h.flow->on_stream_data(packet, false);
  h.flow->on_batch_end();

  EXPECT_EQ(h.local.writes, 1);
  EXPECT_EQ(h.local.written.size(), 44 * packet.size());
  EXPECT_EQ(h.flow->bytes_received(), 44 * packet.size());
}

TEST(Flow, CreditIsExactlyWhatTheLocalStreamTook) {
  Harness h;
  h.open();
  h.local.room_bytes = 100;

  h.receive(Bytes(250, std::byte{1}));
  EXPECT_EQ(h.session.consumed, 100U);
  EXPECT_TRUE(h.local.wants_write);

  h.local.room_bytes = 60;
  h.flow->on_writable(kNow);
  EXPECT_EQ(h.session.consumed, 160U);

  h.local.room_bytes = SIZE_MAX;
  h.flow->on_writable(kNow);
  EXPECT_EQ(h.session.consumed, 250U);
  EXPECT_FALSE(h.local.wants_write);
  EXPECT_EQ(h.local.written.size(), 250U);
}

TEST(Flow, ASlowReaderGetsEveryByteInOrder) {
  Random random(1);
  Harness h;
  h.open();
  Bytes all;
  while (all.size() < 500'000) {
    Bytes packet(1 + random.below(1'400));
    random.fill(packet);
    all.insert(all.end(), packet.begin(), packet.end());
    h.local.room_bytes = random.below(2'000);
    h.receive(packet);
  }
  h.receive({}, true);
  h.local.room_bytes = SIZE_MAX;
  h.flow->on_writable(kNow);

  EXPECT_EQ(h.local.written, all);
  EXPECT_EQ(h.session.consumed, all.size());
  EXPECT_EQ(h.local.shutdowns, 1);
}

TEST(Flow, ReadsNoMoreThanTheStreamHasRoomFor) {
  Harness h;
  h.open();
  h.session.ring_bytes = 100;
  h.local.send(Bytes(300, std::byte{1}));

  h.run_reads();

  EXPECT_EQ(h.session.sent.size(), 100U);
  EXPECT_FALSE(h.local.wants_read);
  h.session.ring_bytes = 1'000;
  h.flow->on_stream_writable();
  EXPECT_TRUE(h.local.wants_read);
  h.run_reads();
  EXPECT_EQ(h.session.sent.size(), 300U);
  EXPECT_EQ(h.flow->bytes_sent(), 300U);
}

TEST(Flow, ABusyStreamLetsOthersHaveTheirTurn) {
  Harness h;
  h.open();
  h.session.ring_bytes = 4 << 20;
  h.local.send(Bytes(3 << 20, std::byte{1}));

  h.flow->on_readable(kNow);

  EXPECT_GE(h.session.sent.size(), Flow::kTurnBytesMax);
  EXPECT_LT(h.session.sent.size(), Flow::kTurnBytesMax + Flow::kReadBytesMax);
  EXPECT_TRUE(h.local.wants_read);
}

TEST(Flow, HalfCloseWithTheLocalEndFirst) {
  Harness h;
  h.open();
  h.local.send(text("question"));
  h.local.has_end = true;
  h.run_reads();
  EXPECT_TRUE(h.session.is_finished);
  EXPECT_EQ(h.finishes, 0);

  h.receive(text("answer"));
  h.receive({}, true);

  EXPECT_EQ(h.local.written, text("answer"));
  EXPECT_EQ(h.local.shutdowns, 1);
  EXPECT_EQ(h.finishes, 1);
  EXPECT_EQ(h.local.resets, 0);
  EXPECT_FALSE(h.session.reset_code);
}

TEST(Flow, HalfCloseWithThePeersEndFirst) {
  Harness h;
  h.accept();
  h.receive(text("question"), true);
  EXPECT_EQ(h.local.shutdowns, 1);
  EXPECT_EQ(h.finishes, 0);

  h.local.send(text("answer"));
  h.local.has_end = true;
  h.run_reads();

  EXPECT_EQ(h.session.sent, text("answer"));
  EXPECT_TRUE(h.session.is_finished);
  EXPECT_EQ(h.finishes, 1);
  EXPECT_EQ(h.local.resets, 0);
}

TEST(Flow, TheEndWaitsForASlowReader) {
  Harness h;
  h.open();
  h.local.has_end = true;
  h.run_reads();
  h.local.room_bytes = 1;
  h.receive(text("ab"), true);
  h.flow->on_stream_closed();
  EXPECT_EQ(h.local.shutdowns, 0);
  EXPECT_EQ(h.finishes, 0);

  h.local.room_bytes = 10;
  h.flow->on_writable(kNow);

  EXPECT_EQ(h.local.written, text("ab"));
  EXPECT_EQ(h.local.shutdowns, 1);
  EXPECT_EQ(h.finishes, 1);
}

TEST(Flow, AResetOfEitherSideResetsTheOther) {
  Harness peer;
  peer.open();
  peer.flow->on_stream_reset();
  EXPECT_TRUE(peer.was_broken());

  Harness stopped;
  stopped.open();
  stopped.flow->on_stream_stopped();
  EXPECT_TRUE(stopped.was_broken());

  Harness failed;
  failed.open();
  failed.flow->on_failed(std::make_error_code(std::errc::connection_reset), kNow);
  EXPECT_TRUE(failed.was_broken());

  Harness unreadable;
  unreadable.open();
  unreadable.local.error = std::make_error_code(std::errc::connection_reset);
  unreadable.flow->on_readable(kNow);
  EXPECT_TRUE(unreadable.was_broken());

  Harness unwritable;
  unwritable.open();
  unwritable.local.error = std::make_error_code(std::errc::broken_pipe);
  unwritable.receive(text("x"));
  EXPECT_TRUE(unwritable.was_broken());

  Harness aborted;
  aborted.open();
  aborted.flow->abort();
  aborted.flow->abort();
  EXPECT_TRUE(aborted.was_broken());
}

TEST(Flow, ARefusalIsToldAndResetsTheLocalStream) {
  Harness h;
  h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());

  h.receive(encode(OpenAnswer{OpenStatus::kDenied, "not here"}), true);

  ASSERT_EQ(h.answers.size(), 1U);
  EXPECT_EQ(h.answers[0].status, OpenStatus::kDenied);
  EXPECT_EQ(h.answers[0].text, "not here");
  EXPECT_EQ(h.local.resets, 1);
  EXPECT_EQ(h.local.writes, 0);
  EXPECT_EQ(h.finishes, 1);
}

// A peer that refuses also says that it reads no more, and that may overtake its answer.
TEST(Flow, ARefusalIsToldAlsoWhenTheStopComesFirst) {
  Harness h;
  h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());

  h.flow->on_stream_stopped();
  h.receive(encode(OpenAnswer{OpenStatus::kRefused, "nothing listens"}), true);

  ASSERT_EQ(h.answers.size(), 1U);
  EXPECT_EQ(h.answers[0].text, "nothing listens");
  EXPECT_EQ(h.local.resets, 1);
  EXPECT_EQ(h.finishes, 1);
}

TEST(Flow, AStopAndAYesIsABrokenConnection) {
  Harness h;
  h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());

  h.flow->on_stream_stopped();
  h.receive(encode(OpenAnswer{}));

  EXPECT_EQ(h.local.resets, 1);
  EXPECT_EQ(h.finishes, 1);
}

TEST(Flow, AnEndInTheMiddleOfTheAnswerIsABrokenConnection) {
  const Bytes answer = encode(OpenAnswer{OpenStatus::kDenied, "because"});
  for (std::size_t size = 0; size < answer.size(); ++size) {
    Harness h;
    h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());

    h.receive(ByteView(answer).first(size), true);

    EXPECT_TRUE(h.was_broken()) << size;
    EXPECT_TRUE(h.answers.empty()) << size;
  }
}

TEST(Flow, GarbageInsteadOfTheAnswerIsABrokenConnection) {
  Harness h;
  h.flow->open(OpenRequest{.host = "nas", .port = 80}, h.stream());

  h.receive(text("HTTP/1.1 200 OK\r\n"));

  EXPECT_TRUE(h.was_broken());
  EXPECT_EQ(h.local.writes, 0);
}

TEST(Flow, EarlyDataWaitsForTheDestination) {
  Harness h;
  h.flow->accept(text("GET "), false);
  h.receive(text("/"));
  h.receive({}, true);
  EXPECT_EQ(h.session.consumed, 0U);  // Nobody took it: the peer gets no credit for it.

  h.flow->set_local(h.stream());

  EXPECT_EQ(h.session.sent, encode(OpenAnswer{}));
  EXPECT_EQ(h.local.written, text("GET /"));
  EXPECT_EQ(h.session.consumed, 5U);
  EXPECT_EQ(h.local.shutdowns, 1);
  EXPECT_TRUE(h.local.wants_read);
}

TEST(Flow, ADestinationThatCannotBeHadIsAnsweredAndOver) {
  Harness h;
  h.flow->accept(text("GET /"), false);

  h.flow->refuse({OpenStatus::kRefused, "nothing listens"});

  EXPECT_EQ(h.session.sent, encode(OpenAnswer{OpenStatus::kRefused, "nothing listens"}));
  EXPECT_TRUE(h.session.is_finished);
  EXPECT_TRUE(h.session.stop_code);
  EXPECT_FALSE(h.session.reset_code);  // A reset would take the answer with it.
  EXPECT_EQ(h.finishes, 1);
  h.receive(text("more"));
  h.flow->set_local(h.stream());
  EXPECT_EQ(h.local.writes, 0);
}

TEST(Flow, ALostSessionResetsWhatIsNotWhole) {
  Harness h;
  h.open();
  h.receive(text("half"));

  h.flow->on_session_lost();

  EXPECT_EQ(h.local.resets, 1);
  EXPECT_EQ(h.finishes, 1);
  EXPECT_FALSE(h.session.reset_code);  // It must not be touched any more.
  h.flow->on_readable(kNow);
  h.flow->on_writable(kNow);
  h.flow->abort();
  EXPECT_EQ(h.finishes, 1);
}

TEST(Flow, ALostSessionTakesNothingOfWhatHasArrivedWhole) {
  Harness h;
  h.open();
  h.local.has_end = true;
  h.run_reads();
  h.local.room_bytes = 2;
  h.receive(text("whole"), true);

  h.flow->on_session_lost();
  EXPECT_EQ(h.finishes, 0);
  h.local.room_bytes = 10;
  h.flow->on_writable(kNow);

  EXPECT_EQ(h.local.written, text("whole"));
  EXPECT_EQ(h.local.shutdowns, 1);
  EXPECT_EQ(h.local.resets, 0);
  EXPECT_EQ(h.finishes, 1);
}

TEST(Flow, DestroyedInTheMiddleItResetsTheLocalStream) {
  Harness h;
  h.open();
  h.receive(text("half"));

  h.flow.reset();

  EXPECT_EQ(h.local.resets, 1);  // An end would say that half is the whole.
  EXPECT_TRUE(h.local.is_destroyed);

  Harness done;
  done.open();
  done.local.has_end = true;
  done.run_reads();
  done.receive({}, true);
  done.flow.reset();
  EXPECT_EQ(done.local.resets, 0);
}

TEST(Flow, MemoryForASlowReaderStaysNearWhatTheWindowAllows) {
  constexpr std::size_t kWindow = 256 << 10;
  Harness h;
  h.open();
  const Bytes packet(1'024, std::byte{1});
  std::size_t received = 0;
  const std::uint64_t held_before = quic::allocations_so_far();
  // 16 windows pass through; the peer keeps to its credit, the reader is always a window behind.
  for (int i = 0; i < 16 * 256; ++i) {
    while (received - h.session.consumed < kWindow) {
      h.flow->on_stream_data(packet, false);
      received += packet.size();
    }
    h.local.written.clear();
    h.local.room_bytes = packet.size();
    h.flow->on_batch_end();
  }

  // The buffer grows by doubling, so this few allocations cannot have made it more than twice the
  // window and its consumed half.
  EXPECT_LE(quic::allocations_so_far() - held_before, 12U);
}

TEST(Flow, MovingBatchesAllocatesNothing) {
  Harness h;
  h.open();
  h.session.ring_bytes = 64 << 20;
  h.session.sent.reserve(64 << 20);
  h.local.to_read.reserve(64 << 20);
  const Bytes packet(1'300, std::byte{7});
  const auto exchange = [&] {
    for (int i = 0; i < 44; ++i) h.flow->on_stream_data(packet, false);
    h.flow->on_batch_end();
    h.local.written.clear();
    h.local.send(packet);
    h.flow->on_readable(kNow);
  };
  for (int i = 0; i < 10; ++i) exchange();

  const std::uint64_t before = quic::allocations_so_far();
  for (int i = 0; i < 1'000; ++i) exchange();

  EXPECT_EQ(quic::allocations_so_far(), before);
}

TEST(BufferPool, KeepsAFewBuffersOfASaneSize) {
  BufferPool pool;
  for (std::size_t i = 0; i < BufferPool::kKeptMax * 2; ++i) pool.give(Bytes(100));
  pool.give(Bytes(BufferPool::kKeptBytesMax + 1));
  std::size_t kept = 0;
  while (pool.take().capacity() > 0) ++kept;

  EXPECT_EQ(kept, BufferPool::kKeptMax);
  pool.give(Bytes(BufferPool::kKeptBytesMax + 1));
  EXPECT_EQ(pool.take().capacity(), 0U);
}

}  // namespace
}  // namespace openp2p::forward
