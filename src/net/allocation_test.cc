#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "net/deferred.h"
#include "net/framed_stream.h"
#include "net/local_udp.h"
#include "net/tcp_dialer.h"
#include "net/tcp_listener.h"
#include "net/test_loop.h"
#include "net/udp_socket.h"

// A binary of its own, because it counts what the whole program allocates.
namespace {
std::size_t allocations = 0;  // NOLINT(check_names): operator new takes no argument of ours
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

const Address kAny{IpAddress::loopback_v4(), 0};

/// Two sockets that throw one burst to and fro.
class Player final : public UdpHandler {
 public:
  explicit Player(std::size_t datagrams) : burst_(datagrams * 1'200) {}
  void serve(TimePoint now) {
    const Outgoing outgoing{to, {}, burst_, 1'200};
    socket->send({&outgoing, 1}, now);
  }
  void on_datagrams(std::span<const Received> batch, TimePoint now) override {
    for (const Received& train : batch) bytes_received += train.datagrams.size();
    if (bytes_received % burst_.size() != 0) return;
    ++rallies;
    serve(now);
  }
  void on_writable(TimePoint) override {}
  void on_unreachable(const Address&, std::error_code) override {}
  void on_too_big(const Address&, std::size_t) override {}

  std::unique_ptr<UdpSocket> socket;
  Address to;
  std::size_t bytes_received = 0;
  int rallies = 0;

 private:
  Bytes burst_;
};

/// Runs until a counter grew, without run_until(), which allocates.
void play(IoContext& io, const int& counter, int rounds) {
  const int end = counter + rounds;
  io.restart();
  while (counter < end) io.run_one();
}

/// Two streams that throw one burst to and fro.
class FramedPlayer final : public FramedHandler {
 public:
  explicit FramedPlayer(std::size_t datagrams) : burst_(datagrams * 1'200) {}
  void serve(TimePoint now) { stream->send({burst_, 1'200}, now); }
  void on_connected(TimePoint) override {}
  void on_train(const DatagramTrain& train, TimePoint now) override {
    bytes_received += train.datagrams.size();
    if (bytes_received % burst_.size() != 0) return;
    ++rallies;
    serve(now);
  }
  void on_closed(std::error_code, TimePoint) override {}

  std::unique_ptr<FramedStream> stream;
  std::size_t bytes_received = 0;
  int rallies = 0;

 private:
  Bytes burst_;
};

/// A local program's side of a forward, or its destination's: throws one burst to and fro.
class LocalPlayer final : public forward::LocalDatagramsHandler {
 public:
  void serve(const forward::LocalEnds& to, TimePoint now) {
    for (int i = 0; i < kDatagrams; ++i) socket->send(to, datagram_);
    socket->flush(now);
  }
  void on_datagrams(const forward::LocalEnds& from, const DatagramTrain& train,
                    TimePoint now) override {
    bytes_received += train.datagrams.size();
    if (bytes_received % (datagram_.size() * kDatagrams) != 0) return;
    ++rallies;
    serve(from, now);
  }
  void on_failed(std::error_code, TimePoint) override {}

  std::unique_ptr<forward::LocalDatagrams> socket;
  std::size_t bytes_received = 0;
  int rallies = 0;

 private:
  static constexpr int kDatagrams = 40;
  Bytes datagram_ = Bytes(1'200);
};

TEST(Allocation, LocalUdpAllocatesNothingPerDatagram) {
  IoContext io;
  LocalUdpMemory memory;
  LocalPlayer program, service;
  service.socket = *listen_local_udp(io, kAny, memory, service);
  program.socket = *connect_local_udp(io, {service.socket->local_address()}, memory, program);
  program.serve({}, monotonic_now());
  play(io, program.rallies, 10);

  const std::size_t before = allocations;
  play(io, program.rallies, 500);

  EXPECT_EQ(allocations - before, 0u);
}

TEST(Allocation, UdpAllocatesNothingPerBatch) {
  IoContext io;
  UdpBuffers buffers;
  Player one(40), two(40);
  one.socket = *UdpSocket::open(io, kAny, buffers, one);
  two.socket = *UdpSocket::open(io, kAny, buffers, two);
  one.to = two.socket->local_address();
  two.to = one.socket->local_address();
  one.serve(monotonic_now());
  play(io, one.rallies, 10);

  const std::size_t before = allocations;
  ASSERT_GT(before, 0u) << "nothing is counted";
  play(io, one.rallies, 500);

  EXPECT_EQ(allocations - before, 0u);
}

TEST(Allocation, FramedStreamAllocatesNothingPerDatagram) {
  IoContext io;
  UdpBuffers buffers;
  FramedPlayer one(50), two(50);
  const auto listener =
      TcpListener::listen_bare(io, kAny, /*shares_port=*/false, [&](Descriptor socket) {
        two.stream = FramedStream::adopt({io, buffers, two}, std::move(socket));
      });
  one.stream = *FramedStream::connect({io, buffers, one}, (*listener)->local_address(), 0, 5s);
  ASSERT_TRUE(run_until(io, [&] { return two.stream && one.stream->is_connected(); }));
  one.serve(monotonic_now());
  play(io, one.rallies, 50);

  const std::size_t before = allocations;
  play(io, one.rallies, 100);

  EXPECT_EQ(allocations - before, 0u);
}

TEST(Allocation, TimerAndDeferredAllocateNothing) {
  IoContext io;
  int fired = 0;
  Timer* timer = nullptr;
  Deferred flush(io, [&](TimePoint now) {
    ++fired;
    timer->arm(now + 1h);
    timer->arm(now + 20us);
  });
  Timer owned(io, [&](TimePoint) { flush.request(); });
  timer = &owned;
  flush.request();
  play(io, fired, 10);

  const std::size_t before = allocations;
  play(io, fired, 200);

  EXPECT_EQ(allocations - before, 0u);
}

struct Echo final : forward::LocalStreamHandler {
  void on_readable(TimePoint) override {
    const auto result = stream->read(room);
    ++turns;
    stream->write(ByteView(room).first(result.bytes));
  }
  void on_writable(TimePoint) override {}
  void on_failed(std::error_code, TimePoint) override {}
  std::unique_ptr<forward::LocalStream> stream;
  std::vector<std::byte> room = std::vector<std::byte>(128 * 1024);
  int turns = 0;
};

TEST(Allocation, TcpAllocatesNothingPerRead) {
  IoContext io;
  Echo near, far;
  const auto start = [](Echo& echo, std::unique_ptr<forward::LocalStream> stream) {
    echo.stream = std::move(stream);
    echo.stream->set_handler(&echo);
    echo.stream->want_read(true);
  };
  const auto listener = TcpListener::listen(
      io, kAny,
      [&](std::unique_ptr<forward::LocalStream> stream) { start(far, std::move(stream)); });
  const auto resolver = make_name_resolver(io);
  TcpDialer dialer(io, *resolver);
  const auto dial = dialer.dial(
      {.host = "127.0.0.1", .port = (*listener)->local_address().port, .timeout = 5s, .allows = {}},
      [&](auto stream) { start(near, std::move(*stream)); });
  ASSERT_TRUE(run_until(io, [&] { return near.stream && far.stream; }));
  near.stream->write(near.room);
  play(io, near.turns, 10);

  const std::size_t before = allocations;
  play(io, near.turns, 500);

  EXPECT_EQ(allocations - before, 0u);
}

}  // namespace
}  // namespace openp2p::net
