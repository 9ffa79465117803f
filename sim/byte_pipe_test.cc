#include "sim/byte_pipe.h"

#include <gtest/gtest.h>

#include <string>

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;

std::string read_all(PipeEnd& end, std::size_t chunk = 1000) {
  std::string text;
  Bytes buffer(chunk);
  for (;;) {
    const ReadResult result = end.read(buffer);
    if (result.status != ReadStatus::kBytes) return text;
    text += as_text(ByteView(buffer).first(result.bytes));
  }
}

ReadStatus status(PipeEnd& end) {
  Bytes buffer(1);
  return end.read(buffer).status;
}

TEST(BytePipe, CarriesBytesBothWaysInOrderAfterItsDelay) {
  World world(1);
  BytePipe pipe(world, {.delay = 5ms});

  pipe.a().write(as_bytes("ping "));
  pipe.a().write(as_bytes("and more"));
  pipe.b().write(as_bytes("pong"));
  world.run_for(4ms);
  EXPECT_EQ(status(pipe.b()), ReadStatus::kNothingYet);
  world.run_for(1ms);

  EXPECT_EQ(read_all(pipe.b(), /*chunk=*/3), "ping and more");
  EXPECT_EQ(read_all(pipe.a()), "pong");
}

TEST(BytePipe, TakesNoMoreThanItsBufferHoldsAndTellsWhenThereIsRoom) {
  World world(1);
  BytePipe pipe(world, {.buffer_bytes = 10});
  int writable = 0;
  pipe.a().on_writable([&] { ++writable; });

  EXPECT_EQ(pipe.a().write(as_bytes("0123456789abc")), 10u);
  EXPECT_EQ(pipe.a().write(as_bytes("abc")), 0u);
  world.run_for(1s);
  EXPECT_EQ(writable, 0);
  EXPECT_EQ(read_all(pipe.b()), "0123456789");
  EXPECT_EQ(writable, 0);  // Never inside a call.
  world.run_for(1s);

  EXPECT_EQ(writable, 1);
  EXPECT_EQ(pipe.a().write(as_bytes("abc")), 3u);
  world.run_for(1s);
  EXPECT_EQ(read_all(pipe.b()), "abc");
  EXPECT_EQ(writable, 1);
}

TEST(BytePipe, PumpsAMebibyteThroughASmallBufferIntact) {
  World world(3);
  BytePipe pipe(world, {.buffer_bytes = 1000, .delay = 1ms});
  Bytes sent(1 << 20);
  world.random().fill(sent);
  std::size_t written = 0;
  std::string received;
  const auto write = [&] {
    written += pipe.a().write(ByteView(sent).subspan(written));
    if (written == sent.size()) pipe.a().shutdown_write();
  };
  pipe.a().on_writable(write);
  pipe.b().on_readable([&] { received += read_all(pipe.b(), /*chunk=*/77); });
  write();

  EXPECT_TRUE(
      world.run_until([&] { return status(pipe.b()) == ReadStatus::kEnd; }, TimePoint{} + 60s));
  EXPECT_EQ(received, as_text(sent));
}

TEST(BytePipe, HalfCloseEndsOneDirectionAfterItsBytes) {
  World world(1);
  BytePipe pipe(world, {.delay = 1ms});

  pipe.a().write(as_bytes("last words"));
  pipe.a().shutdown_write();
  EXPECT_EQ(pipe.a().write(as_bytes("not taken")), 0u);
  world.run_for(1s);
  pipe.b().write(as_bytes("still here"));
  world.run_for(1s);

  EXPECT_EQ(read_all(pipe.b()), "last words");
  EXPECT_EQ(status(pipe.b()), ReadStatus::kEnd);
  EXPECT_EQ(read_all(pipe.a()), "still here");
  EXPECT_EQ(status(pipe.a()), ReadStatus::kNothingYet);
}

TEST(BytePipe, CallsNobodyInVainAfterTheEnd) {
  World world(1);
  BytePipe shut(world), reset(world);
  int calls = 0;
  shut.a().on_writable([&] { ++calls; });
  shut.a().write(as_bytes("last words"));
  shut.a().shutdown_write();
  shut.a().write(as_bytes("not taken"));
  reset.b().on_readable([&] { ++calls; });
  reset.a().write(as_bytes("on its way"));
  reset.b().reset();

  world.run_for(1s);
  read_all(shut.b());
  world.run_for(1s);

  EXPECT_EQ(calls, 0);
}

TEST(BytePipe, ResetEndsBothEndsAndDropsWhatWasNotRead) {
  World world(1);
  BytePipe pipe(world, {.delay = 1ms});
  int readable = 0, writable = 0;
  pipe.a().write(as_bytes("never read"));
  world.run_for(1s);
  pipe.b().on_readable([&] { ++readable; });
  pipe.b().on_writable([&] { ++writable; });

  pipe.a().reset();
  EXPECT_EQ(status(pipe.a()), ReadStatus::kReset);
  EXPECT_EQ(pipe.a().write(as_bytes("x")), 0u);
  EXPECT_FALSE(pipe.b().is_reset());  // Not before the delay.
  world.run_for(1s);

  EXPECT_EQ(status(pipe.b()), ReadStatus::kReset);
  EXPECT_EQ(pipe.b().readable_bytes(), 0u);
  EXPECT_EQ(pipe.b().write(as_bytes("x")), 0u);
  EXPECT_EQ(readable, 1);
  EXPECT_EQ(writable, 1);
}

TEST(BytePipe, RateSlowsTheReaderAndThereforeTheWriter) {
  World world(1);
  BytePipe pipe(world, {.buffer_bytes = 4096, .bytes_per_second = 100'000});
  std::size_t written = 0, received = 0;
  const Bytes block(4096);
  const auto write = [&] { written += pipe.a().write(block); };
  pipe.a().on_writable(write);
  pipe.b().on_readable([&] { received += read_all(pipe.b()).size(); });
  write();
  write();  // Takes nothing, so wants to hear about room.

  world.run_for(10s);

  EXPECT_NEAR(static_cast<double>(received), 1'000'000, 20'000);
  EXPECT_LE(written, received + 4096);
}

}  // namespace
}  // namespace openp2p::sim
