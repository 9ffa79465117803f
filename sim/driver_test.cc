#include "sim/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "sim/inbox.h"
#include "sim/internet.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
  std::uint8_t hop_limit = 0;
};

/// Sends what it is told to, a timer's tick every `period`, and remembers its inputs.
class Recorder {
 public:
  struct Burst {
    SocketId socket;
    Address to;
    std::string text;
    std::size_t segment_bytes = 0;
    std::uint8_t hop_limit = 0;
  };

  void on_datagrams(SocketId socket, const Address& from, ByteView bytes, std::size_t segment_bytes,
                    TimePoint now) {
    inputs.push_back(std::string(as_text(bytes)) + "/" + std::to_string(segment_bytes));
    senders.push_back(from);
    times.push_back(now);
    if (on_arrival) on_arrival(socket);
  }
  void on_timeout(TimePoint now) {
    ticks.push_back(now.time_since_epoch());
    if (!is_stuck) deadline.reset();
  }
  std::optional<TimePoint> next_timeout() const { return deadline; }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint) {
    if (outbox.empty()) return std::nullopt;
    const Burst burst = std::move(outbox.front());
    outbox.pop_front();
    std::ranges::copy(as_bytes(burst.text), out.begin());
    return Transmit{burst.socket, burst.to, burst.text.size(), burst.segment_bytes,
                    burst.hop_limit};
  }

  std::deque<Burst> outbox;
  std::function<void(SocketId)> on_arrival;
  std::optional<TimePoint> deadline;
  bool is_stuck = false;
  std::vector<std::string> inputs;
  std::vector<Address> senders;
  std::vector<TimePoint> times;
  std::vector<Duration> ticks;
};
static_assert(Machine<Recorder>);

/// As simple as a machine can be: returns each datagram.
class Echo {
 public:
  void on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint) {
    queue_.push_back({socket, from, to_bytes(bytes)});
  }
  void on_timeout(TimePoint) {}
  std::optional<TimePoint> next_timeout() const { return std::nullopt; }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint) {
    if (queue_.empty()) return std::nullopt;
    const auto [socket, to, bytes] = std::move(queue_.front());
    queue_.pop_front();
    std::ranges::copy(bytes, out.begin());
    return Transmit{socket, to, bytes.size(), bytes.size(), /*hop_limit=*/0};
  }

 private:
  struct Answer {
    SocketId socket;
    Address to;
    Bytes bytes;
  };
  std::deque<Answer> queue_;
};
static_assert(Machine<Echo>);

class DriverTest : public testing::Test {
 protected:
  World world_{1};
  Internet internet_{world_};
  std::unique_ptr<Host> host_ = make_public_host(internet_);
  std::unique_ptr<Host> peer_host_ = make_public_host(internet_);
  UdpSocket& peer_ = peer_host_->open_udp();
  Inbox inbox_{peer_};
  Recorder machine_;
};

TEST_F(DriverTest, SplitsBurstsIntoDatagrams) {
  Driver driver(*host_, machine_);
  const SocketId socket = driver.open();
  machine_.outbox.push_back({socket, peer_.local(), "aaaabbbbcc", 4});
  machine_.outbox.push_back({socket, peer_.local(), "single", 0});

  driver.poke();
  world_.run_for(1s);

  EXPECT_THAT(inbox_.texts, ElementsAre("aaaa", "bbbb", "cc", "single"));
  EXPECT_EQ(inbox_.senders[0], driver.socket(socket).local());
}

TEST_F(DriverTest, HandsOverTogetherWhatArrivesTogether) {
  Driver driver(*host_, machine_);
  const Address to = driver.socket(driver.open()).local();
  for (const char* text : {"aaaa", "bbbb", "cc", "dddd", "eeeeee"}) peer_.send(to, as_bytes(text));
  world_.run_for(1s);
  peer_.send(to, as_bytes("later"));
  world_.run_for(1s);

  EXPECT_THAT(machine_.inputs, ElementsAre("aaaabbbbcc/4", "dddd/4", "eeeeee/6", "later/5"));
  EXPECT_EQ(machine_.times[0], machine_.times[2]);
}

TEST_F(DriverTest, KeepsSendersApart) {
  Driver driver(*host_, machine_);
  const Address to = driver.socket(driver.open()).local();
  UdpSocket& other = peer_host_->open_udp();
  peer_.send(to, as_bytes("one"));
  other.send(to, as_bytes("two"));
  world_.run_for(1s);

  EXPECT_THAT(machine_.inputs, ElementsAre("one/3", "two/3"));
  EXPECT_THAT(machine_.senders, ElementsAre(peer_.local(), other.local()));
}

TEST_F(DriverTest, PassesEmptyDatagramsOn) {
  Driver driver(*host_, machine_);
  const Address to = driver.socket(driver.open()).local();
  peer_.send(to, as_bytes("a"));
  peer_.send(to, {});
  peer_.send(to, as_bytes("b"));
  world_.run_for(1s);
  EXPECT_THAT(machine_.inputs, ElementsAre("a/1", "/0", "b/1"));
}

TEST_F(DriverTest, WakesTheMachineAtItsDeadline) {
  Driver driver(*host_, machine_);
  machine_.deadline = TimePoint{} + 3s;
  driver.poke();
  machine_.deadline = TimePoint{} + 2s;
  driver.poke();
  world_.run_for(10s);
  EXPECT_THAT(machine_.ticks, ElementsAre(2s));
}

TEST_F(DriverTest, AMachineLivesInTheTimeOfItsHost) {
  host_->set_clock({.offset = 1h, .fast_by_ppm = -20'000});
  Driver driver(*host_, machine_);
  const Address to = driver.socket(driver.open()).local();
  machine_.deadline = TimePoint{} + 1h + 49s;

  driver.poke();
  world_.run_for(50s - 1us);
  EXPECT_TRUE(machine_.ticks.empty());
  world_.run_for(1us);
  peer_.send(to, as_bytes("x"));
  world_.run_for(1s);

  EXPECT_THAT(machine_.ticks, ElementsAre(1h + 49s));
  ASSERT_EQ(machine_.times.size(), 1u);
  EXPECT_GT(machine_.times[0], TimePoint{} + 1h + 49s);
  EXPECT_LT(machine_.times[0], TimePoint{} + 1h + 49s + 100ms);
}

TEST_F(DriverTest, GivesTheApplicationItsTurnBeforePolling) {
  Driver driver(*host_, machine_);
  const SocketId socket = driver.open();
  std::size_t answered = 0;
  driver.on_input([&](TimePoint) {
    for (; answered < machine_.inputs.size(); ++answered) {
      machine_.outbox.push_back({socket, machine_.senders[answered], "answer", 0});
      driver.poke();  // Legal here, and does not recurse.
    }
  });
  peer_.send(driver.socket(socket).local(), as_bytes("question"));
  world_.run_for(1s);
  EXPECT_THAT(inbox_.texts, ElementsAre("answer"));
}

TEST_F(DriverTest, RunsMachinesThatTakeSingleDatagrams) {
  Echo echo;
  Driver driver(*host_, echo);
  const Address to = driver.socket(driver.open()).local();
  for (const char* text : {"aaaa", "bbbb", "cc"}) peer_.send(to, as_bytes(text));
  world_.run_for(1s);
  EXPECT_THAT(inbox_.texts, ElementsAre("aaaa", "bbbb", "cc"));
}

TEST_F(DriverTest, FreesItsPortsForTheNextRun) {
  Recorder restarted;
  {
    Driver driver(*host_, machine_);
    driver.open(5000);
    machine_.deadline = TimePoint{} + 1s;
    driver.poke();
    peer_.send({*host_->address(Family::kV4), 5000}, as_bytes("to the first"));
    world_.run_for(500ms);
    peer_.send({*host_->address(Family::kV4), 5000}, as_bytes("on the way"));
  }
  Driver driver(*host_, restarted);
  driver.open(5000);
  world_.run_for(10s);

  EXPECT_THAT(machine_.inputs, ElementsAre("to the first/12"));
  EXPECT_THAT(restarted.inputs, ElementsAre("on the way/10"));
  EXPECT_TRUE(machine_.ticks.empty());
}

TEST_F(DriverTest, PassesHopLimitsOn) {
  Driver driver(*host_, machine_);
  const SocketId socket = driver.open();
  machine_.outbox.push_back({socket, peer_.local(), "short", 0, /*hop_limit=*/2});
  machine_.outbox.push_back({socket, peer_.local(), "far", 0});
  driver.poke();
  world_.run_for(1s);
  EXPECT_THAT(inbox_.texts, ElementsAre("far"));
}

TEST_F(DriverTest, OpensAndClosesSocketsInsideTheMachinesCalls) {
  Driver driver(*host_, machine_);
  const SocketId first = driver.open();
  const Address to = driver.socket(first).local();
  machine_.on_arrival = [&](SocketId socket) {
    driver.close(socket);
    machine_.outbox.push_back({driver.open(), machine_.senders.back(), "from another", 0});
  };
  peer_.send(to, as_bytes("move on"));
  peer_.send(to, as_bytes("not heard: closed"));
  world_.run_for(1s);

  EXPECT_THAT(machine_.inputs, ElementsAre("move on/7"));
  EXPECT_THAT(inbox_.texts, ElementsAre("from another"));
  EXPECT_NE(inbox_.senders[0], to);
  EXPECT_FALSE(driver.is_open(first));
  EXPECT_EQ(driver.open_sockets(), 1u);
}

TEST_F(DriverTest, CountsWhatItsSocketRefuses) {
  Driver driver(*host_, machine_);
  const SocketId socket = driver.open();
  machine_.outbox.push_back({socket, peer_.local(), std::string(3000, 'x'), 0});
  driver.poke();
  EXPECT_EQ(driver.unsendable(), 1u);
}

using DriverDeathTest = DriverTest;

TEST_F(DriverDeathTest, AMachineThatSpinsIsABug) {
  Driver driver(*host_, machine_);
  machine_.is_stuck = true;
  machine_.deadline = TimePoint{};
  driver.poke();
  EXPECT_DEATH(world_.run_for(1s), "kSpinsMax");
}

}  // namespace
}  // namespace openp2p::sim
