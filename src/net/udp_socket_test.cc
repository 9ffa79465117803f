#include "net/udp_socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "net/test_loop.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

const Address kAnyV4{IpAddress::loopback_v4(), 0};
const Address kAnyV6{*IpAddress::parse("::1"), 0};

struct Sink final : UdpHandler {
  void on_datagrams(std::span<const Received> batch, TimePoint now) override {
    ++calls;
    last_now = now;
    for (const Received& train : batch) {
      from = train.from;
      local = train.local;
      ByteView rest = train.datagrams;
      while (!rest.empty()) {
        const std::size_t size = std::min(rest.size(), train.segment_bytes);
        datagrams.emplace_back(as_text(rest.first(size)));
        rest = rest.subspan(size);
      }
    }
  }
  void on_writable(TimePoint) override { ++writable; }
  void on_unreachable(const Address& to, std::error_code error) override {
    unreachable.emplace_back(to, error);
  }
  void on_too_big(const Address& to, std::size_t bytes) override {
    too_big.emplace_back(to, bytes);
  }

  std::vector<std::string> datagrams;
  std::vector<std::pair<Address, std::error_code>> unreachable;
  std::vector<std::pair<Address, std::size_t>> too_big;
  Address from;
  IpAddress local;
  TimePoint last_now{};
  int writable = 0;
  int calls = 0;
};

/// Does what a script says, and what it does not mention like the real ones.
class ScriptedSyscalls final : public UdpSyscalls {
 public:
  struct Script {
    int no_many = 0;                 ///< 1: no recvmmsg() and sendmmsg().
    int segmented_error = 0;         ///< Of every message with UDP_SEGMENT.
    std::vector<int> send_errors{};  ///< Of the next calls, one each; 0: does it.
    std::vector<int> receive_errors{};
    std::size_t message_bytes_max = 65'536;  ///< Larger single datagrams: EMSGSIZE.
    std::size_t many_max = 1'000;            ///< A call takes so many messages.
    int segmented = 0;
    int plain = 0;
    int many_calls = 0;
  };
  explicit ScriptedSyscalls(Script& script) : script_(script), real_(make_udp_syscalls()) {}

  int receive_many(int socket, std::span<UdpMessage> messages) override {
    if (script_.no_many != 0) return -ENOSYS;
    if (const int error = take(script_.receive_errors)) return -error;
    return real_->receive_many(socket, messages);
  }
  int receive_one(int socket, UdpMessage& message) override {
    return real_->receive_one(socket, message);
  }
  int send_many(int socket, std::span<UdpMessage> messages) override {
    ++script_.many_calls;
    if (script_.no_many != 0) return -ENOSYS;
    int count = 0;
    for (UdpMessage& message : messages.first(std::min(messages.size(), script_.many_max))) {
      const int result = send_one(socket, message);
      if (result < 0) return count == 0 ? result : count;
      ++count;
    }
    return count;
  }
  int send_one(int socket, const UdpMessage& message) override {
    const bool is_segmented = message.header.msg_controllen != 0;
    if (const int error = take(script_.send_errors)) return -error;
    if (is_segmented && script_.segmented_error != 0) return -script_.segmented_error;
    if (!is_segmented && message.header.msg_iov->iov_len > script_.message_bytes_max) {
      return -EMSGSIZE;
    }
    ++(is_segmented ? script_.segmented : script_.plain);
    return real_->send_one(socket, message);
  }

 private:
  static int take(std::vector<int>& errors) {
    if (errors.empty()) return 0;
    const int error = errors.front();
    errors.erase(errors.begin());
    return error;
  }
  Script& script_;
  std::unique_ptr<UdpSyscalls> real_;
};

/// Datagrams that differ: "0....", "1...." and so on, the last one shorter.
std::string numbered(std::size_t count, std::size_t size, std::size_t last_size) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    std::string one = std::to_string(i);
    one.resize(i + 1 == count ? last_size : size, static_cast<char>('a' + i % 26));
    text += one;
  }
  return text;
}

struct Pair {
  explicit Pair(const Address& any = kAnyV4, UdpOptions options = {}) {
    auto sender = UdpSocket::open(io, any, buffers, source, std::move(options));
    auto receiver = UdpSocket::open(io, any, buffers, sink);
    if (!sender || !receiver) return;
    from = std::move(*sender);
    to = std::move(*receiver);
  }
  static UdpOptions scripted(ScriptedSyscalls::Script& script) {
    UdpOptions options;
    options.syscalls = std::make_unique<ScriptedSyscalls>(script);
    return options;
  }
  Outgoing outgoing(const std::string& text, std::size_t segment_bytes) const {
    return {to->local_address(), {}, as_bytes(text), segment_bytes};
  }
  Outgoing outgoing(const std::string&&, std::size_t) const = delete;  // It holds a view.
  SendProgress send(const std::string& text, std::size_t segment_bytes) {
    const Outgoing batch = outgoing(text, segment_bytes);
    return from->send({&batch, 1}, now);
  }
  bool receives(std::size_t count) {
    return run_until(io, [&] { return sink.datagrams.size() >= count; });
  }
  void expect_received(const std::string& text, std::size_t segment_bytes) {
    std::vector<std::string> expected;
    for (std::size_t at = 0; at < text.size(); at += segment_bytes) {
      expected.push_back(text.substr(at, segment_bytes));
    }
    EXPECT_TRUE(receives(expected.size()));
    EXPECT_EQ(sink.datagrams, expected);
  }

  IoContext io;
  UdpBuffers buffers;
  Sink source;
  Sink sink;
  TimePoint now = TimePoint{} + 1h;
  std::unique_ptr<UdpSocket> from;
  std::unique_ptr<UdpSocket> to;
};

TEST(UdpSocket, KeepsDatagramBoundariesInBothFamilies) {
  for (const Address& any : {kAnyV4, kAnyV6}) {
    Pair pair(any);
    ASSERT_TRUE(pair.from) << any.text();
    const std::string text = numbered(100, 1'200, 700);

    const SendProgress progress = pair.send(text, 1'200);

    EXPECT_EQ(progress.batches, 1u);
    pair.expect_received(text, 1'200);
    EXPECT_EQ(pair.sink.from, pair.from->local_address());
    EXPECT_EQ(pair.sink.local, any.ip);
    EXPECT_EQ(pair.from->counters().bytes_sent, text.size());
    EXPECT_EQ(pair.to->counters().bytes_received, text.size());
  }
}

TEST(UdpSocket, SendsToManyDestinationsInOneCall) {
  ScriptedSyscalls::Script script;
  Pair pair(kAnyV4, Pair::scripted(script));
  Sink other_sink;
  auto other = UdpSocket::open(pair.io, kAnyV4, pair.buffers, other_sink);
  ASSERT_TRUE(other);
  const std::string one = "for one";
  const std::string two = "for two";
  const Outgoing batches[] = {pair.outgoing(one, one.size()),
                              {(*other)->local_address(), {}, as_bytes(two), two.size()},
                              pair.outgoing(two, two.size())};

  const SendProgress progress = pair.from->send(batches, pair.now);

  EXPECT_EQ(progress.batches, 3u);
  EXPECT_EQ(script.many_calls, 1);
  EXPECT_TRUE(pair.receives(2));
  EXPECT_TRUE(run_until(pair.io, [&] { return other_sink.datagrams.size() == 1; }));
  EXPECT_EQ(pair.sink.datagrams, (std::vector<std::string>{one, two}));
  EXPECT_EQ(other_sink.datagrams, (std::vector<std::string>{two}));
}

TEST(UdpSocket, SendsFromTheAddressItIsGiven) {
  IoContext io;
  UdpBuffers buffers;
  Sink sink;
  auto from = UdpSocket::open(io, {IpAddress::any_v4(), 0}, buffers, sink);
  auto to = UdpSocket::open(io, kAnyV4, buffers, sink);
  ASSERT_TRUE(from && to);
  const std::string text = "hello";
  const Outgoing batch{(*to)->local_address(), IpAddress::v4(127, 0, 0, 7), as_bytes(text), 5};

  (*from)->send({&batch, 1}, TimePoint{});

  ASSERT_TRUE(run_until(io, [&] { return !sink.datagrams.empty(); }));
  EXPECT_EQ(sink.from.ip, IpAddress::v4(127, 0, 0, 7));
}

TEST(UdpSocket, PortInUseIsAnErrorThatSaysSo) {
  Pair pair;

  auto second = UdpSocket::open(pair.io, pair.to->local_address(), pair.buffers, pair.sink);

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::address_in_use);
}

TEST(UdpSocket, Ipv6SocketLeavesIpv4PortFree) {
  IoContext io;
  UdpBuffers buffers;
  Sink sink;
  auto v6 = UdpSocket::open(io, {IpAddress::any_v6(), 0}, buffers, sink);
  ASSERT_TRUE(v6);

  auto v4 = UdpSocket::open(io, {IpAddress::any_v4(), (*v6)->local_address().port}, buffers, sink);

  EXPECT_TRUE(v4);
}

class SegmentedError : public testing::TestWithParam<int> {};

TEST_P(SegmentedError, FallsBackToPlainDatagramsAndRemembers) {
  ScriptedSyscalls::Script script{.segmented_error = GetParam()};
  Pair pair(kAnyV4, Pair::scripted(script));
  if (!pair.from->is_offloading()) GTEST_SKIP() << "the system has no segmentation";
  const std::string text = numbered(10, 500, 100);

  const SendProgress progress = pair.send(text, 500);

  EXPECT_EQ(progress.batches, 1u);
  pair.expect_received(text, 500);
  EXPECT_FALSE(pair.from->is_offloading());
  EXPECT_EQ(pair.from->counters().offload_failures, 1u);
  EXPECT_TRUE(pair.source.unreachable.empty() && pair.source.too_big.empty());

  script.segmented_error = 0;
  pair.send(text, 500);
  EXPECT_EQ(script.segmented, 0) << "it forgot";
  pair.now += 11min;
  pair.send(text, 500);
  EXPECT_EQ(script.segmented, 1) << "it never tries again";
}

INSTANTIATE_TEST_SUITE_P(Errors, SegmentedError,
                         testing::Values(EIO, EINVAL, EMSGSIZE, EOPNOTSUPP));

TEST(UdpSocket, TooBigSegmentsAreNotBlamedOnOffload) {
  ScriptedSyscalls::Script script{.segmented_error = EINVAL, .message_bytes_max = 400};
  Pair pair(kAnyV4, Pair::scripted(script));
  if (!pair.from->is_offloading()) GTEST_SKIP() << "the system has no segmentation";
  const std::string text = numbered(10, 500, 100);

  const SendProgress progress = pair.send(text, 500);

  EXPECT_EQ(progress.batches, 1u);
  EXPECT_TRUE(pair.from->is_offloading());
  ASSERT_EQ(pair.source.too_big.size(), 1u);
  EXPECT_EQ(pair.source.too_big[0], std::pair(pair.to->local_address(), std::size_t{500}));
}

TEST(UdpSocket, WorksWithoutCallsForManyMessages) {
  ScriptedSyscalls::Script script{.no_many = 1, .segmented_error = EIO};
  Pair pair(kAnyV4, Pair::scripted(script));
  const std::string text = numbered(100, 600, 600);
  Sink back;

  pair.send(text, 600);
  pair.expect_received(text, 600);
  EXPECT_EQ(script.many_calls, 1) << "asked again after ENOSYS";

  const Outgoing answer{pair.from->local_address(), {}, as_bytes(text).first(600), 600};
  for (int i = 0; i < 20; ++i) pair.to->send({&answer, 1}, pair.now);
  EXPECT_TRUE(run_until(pair.io, [&] { return pair.source.datagrams.size() == 20; }));
}

TEST(UdpSocket, FullKernelQueueReportsProgressAndThenRoom) {
  ScriptedSyscalls::Script script{.segmented_error = EIO, .many_max = 3};
  Pair pair(kAnyV4, Pair::scripted(script));
  const std::string text = numbered(10, 100, 100);
  pair.send(text.substr(0, 200), 100);  // Learns that there is no segmentation.
  ASSERT_TRUE(pair.receives(2));
  pair.sink.datagrams.clear();
  // Twice, since a call that moved some messages keeps the error to itself.
  script.send_errors = {0, 0, 0, 0, EAGAIN, EAGAIN};

  const SendProgress progress = pair.send(text, 100);

  EXPECT_EQ(progress.batches, 0u);
  EXPECT_EQ(progress.bytes, 400u);
  EXPECT_TRUE(run_until(pair.io, [&] { return pair.source.writable == 1; }));
  EXPECT_FALSE(run_until(
      pair.io, [&] { return pair.source.writable > 1; }, 10ms))
      << "told twice";

  const std::string rest = text.substr(progress.bytes);
  EXPECT_EQ(pair.send(rest, 100).batches, 1u);
  pair.expect_received(text, 100);
}

class TransientError : public testing::TestWithParam<int> {};

TEST_P(TransientError, DropsOneBatchAndSendsTheOthers) {
  ScriptedSyscalls::Script script;
  Pair pair(kAnyV4, Pair::scripted(script));
  const std::string text = "payload";
  const Outgoing lost{{IpAddress::v4(127, 0, 0, 9), 9}, {}, as_bytes(text), text.size()};
  const Outgoing batches[] = {lost, pair.outgoing(text, text.size())};
  script.send_errors = {GetParam()};

  const SendProgress progress = pair.from->send(batches, pair.now);

  EXPECT_EQ(progress.batches, 2u);
  pair.expect_received(text, text.size());
  ASSERT_EQ(pair.source.unreachable.size(), 1u);
  EXPECT_EQ(pair.source.unreachable[0].first, lost.to);
  EXPECT_EQ(pair.source.unreachable[0].second.value(), GetParam());
  EXPECT_EQ(pair.from->counters().unreachable, 1u);
}

INSTANTIATE_TEST_SUITE_P(Errors, TransientError,
                         testing::Values(ENETUNREACH, EHOSTUNREACH, EPERM, ENETDOWN, EINVAL));

TEST(UdpSocket, RefusalOfAnEarlierDatagramCostsNothing) {
  ScriptedSyscalls::Script script{.send_errors = {ECONNREFUSED, EINTR}};
  Pair pair(kAnyV4, Pair::scripted(script));

  pair.send("payload", 7);

  pair.expect_received("payload", 7);
  EXPECT_TRUE(pair.source.unreachable.empty());
}

TEST(UdpSocket, KernelWithoutMemoryLosesOneMessage) {
  ScriptedSyscalls::Script script{.segmented_error = EIO};
  Pair pair(kAnyV4, Pair::scripted(script));
  pair.send("ab", 1);
  ASSERT_TRUE(pair.receives(2));
  pair.sink.datagrams.clear();
  script.send_errors = {ENOBUFS};

  EXPECT_EQ(pair.send("abc", 1).batches, 1u);

  EXPECT_TRUE(pair.receives(2));
  EXPECT_EQ(pair.sink.datagrams, (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(pair.from->counters().no_buffers, 1u);
}

TEST(UdpSocket, ReceivingGoesOnAfterErrors) {
  ScriptedSyscalls::Script script{.receive_errors = {ECONNREFUSED, EINTR, EHOSTUNREACH}};
  Pair pair(kAnyV4, Pair::scripted(script));
  const Outgoing batch{pair.from->local_address(), {}, as_bytes("still here"), 10};

  pair.to->send({&batch, 1}, pair.now);

  ASSERT_TRUE(run_until(pair.io, [&] { return !pair.source.datagrams.empty(); }));
  EXPECT_EQ(pair.from->counters().receive_errors, 2u);
}

TEST(UdpSocket, EmptyBatchesAndDatagramsAreNothing) {
  Pair pair;
  const std::string text = "x";
  const Outgoing empty{pair.to->local_address(), {}, {}, 0};
  const Outgoing batches[] = {empty, pair.outgoing(text, 1), empty};

  EXPECT_EQ(pair.from->send(batches, pair.now).batches, 3u);
  EXPECT_EQ(pair.from->send({&empty, 1}, pair.now).batches, 1u);

  pair.expect_received(text, 1);
}

TEST(UdpSocket, BusySocketYieldsToOthers) {
  ScriptedSyscalls::Script script{.segmented_error = EIO};
  Pair pair(kAnyV4, Pair::scripted(script));
  Sink quiet_sink;
  auto quiet = UdpSocket::open(pair.io, kAnyV4, pair.buffers, quiet_sink);
  ASSERT_TRUE(quiet);
  // Single datagrams from many senders' worth of calls: more than one wake-up may take.
  const std::string text = "z";
  const Outgoing busy = pair.outgoing(text, 1);
  for (int i = 0; i < 200; ++i) {
    std::string varied(1 + static_cast<std::size_t>(i) % 7, 'z');  // Uneven sizes do not coalesce.
    const Outgoing one{busy.to, {}, as_bytes(varied), varied.size()};
    pair.from->send({&one, 1}, pair.now);
  }
  const Outgoing other{(*quiet)->local_address(), {}, as_bytes(text), 1};
  pair.from->send({&other, 1}, pair.now);

  ASSERT_TRUE(run_until(pair.io, [&] { return !quiet_sink.datagrams.empty(); }));

  EXPECT_LT(pair.sink.datagrams.size(), 200u);
  EXPECT_TRUE(pair.receives(200));
}

TEST(UdpSocket, IdleSocketsCauseNoWakeup) {
  Pair pair;
  std::vector<std::unique_ptr<UdpSocket>> sockets;
  sockets.reserve(20);
  for (int i = 0; i < 20; ++i) {
    sockets.push_back(*UdpSocket::open(pair.io, kAnyV4, pair.buffers, pair.sink));
  }

  EXPECT_EQ(pair.io.run_one_for(50ms), 0u);
}

TEST(UdpSocket, NeedsOneDescriptorWhileTheKernelHasRoom) {
  Pair pair;
  const Descriptor before(::dup(0));
  std::vector<std::unique_ptr<UdpSocket>> sockets;
  for (int i = 0; i < 100; ++i) {
    sockets.push_back(*UdpSocket::open(pair.io, kAnyV4, pair.buffers, pair.sink));
    const std::string letter = "x";
    const Outgoing one = pair.outgoing(letter, 1);
    sockets.back()->send({&one, 1}, pair.now);
  }
  const Descriptor after(::dup(0));

  EXPECT_LT(after.number() - before.number(), 110);  // The lowest free number may fill a gap.
}

TEST(UdpSocket, SendingWakesNobodyEvenAfterItBlocked) {
  ScriptedSyscalls::Script script{.send_errors = {EAGAIN}};
  Pair pair(kAnyV4, Pair::scripted(script));
  EXPECT_EQ(pair.send("x", 1).batches, 0u);
  ASSERT_TRUE(run_until(pair.io, [&] { return pair.source.writable == 1; }));
  const Outgoing into_nothing{{IpAddress::loopback_v4(), 9}, {}, as_bytes("x"), 1};
  pair.io.poll();

  pair.from->send({&into_nothing, 1}, pair.now);

  EXPECT_EQ(pair.io.run_one_for(20ms), 0u);
}

}  // namespace
}  // namespace openp2p::net
