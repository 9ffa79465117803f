#include "net/framed_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "net/socket_address.h"
#include "net/tcp_listener.h"
#include "net/tcp_queue.h"
#include "net/test_loop.h"
#include "wire/codec.h"
#include "wire/each_datagram.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

const Address kAnyV4{IpAddress::loopback_v4(), 0};
const Address kAnyV6{*IpAddress::parse("::1"), 0};

struct Sink final : FramedHandler {
  void on_connected(TimePoint) override { ++connected; }
  void on_train(const DatagramTrain& train, TimePoint) override {
    ++trains;
    for_each_datagram(train, [&](ByteView datagram) { datagrams.emplace_back(as_text(datagram)); });
    if (closes_on_data) stream->close();
  }
  void on_closed(std::error_code error, TimePoint) override {
    ++closed;
    why = error;
  }

  std::unique_ptr<FramedStream> stream;
  std::vector<std::string> datagrams;
  std::error_code why;
  int trains = 0;
  int connected = 0;
  int closed = 0;
  bool closes_on_data = false;
};

/// Different datagrams in a row, the last one shorter.
std::string numbered(std::size_t count, std::size_t size, std::size_t last_size) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    std::string one = std::to_string(i) + "-";
    one.resize(i + 1 == count ? last_size : size, static_cast<char>('a' + i % 26));
    text += one;
  }
  return text;
}

std::vector<std::string> cut(const std::string& text, std::size_t size) {
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < text.size(); at += size) pieces.push_back(text.substr(at, size));
  return pieces;
}

Descriptor tcp_socket(const Address& local) {
  Descriptor socket(::socket(local.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM, 0));
  SocketAddress address;
  const socklen_t size = to_socket_address(local, address);
  EXPECT_EQ(::bind(socket.number(), &address.base, size), 0);
  return socket;
}

int connect_to(const Descriptor& socket, const Address& to) {
  SocketAddress address;
  const socklen_t size = to_socket_address(to, address);
  return ::connect(socket.number(), &address.base, size);
}

/// A stream, and the bare socket at its other end.
struct Bench {
  explicit Bench(const Address& any = kAnyV4, std::size_t datagram_bytes_max = 65'535)
      : config{io, buffers, near, datagram_bytes_max} {
    auto opened = TcpListener::listen_bare(io, any, /*shares_port=*/false,
                                           [this](Descriptor fd) { far_socket = std::move(fd); });
    listener = std::move(*opened);
  }
  bool connect(std::uint16_t local_port = 0) {
    auto stream = FramedStream::connect(config, listener->local_address(), local_port, 5s);
    if (!stream) return false;
    near.stream = std::move(*stream);
    return run_until(io, [this] { return near.connected == 1 && far_socket; });
  }
  void adopt_near(Descriptor socket) {
    EXPECT_EQ(connect_to(socket, listener->local_address()), 0);
    near.stream = FramedStream::adopt(config, std::move(socket));
    EXPECT_TRUE(run_until(io, [this] { return static_cast<bool>(far_socket); }));
  }
  void adopt_far() { far.stream = FramedStream::adopt({io, buffers, far}, std::move(far_socket)); }
  void send(Sink& from, const std::string& text, std::size_t segment_bytes) {
    from.stream->send({as_bytes(text), segment_bytes}, monotonic_now());
  }
  void write_far(std::string_view bytes) {
    EXPECT_EQ(::send(far_socket.number(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }

  IoContext io;
  UdpBuffers buffers;
  Sink near;
  Sink far;
  FramedStream::Config config;
  std::unique_ptr<TcpListener> listener;
  Descriptor far_socket;
};

TEST(FramedStream, CarriesDatagramsBothWaysInBothFamilies) {
  for (const Address& any : {kAnyV4, kAnyV6}) {
    SCOPED_TRACE(any.text());
    Bench bench(any);
    ASSERT_TRUE(bench.connect());
    bench.adopt_far();
    EXPECT_EQ(bench.near.stream->remote_address(), bench.listener->local_address());
    EXPECT_EQ(bench.far.stream->remote_address(), bench.near.stream->local_address());
    const std::string text = numbered(40, 1'400, 700);

    bench.send(bench.near, text, 1'400);
    bench.send(bench.far, "pong", 4);
    bench.send(bench.near, "ping", 4);

    auto expected = cut(text, 1'400);
    expected.emplace_back("ping");
    ASSERT_TRUE(run_until(bench.io, [&] { return bench.far.datagrams.size() >= expected.size(); }));
    ASSERT_TRUE(run_until(bench.io, [&] { return !bench.near.datagrams.empty(); }));
    EXPECT_EQ(bench.far.datagrams, expected);
    EXPECT_LT(bench.far.trains, 10) << "no trains are made";
    EXPECT_EQ(bench.near.datagrams, std::vector<std::string>{"pong"});
    EXPECT_EQ(bench.near.stream->counters().bytes_dropped, 0u);
    EXPECT_EQ(bench.near.stream->counters().bytes_sent, text.size() + 4 + 41 * 2);
  }
}

TEST(FramedStream, TheLongestDatagramFitsAnEmptyQueue) {
  Bench bench;
  ASSERT_TRUE(bench.connect());
  bench.adopt_far();
  const std::string longest(kFramedDatagramBytesMax, 'x');

  bench.send(bench.near, longest, longest.size());

  ASSERT_TRUE(run_until(bench.io, [&] { return !bench.far.datagrams.empty(); }));
  EXPECT_EQ(bench.far.datagrams[0], longest);
}

TEST(FramedStream, ConnectsFromThePortOfAListener) {
  Bench bench;
  const Address any{IpAddress::any_v4(), 0};
  auto own = TcpListener::listen_bare(bench.io, any, /*shares_port=*/true, [](Descriptor) {});
  ASSERT_TRUE(own);
  const std::uint16_t port = (*own)->local_address().port;

  ASSERT_TRUE(bench.connect(port));

  EXPECT_EQ(bench.near.stream->local_address().port, port);
  auto second = TcpListener::listen_bare(bench.io, {IpAddress::any_v4(), port},
                                         /*shares_port=*/true, [](Descriptor) {});
  ASSERT_FALSE(second) << "somebody else may listen there, too";
  EXPECT_EQ(second.error(), std::errc::address_in_use);
}

TEST(FramedStream, ConnectsAgainFromTheSamePortAtOnce) {
  if (!is_tcp_queue_known()) GTEST_SKIP() << "the system does not tell what is undelivered";
  Bench bench;
  ASSERT_TRUE(bench.connect());
  const std::uint16_t port = bench.near.stream->local_address().port;

  bench.near.stream->close();
  bench.far_socket.close();
  bench.near.connected = 0;

  EXPECT_TRUE(bench.connect(port)) << "the pair of addresses waits for its old segments to die";
}

// A connection attempt that is refused by nobody: what says so never reaches the socket.
void ignore_resets(const Descriptor& socket) {
  std::array<sock_filter, 4> code = {
      sock_filter{BPF_LD | BPF_B | BPF_ABS, 0, 0, 13},  // The flags of the TCP header.
      {BPF_JMP | BPF_JSET | BPF_K, 0, 1, 4},            // RST?
      {BPF_RET | BPF_K, 0, 0, 0},
      {BPF_RET | BPF_K, 0, 0, 0xffff}};
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  EXPECT_EQ(::setsockopt(socket.number(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program),
            0);
}

TEST(FramedStream, OpensSimultaneously) {
  Bench bench;
  const Descriptor reserved = tcp_socket(kAnyV4);
  const int on = 1;
  ::setsockopt(reserved.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(reserved.number(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  const Address near_address = local_address_of(reserved.number());
  bench.far_socket = tcp_socket(kAnyV4);
  const Address far_address = local_address_of(bench.far_socket.number());
  ignore_resets(bench.far_socket);
  ::fcntl(bench.far_socket.number(), F_SETFL, O_NONBLOCK);
  ASSERT_EQ(connect_to(bench.far_socket, near_address), -1);
  ASSERT_EQ(errno, EINPROGRESS);  // Nobody listens there; nobody listens here either.

  auto stream = FramedStream::connect(bench.config, far_address, near_address.port, 5s);

  ASSERT_TRUE(stream);
  bench.near.stream = std::move(*stream);
  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.connected + bench.near.closed > 0; }));
  ASSERT_EQ(bench.near.connected, 1) << bench.near.why.message();
  EXPECT_EQ(bench.near.stream->local_address(), near_address);
  bench.adopt_far();
  bench.send(bench.near, "hello", 5);
  bench.send(bench.far, "world", 5);
  ASSERT_TRUE(run_until(
      bench.io, [&] { return !bench.near.datagrams.empty() && !bench.far.datagrams.empty(); }));
}

TEST(FramedStream, TellsARefusalAfterTheCall) {
  Bench bench;
  const Descriptor reserved = tcp_socket(kAnyV4);
  auto stream = FramedStream::connect(bench.config, local_address_of(reserved.number()), 0, 5s);
  ASSERT_TRUE(stream);
  EXPECT_EQ(bench.near.closed, 0);

  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.closed == 1; }));

  EXPECT_EQ(bench.near.why, std::errc::connection_refused);
  EXPECT_EQ(bench.near.connected, 0);
}

TEST(FramedStream, TellsAtOnceAndLaterThatThereIsNoWay) {
  Bench bench;
  // No program may send there (RFC 1112): the call itself fails.
  auto stream = FramedStream::connect(bench.config, {IpAddress::v4(255, 255, 255, 255), 9}, 0, 5s);
  ASSERT_TRUE(stream);
  EXPECT_EQ(bench.near.closed, 0);

  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.closed == 1; }));

  EXPECT_TRUE(bench.near.why);
  EXPECT_NE(bench.near.why, std::errc::timed_out);
}

TEST(FramedStream, GivesUpAfterItsTimeout) {
  Bench bench;
  const Descriptor full = tcp_socket(kAnyV4);
  ASSERT_EQ(::listen(full.number(), 0), 0);
  const Address address = local_address_of(full.number());
  const Descriptor first = tcp_socket(kAnyV4);  // Takes the only place that there is.
  ASSERT_EQ(connect_to(first, address), 0);
  const TimePoint before = monotonic_now();

  auto stream = FramedStream::connect(bench.config, address, 0, 50ms);

  ASSERT_TRUE(stream);
  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.closed == 1; }));
  EXPECT_EQ(bench.near.why, std::errc::timed_out);
  EXPECT_GE(monotonic_now() - before, 50ms);
  EXPECT_LT(monotonic_now() - before, 1s);
}

TEST(FramedStream, DropsWhatASlowReaderWouldLetWait) {
  Bench bench;
  Descriptor socket = tcp_socket(kAnyV4);
  const Descriptor duplicate(::dup(socket.number()));
  bench.adopt_near(std::move(socket));
  const std::string burst = numbered(44, 1'452, 1'452);
  std::uint64_t offered = 0;

  for (int i = 0; i < 1'000; ++i) {
    bench.send(bench.near, burst, 1'452);
    offered += burst.size();
  }

  // The far kernel holds some MiB that nobody reads; here waits what the limit says.
  const auto& counters = bench.near.stream->counters();
  EXPECT_GT(counters.bytes_dropped, offered / 2);
  EXPECT_LE(unsent_bytes(duplicate.number()), FramedStream::kQueueBytesMin);
  bench.adopt_far();
  ASSERT_TRUE(run_until(bench.io, [&] {
    return bench.far.datagrams.size() * 1'452 + counters.bytes_dropped == offered;
  })) << "datagrams were lost that nobody counted";
  const auto pieces = cut(burst, 1'452);
  for (const std::string& datagram : bench.far.datagrams) {
    ASSERT_TRUE(std::ranges::find(pieces, datagram) != pieces.end());
  }
}

TEST(FramedStream, FinishesAFrameThatTheKernelTookInPart) {
  Bench bench;
  Descriptor socket = tcp_socket(kAnyV4);
  const int bytes = 4'096;
  ::setsockopt(socket.number(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  bench.adopt_near(std::move(socket));
  bench.adopt_far();
  const std::string burst = numbered(6, 10'007, 10'007);
  const auto& counters = bench.near.stream->counters();
  std::uint64_t offered = 0;

  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 50; ++i) {
      bench.send(bench.near, burst, 10'007);
      offered += burst.size();
    }
    bench.io.poll();
  }

  EXPECT_GT(counters.bytes_dropped, 0u);
  ASSERT_TRUE(run_until(bench.io, [&] {
    return bench.far.datagrams.size() * 10'007 + counters.bytes_dropped == offered;
  }));
  const auto pieces = cut(burst, 10'007);
  for (const std::string& datagram : bench.far.datagrams) {
    ASSERT_TRUE(std::ranges::find(pieces, datagram) != pieces.end());
  }
}

TEST(FramedStream, ClosesAConnectionThatBreaksTheFraming) {
  Bench bench(kAnyV4, /*datagram_bytes_max=*/1'000);
  ASSERT_TRUE(bench.connect());

  bench.write_far(std::string_view("\0\2ok\0\0\x03\xe9garbage", 15));

  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.closed == 1; }));
  EXPECT_EQ(bench.near.datagrams, std::vector<std::string>{"ok"});
  EXPECT_EQ(bench.near.why, WireError::kTooLong);
  EXPECT_FALSE(bench.near.stream->is_connected());
  bench.send(bench.near, "nobody hears", 12);
  EXPECT_EQ(bench.near.stream->counters().bytes_sent, 0u);
}

TEST(FramedStream, TellsWhenTheOtherSideEndsIt) {
  Bench bench;
  ASSERT_TRUE(bench.connect());
  bench.write_far(std::string_view("\0\4last", 6));
  bench.far_socket.close();

  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.closed == 1; }));

  EXPECT_EQ(bench.near.datagrams, std::vector<std::string>{"last"});
  EXPECT_EQ(bench.near.why, std::errc::broken_pipe);
}

TEST(FramedStream, ClosedInsideItsHandlerItSaysNothingMore) {
  Bench bench;
  ASSERT_TRUE(bench.connect());
  bench.near.closes_on_data = true;

  bench.write_far(std::string_view("\0\1a\0\2bb\0\3ccc", 12));

  ASSERT_TRUE(run_until(bench.io, [&] { return bench.near.trains > 0; }));
  EXPECT_FALSE(run_until(
      bench.io, [&] { return bench.near.trains > 1 || bench.near.closed > 0; }, 20ms));
}

TEST(FramedStream, IdleOnesCauseNoWakeup) {
  Bench bench;
  ASSERT_TRUE(bench.connect());
  bench.io.poll();

  EXPECT_EQ(bench.io.run_one_for(50ms), 0u);
}

}  // namespace
}  // namespace openp2p::net
