#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "net/light_timer.h"
#include "net/socket_address.h"
#include "net/tcp_dialer.h"
#include "net/tcp_listener.h"
#include "net/test_loop.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;
using forward::IoState;
using forward::LocalStream;

const Address kAnyV4{IpAddress::loopback_v4(), 0};
const Address kAnyV6{*IpAddress::parse("::1"), 0};
constexpr std::size_t kReadBytes = 128 * 1024;

/// Reads what comes, writes what it is given.
struct Peer final : forward::LocalStreamHandler {
  void take(std::unique_ptr<LocalStream> given) {
    stream = std::move(given);
    stream->set_handler(this);
    stream->want_read(true);
  }
  void on_readable(TimePoint) override {
    ++wakeups;
    const auto result = stream->read(room);
    received += as_text(ByteView(room).first(result.bytes));
    if (result.state == IoState::kEnd) ended = true;
    if (result.state == IoState::kError) error = result.error;
  }
  void on_writable(TimePoint) override { write_more(); }
  void on_failed(std::error_code why, TimePoint) override {
    ++failures;
    error = why;
  }
  void write(std::string_view text) {
    unsent += text;
    write_more();
  }
  void write_more() {
    const auto result = stream->write(as_bytes(unsent));
    unsent.erase(0, result.bytes);
    stream->want_write(result.state == IoState::kWouldBlock);
    if (result.state == IoState::kError) error = result.error;
  }

  std::unique_ptr<LocalStream> stream;
  std::vector<std::byte> room = std::vector<std::byte>(kReadBytes);
  std::string received;
  std::string unsent;
  std::error_code error;
  bool ended = false;
  int failures = 0;
  int wakeups = 0;
};

struct Listening {
  explicit Listening(IoContext& io, const Address& local = kAnyV4) {
    auto result = TcpListener::listen(io, local, [this](std::unique_ptr<LocalStream> stream) {
      accepted.push_back(std::move(stream));
    });
    if (result) listener = std::move(*result);
  }
  std::uint16_t port() const { return listener->local_address().port; }

  std::unique_ptr<TcpListener> listener;
  std::vector<std::unique_ptr<LocalStream>> accepted;
};

/// Answers from a table, on the next turn of the loop.
class TableResolver final : public NameResolver {
 public:
  explicit TableResolver(IoContext& io) : io_(io) {}
  std::unique_ptr<Lookup> look_up(const std::string& name, Callback callback) override {
    struct Answer final : Lookup {
      Answer(IoContext& io, TimerCallback later) : timer(io, std::move(later)) {}
      LightTimer timer;
    };
    auto later = [this, name, call = std::move(callback)](TimePoint) {
      const auto found = table.find(name);
      if (found == table.end()) return call(make_error_code(DialError::kNameNotFound));
      call(found->second);
    };
    auto answer = std::make_unique<Answer>(io_, std::move(later));
    answer->timer.arm(TimePoint{});
    return answer;
  }
  std::map<std::string, std::vector<IpAddress>> table;

 private:
  using TimerCallback = Timer::Callback;
  IoContext& io_;
};

struct Dialling {
  IoContext io;
  TableResolver names{io};
  TcpDialer dialer{io, names};
  std::unique_ptr<Dial> dial;
  std::unique_ptr<LocalStream> stream;
  std::error_code error;
  int calls = 0;

  void start(DialRequest request) {
    dial = dialer.dial(std::move(request), [this](auto result) {
      ++calls;
      if (result) {
        stream = std::move(*result);
      } else {
        error = result.error();
      }
    });
  }
  void finish(DialRequest request) {
    start(std::move(request));
    EXPECT_EQ(calls, 0) << "called back from inside dial()";
    EXPECT_TRUE(run_until(io, [this] { return calls > 0; }));
  }
};

/// Two ends of one connection.
struct Connected : Dialling {
  explicit Connected(const Address& local = kAnyV4) : listening(io, local) {
    if (!listening.listener) return;
    finish({.host = local.ip.text(), .port = listening.port(), .timeout = 5s, .allows = {}});
    run_until(io, [this] { return !listening.accepted.empty(); });
    if (!stream || listening.accepted.empty()) return;
    near.take(std::move(stream));
    far.take(std::move(listening.accepted[0]));
  }
  Listening listening;
  Peer near;
  Peer far;
};

TEST(TcpStream, CarriesBytesBothWaysInBothFamilies) {
  for (const Address& local : {kAnyV4, kAnyV6}) {
    Connected pair(local);
    ASSERT_TRUE(pair.near.stream && pair.far.stream);

    pair.near.write("ping");
    pair.far.write("pong");

    EXPECT_TRUE(run_until(
        pair.io, [&] { return pair.far.received == "ping" && pair.near.received == "pong"; }));
    EXPECT_EQ(pair.near.stream->remote_address(), pair.listening.listener->local_address());
    EXPECT_EQ(pair.far.stream->remote_address().ip, local.ip);
  }
}

TEST(TcpStream, HalfCloseLeavesTheOtherDirectionOpen) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);

  pair.near.write("question");
  pair.near.stream->shutdown_write();
  pair.near.stream->shutdown_write();
  ASSERT_TRUE(run_until(pair.io, [&] { return pair.far.ended; }));
  EXPECT_EQ(pair.far.received, "question");
  pair.far.write("answer");
  pair.far.stream->shutdown_write();

  EXPECT_TRUE(run_until(pair.io, [&] { return pair.near.ended; }));
  EXPECT_EQ(pair.near.received, "answer");
  EXPECT_FALSE(pair.near.error || pair.far.error);
}

TEST(TcpStream, SlowReaderStopsTheWriterAndLosesNothing) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);
  std::string text(32 << 20, '\0');  // More than both kernel buffers hold.
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 24);
  pair.far.stream->want_read(false);

  pair.near.write(text);
  EXPECT_FALSE(run_until(
      pair.io, [&] { return pair.near.unsent.empty(); }, 50ms));
  EXPECT_EQ(pair.far.received.size(), 0u);
  pair.far.stream->want_read(true);

  EXPECT_TRUE(run_until(pair.io, [&] { return pair.far.received.size() == text.size(); }));
  EXPECT_TRUE(pair.far.received == text);
}

TEST(TcpStream, ResetIsAnErrorAtTheOtherEndAndNotAnEnd) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);

  pair.near.stream->reset();

  ASSERT_TRUE(run_until(pair.io, [&] { return bool(pair.far.error); }));
  EXPECT_EQ(pair.far.error, std::errc::connection_reset);
  EXPECT_FALSE(pair.far.ended);
  EXPECT_EQ(pair.near.failures, 0) << "its own reset is no news";
  EXPECT_EQ(pair.near.stream->write(as_bytes("x")).state, IoState::kError);
  EXPECT_EQ(pair.far.stream->write(as_bytes("x")).state, IoState::kError);
}

TEST(TcpStream, ResetIsHeardByOneWhoWantsNothing) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);
  pair.far.stream->want_read(false);
  pair.io.poll();

  pair.near.stream->reset();

  ASSERT_TRUE(run_until(pair.io, [&] { return pair.far.failures > 0; }));
  EXPECT_EQ(pair.far.error, std::errc::connection_reset);
  EXPECT_FALSE(run_until(
      pair.io, [&] { return pair.far.failures > 1; }, 10ms));
}

TEST(TcpStream, ResetBeforeThereIsAHandlerIsHeardByTheFirst) {
  Dialling dialling;
  Listening listening(dialling.io);
  dialling.finish({.host = "127.0.0.1", .port = listening.port(), .timeout = 5s, .allows = {}});
  ASSERT_TRUE(run_until(dialling.io, [&] { return !listening.accepted.empty(); }));
  dialling.stream->reset();
  EXPECT_FALSE(run_until(
      dialling.io, [] { return false; }, 5ms));

  Peer far;
  far.take(std::move(listening.accepted[0]));

  ASSERT_TRUE(run_until(dialling.io, [&] { return bool(far.error); }));
  EXPECT_EQ(far.error, std::errc::connection_reset);
}

TEST(TcpStream, DestroyingItDeliversWhatWasWritten) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);

  pair.near.write("last words");
  pair.near.stream.reset();

  ASSERT_TRUE(run_until(pair.io, [&] { return pair.far.ended; }));
  EXPECT_EQ(pair.far.received, "last words");
}

TEST(TcpStream, EndedStreamsCauseNoWakeup) {
  Connected pair;
  ASSERT_TRUE(pair.near.stream && pair.far.stream);
  pair.near.stream->shutdown_write();
  pair.far.stream->shutdown_write();
  ASSERT_TRUE(run_until(pair.io, [&] { return pair.near.ended && pair.far.ended; }));
  pair.io.run_for(1ms);
  pair.io.restart();

  EXPECT_EQ(pair.io.run_one_for(30ms), 0u);
}

TEST(TcpListener, PortInUseIsAnErrorThatSaysSo) {
  IoContext io;
  Listening first(io);

  const auto second = TcpListener::listen(io, first.listener->local_address(), {});

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::address_in_use);
}

TEST(TcpListener, PausedListenerKeepsConnectionsWaiting) {
  Dialling dialling;
  Listening listening(dialling.io);
  listening.listener->pause();

  dialling.finish({.host = "127.0.0.1", .port = listening.port(), .timeout = 5s, .allows = {}});
  EXPECT_FALSE(run_until(
      dialling.io, [&] { return !listening.accepted.empty(); }, 20ms));
  listening.listener->resume();

  EXPECT_TRUE(run_until(dialling.io, [&] { return !listening.accepted.empty(); }));
}

/// Leaves this process without free descriptors while it lives.
class DescriptorFamine {
 public:
  DescriptorFamine() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const Descriptor next_free(::socket(AF_INET, SOCK_DGRAM, 0));
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next_free.number());
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~DescriptorFamine() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(TcpListener, WaitsForDescriptorsWithoutSpinning) {
  Dialling dialling;
  Listening listening(dialling.io);
  listening.listener->pause();
  dialling.finish({.host = "127.0.0.1", .port = listening.port(), .timeout = 5s, .allows = {}});
  ASSERT_TRUE(dialling.stream);
  std::size_t turns = 0;
  {
    const DescriptorFamine famine;
    listening.listener->resume();
    dialling.io.restart();
    turns = dialling.io.run_for(250ms);
    EXPECT_TRUE(listening.listener->is_starved());
    EXPECT_TRUE(listening.accepted.empty());
  }

  EXPECT_LT(turns, 20u);
  EXPECT_TRUE(run_until(dialling.io, [&] { return listening.accepted.size() == 1; }));
  EXPECT_FALSE(listening.listener->is_starved());
}

TEST(TcpListener, CallbackMayDestroyIt) {
  Dialling dialling;
  std::unique_ptr<TcpListener> listener;
  int accepted = 0;
  listener = *TcpListener::listen(dialling.io, kAnyV4, [&](auto) {
    ++accepted;
    listener.reset();
  });
  const std::uint16_t port = listener->local_address().port;

  dialling.finish({.host = "127.0.0.1", .port = port, .timeout = 5s, .allows = {}});

  EXPECT_TRUE(run_until(dialling.io, [&] { return accepted == 1; }));
}

TEST(TcpDialer, TellsRefusal) {
  Dialling dialling;
  std::uint16_t port = 0;
  {
    const Listening closed(dialling.io);
    port = closed.port();
  }

  dialling.finish({.host = "127.0.0.1", .port = port, .timeout = 5s, .allows = {}});

  EXPECT_EQ(dialling.error, DialError::kRefused);
}

TEST(TcpDialer, TellsThatThereIsNoWay) {
  Dialling dialling;

  // The broadcast address of the loopback network: no TCP connection leads there.
  dialling.finish({.host = "127.255.255.255", .port = 9, .timeout = 5s, .allows = {}});

  EXPECT_EQ(dialling.error, DialError::kUnreachable);
}

TEST(TcpDialer, TellsUnknownName) {
  Dialling dialling;

  dialling.finish({.host = "no.such.host", .port = 9, .timeout = 5s, .allows = {}});

  EXPECT_EQ(dialling.error, DialError::kNameNotFound);
}

TEST(TcpDialer, TellsSilence) {
  Dialling dialling;
  // A queue that is full and never served: the kernel ignores further SYNs.
  Descriptor silent(::socket(AF_INET, SOCK_STREAM, 0));
  SocketAddress address;
  const socklen_t size = to_socket_address(kAnyV4, address);
  ASSERT_EQ(::bind(silent.number(), &address.base, size), 0);
  ASSERT_EQ(::listen(silent.number(), 0), 0);
  const std::uint16_t port = local_address_of(silent.number()).port;
  dialling.finish({.host = "127.0.0.1", .port = port, .timeout = 5s, .allows = {}});
  const auto fills_the_queue = std::move(dialling.stream);
  ASSERT_TRUE(fills_the_queue);
  dialling.calls = 0;

  dialling.finish({.host = "127.0.0.1", .port = port, .timeout = 30ms, .allows = {}});

  EXPECT_EQ(dialling.error, DialError::kTimedOut);
}

TEST(TcpDialer, TellsThatThereAreNoDescriptors) {
  Dialling dialling;
  const Listening listening(dialling.io);
  {
    const DescriptorFamine famine;
    dialling.start({.host = "127.0.0.1", .port = listening.port(), .timeout = 5s, .allows = {}});
    dialling.io.poll();
  }

  EXPECT_EQ(dialling.error, DialError::kNoResources);
}

TEST(TcpDialer, TriesEveryAddress) {
  Dialling dialling;
  const Listening listening(dialling.io);
  dialling.names.table["both.example"] = {IpAddress::v4(127, 0, 0, 99), IpAddress::loopback_v4(),
                                          *IpAddress::parse("::1")};

  dialling.finish({.host = "both.example", .port = listening.port(), .timeout = 5s, .allows = {}});

  ASSERT_TRUE(dialling.stream);
  EXPECT_EQ(dialling.stream->remote_address().ip, IpAddress::loopback_v4());
}

TEST(TcpDialer, PrefersIpv6) {
  Dialling dialling;
  const Listening v4(dialling.io);
  const Listening v6(dialling.io, {*IpAddress::parse("::1"), v4.port()});
  if (!v6.listener) GTEST_SKIP() << "no IPv6 here, or its port is taken";
  dialling.names.table["both.example"] = {IpAddress::loopback_v4(), *IpAddress::parse("::1")};

  dialling.finish({.host = "both.example", .port = v4.port(), .timeout = 5s, .allows = {}});

  ASSERT_TRUE(dialling.stream);
  EXPECT_TRUE(dialling.stream->remote_address().ip.is_v6());
}

TEST(TcpDialer, PolicyJudgesTheAddressAndNotTheName) {
  Dialling dialling;
  const Listening listening(dialling.io);
  dialling.names.table["rebound.example"] = {IpAddress::loopback_v4()};
  std::vector<IpAddress> asked;
  const auto allows = [&asked](const IpAddress& ip) {
    asked.push_back(ip);
    return !ip.is_loopback();
  };

  dialling.finish(
      {.host = "rebound.example", .port = listening.port(), .timeout = 5s, .allows = allows});

  EXPECT_EQ(dialling.error, DialError::kVetoed);
  EXPECT_EQ(asked, (std::vector<IpAddress>{IpAddress::loopback_v4()}));
  EXPECT_FALSE(run_until(
      dialling.io, [&] { return !listening.accepted.empty(); }, 10ms));
}

TEST(TcpDialer, PolicyJudgesNumericAddresses) {
  Dialling dialling;

  dialling.finish(
      {.host = "::ffff:127.0.0.1", .port = 9, .timeout = 5s, .allows = [](const IpAddress& ip) {
         return !ip.is_loopback();
       }});

  EXPECT_EQ(dialling.error, DialError::kVetoed);
}

TEST(TcpDialer, DestroyedDialDoesNotCallBack) {
  for (const char* host : {"127.0.0.1", "known.example"}) {
    Dialling dialling;
    const Listening listening(dialling.io);
    dialling.names.table["known.example"] = {IpAddress::loopback_v4()};

    dialling.start({.host = host, .port = listening.port(), .timeout = 5s, .allows = {}});
    dialling.dial.reset();

    EXPECT_FALSE(run_until(
        dialling.io, [&] { return dialling.calls > 0; }, 20ms))
        << host;
  }
}

TEST(NameResolver, AnswersFromTheSystemAndRefusesNonsense) {
  IoContext io;
  const auto resolver = make_name_resolver(io);
  std::vector<Result<std::vector<IpAddress>>> answers;
  const auto keep = [&answers](auto answer) { answers.push_back(std::move(answer)); };

  const auto a = resolver->look_up("localhost", keep);
  const auto b = resolver->look_up("two words", keep);
  const auto c = resolver->look_up(std::string(300, 'a'), keep);
  auto withdrawn = resolver->look_up("localhost", keep);
  withdrawn.reset();

  ASSERT_TRUE(run_until(io, [&] { return answers.size() == 3; }));
  const auto found =
      std::ranges::count_if(answers, [](const auto& answer) { return answer.has_value(); });
  EXPECT_EQ(found, 1);
  for (const auto& answer : answers) {
    if (answer) {
      EXPECT_TRUE(answer->at(0).is_loopback());
    } else {
      EXPECT_EQ(answer.error(), DialError::kNameNotFound);
    }
  }
}

}  // namespace
}  // namespace openp2p::net
