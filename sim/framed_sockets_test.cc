#include "sim/framed_sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "sim/driver.h"
#include "sim/internet.h"

namespace openp2p::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

struct Transmit {
  SocketId socket;
  Address to;
  std::size_t bytes = 0;
  std::size_t segment_bytes = 0;
};

/// A machine that remembers what it hears, and sends what it is told to.
class Party {
 public:
  struct Connected {
    SocketId socket;
    Address local;
    Address remote;
    bool is_incoming;
  };

  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint) {
    connected.push_back({socket, local, remote, is_incoming});
  }
  void on_disconnected(SocketId, std::error_code why, TimePoint) { ends.push_back(why); }
  void on_datagram(SocketId socket, const Address& from, ByteView bytes, TimePoint now) {
    texts.emplace_back(as_text(bytes));
    senders.push_back(from);
    last_at = now;
    if (on_arrival) on_arrival(socket);
  }
  void on_timeout(TimePoint) {}
  std::optional<TimePoint> next_timeout() const { return std::nullopt; }
  std::optional<Transmit> poll_transmit(MutableByteView out, TimePoint) {
    if (!next) return std::nullopt;
    std::ranges::copy(as_bytes(text), out.begin());
    const Transmit transmit{*std::exchange(next, std::nullopt), {}, text.size(), segment_bytes};
    return transmit;
  }

  std::optional<SocketId> next;
  std::string text;
  std::size_t segment_bytes = 0;
  std::function<void(SocketId)> on_arrival;
  std::vector<Connected> connected;
  std::vector<std::error_code> ends;
  std::vector<std::string> texts;
  std::vector<Address> senders;
  TimePoint last_at{};
};
static_assert(Machine<Party> && TakesConnections<Party>);

class FramedSocketsTest : public testing::Test {
 protected:
  void send(Driver<Party>& driver, Party& party, const std::string& text,
            std::size_t segment_bytes = 0) {
    party.next = party.connected.at(0).socket;
    party.text = text;
    party.segment_bytes = segment_bytes;
    driver.poke();
  }
  void connect() {
    ASSERT_EQ(there_.listen_tcp(443), 443);
    ASSERT_TRUE(here_.connect_tcp(target(), 0, 5s));
    world_.run_for(1s);
    ASSERT_EQ(client_.connected.size(), 1u);
    ASSERT_EQ(server_.connected.size(), 1u);
  }
  Address target() { return {*peer_->address(Family::kV4), 443}; }

  World world_{1};
  Internet internet_{world_};
  Home home_{internet_, NatKind::kPortRestricted};
  std::unique_ptr<Host> peer_ = make_public_host(internet_);
  Party client_, server_;
  Driver<Party> here_{home_.host(), client_};
  Driver<Party> there_{*peer_, server_};
};

TEST_F(FramedSocketsTest, ConnectionsCarryDatagrams) {
  connect();
  EXPECT_FALSE(client_.connected[0].is_incoming);
  EXPECT_EQ(client_.connected[0].remote, target());
  EXPECT_TRUE(server_.connected[0].is_incoming);
  EXPECT_EQ(server_.connected[0].remote.ip, home_.router()->nat().external_addresses()[0]);

  send(here_, client_, "aaaabbbbcc", 4);
  send(there_, server_, std::string(3'000, 'x'));  // Larger than a segment.
  world_.run_for(1s);

  EXPECT_THAT(server_.texts, ElementsAre("aaaa", "bbbb", "cc"));
  EXPECT_EQ(server_.senders[0], server_.connected[0].remote);
  EXPECT_THAT(client_.texts, ElementsAre(std::string(3'000, 'x')));
}

TEST_F(FramedSocketsTest, TellsHowConnectionsEnd) {
  const auto refused = here_.connect_tcp(target(), 0, 5s);
  ASSERT_TRUE(refused);
  EXPECT_THAT(client_.ends, IsEmpty());
  world_.run_for(1s);
  EXPECT_THAT(client_.ends, ElementsAre(std::make_error_code(std::errc::connection_refused)));

  connect();
  there_.close(server_.connected[0].socket);
  world_.run_for(1s);
  EXPECT_EQ(client_.ends.back(), std::errc::connection_reset);
  EXPECT_THAT(server_.ends, IsEmpty());
  EXPECT_EQ(here_.streams().size(), 0u);

  home_.host().leave(home_.host().interface());
  ASSERT_TRUE(here_.connect_tcp(target(), 0, 5s));
  world_.run_for(1s);
  EXPECT_EQ(client_.ends.back(), std::errc::network_unreachable);
}

TEST_F(FramedSocketsTest, ConnectsFromThePortItListensOn) {
  ASSERT_EQ(here_.listen_tcp(6000), 6000);
  EXPECT_EQ(there_.listen_tcp(443), 443);
  EXPECT_EQ(there_.listen_tcp(443), 0);
  EXPECT_TRUE(here_.connect_tcp(target(), 6000, 5s));
  EXPECT_FALSE(here_.connect_tcp(target(), 6000, 5s));  // The very same.
  world_.run_for(1s);
  ASSERT_EQ(client_.connected.size(), 1u);
  EXPECT_EQ(client_.connected[0].local.port, 6000);
}

TEST_F(FramedSocketsTest, AConnectionMayBeClosedByWhatItBrings) {
  connect();
  server_.on_arrival = [&](SocketId socket) { there_.close(socket); };
  send(here_, client_, std::string(4'000, 'x') + "rest", 1'000);  // More than one segment.
  world_.run_for(1s);
  EXPECT_EQ(there_.streams().size(), 0u);
  EXPECT_EQ(client_.ends.size(), 1u);
}

TEST_F(FramedSocketsTest, DropsDatagramsThatWouldWaitTooLong) {
  connect();
  auto& up = home_.router()->uplink().up();
  up.set_options({.delay = 10ms, .bits_per_second = 4'000'000, .queue_bytes = 20'000});
  const TimePoint start = world_.now();
  constexpr std::size_t kBytes = 2'000;
  for (int i = 0; i < 1'000; ++i) {  // 16 Mbit/s.
    send(here_, client_, std::string(kBytes, 'x'), 1'000);
    world_.run_for(1ms);
  }
  const TimePoint stop = world_.now();
  world_.run_for(10s);

  EXPECT_GT(here_.streams().bytes_dropped(), 1'000'000u);
  const std::size_t arrived = server_.texts.size() * 1'000;
  EXPECT_GT(arrived, 350'000u);  // Of 500,000 that the line could carry.
  EXPECT_EQ(arrived + here_.streams().bytes_dropped() / 1'002 * 1'000, 1'000 * kBytes);
  EXPECT_LT(server_.last_at - start, (stop - start) + 500ms);
}

TEST_F(FramedSocketsTest, EndsWithItsDriver) {
  connect();
  {
    Party party;
    Driver<Party> driver(*peer_, party);
    EXPECT_EQ(driver.listen_tcp(8443), 8443);
  }
  const auto refused = here_.connect_tcp({target().ip, 8443}, 0, 5s);
  ASSERT_TRUE(refused);
  world_.run_for(1s);
  EXPECT_THAT(client_.ends, ElementsAre(std::make_error_code(std::errc::connection_refused)));
}

}  // namespace
}  // namespace openp2p::sim
