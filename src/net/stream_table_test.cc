#include "net/stream_table.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "net/test_loop.h"

namespace openp2p::net {
namespace {

using namespace std::chrono_literals;

const Address kAny{IpAddress::loopback_v4(), 0};

struct Party final : StreamTableHandler {
  struct Stream {
    Address local;
    Address remote;
    bool is_incoming = false;
  };
  Party(IoContext& io, UdpBuffers& buffers, std::uint32_t first_id, std::size_t streams_max)
      : next_id(first_id), table({io, buffers, *this, streams_max}) {}

  SocketId new_socket_id() override { return SocketId(next_id++); }
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint) override {
    up[socket] = {local, remote, is_incoming};
    if (closes_at_once) table.close(socket);
  }
  void on_disconnected(SocketId socket, std::error_code why, TimePoint) override {
    down[socket] = why;
    table.close(socket);  // Harmless: it is gone.
  }
  void on_datagrams(SocketId socket, const Address& from, const DatagramTrain& train,
                    TimePoint now) override {
    EXPECT_EQ(from, up[socket].remote);
    texts.emplace_back(as_text(train.datagrams));
    if (answers) table.send(socket, train, now);
  }

  std::uint32_t next_id;
  std::map<SocketId, Stream> up;
  std::map<SocketId, std::error_code> down;
  std::vector<std::string> texts;
  bool answers = false;
  bool closes_at_once = false;
  StreamTable table;
};

struct World {
  IoContext io;
  UdpBuffers buffers;
  Party one{io, buffers, 100, 3};
  Party two{io, buffers, 200, 2};
};

TEST(StreamTable, NumbersConnectionsOnBothSides) {
  World world;
  const auto listening = world.two.table.listen(kAny, /*shares_port=*/false);
  ASSERT_TRUE(listening);
  world.two.answers = true;

  const auto socket = world.one.table.connect(*listening, 0, 5s);

  ASSERT_EQ(socket, SocketId(100));
  EXPECT_TRUE(world.one.up.empty());
  ASSERT_TRUE(run_until(world.io, [&] { return world.one.up.size() + world.two.up.size() == 2; }));
  EXPECT_FALSE(world.one.up[SocketId(100)].is_incoming);
  EXPECT_TRUE(world.two.up[SocketId(200)].is_incoming);
  EXPECT_EQ(world.one.up[SocketId(100)].remote, *listening);
  EXPECT_EQ(world.two.up[SocketId(200)].remote, world.one.up[SocketId(100)].local);
  world.one.table.send(*socket, {as_bytes("hello"), 5}, monotonic_now());
  ASSERT_TRUE(run_until(world.io, [&] { return !world.one.texts.empty(); }));
  EXPECT_EQ(world.one.texts, std::vector<std::string>{"hello"});
}

TEST(StreamTable, TellsTheOtherSideOfAClose) {
  World world;
  const auto listening = world.two.table.listen(kAny, /*shares_port=*/false);
  const auto socket = world.one.table.connect(*listening, 0, 5s);
  ASSERT_TRUE(run_until(world.io, [&] { return world.two.up.size() == 1; }));

  world.one.table.close(*socket);

  ASSERT_TRUE(run_until(world.io, [&] { return world.two.down.size() == 1; }));
  EXPECT_EQ(world.two.table.size(), 0u);
  EXPECT_EQ(world.one.table.size(), 0u);
  EXPECT_TRUE(world.one.down.empty());
  world.one.table.send(*socket, {as_bytes("x"), 1}, monotonic_now());
  world.one.table.close(SocketId(7));
}

TEST(StreamTable, HoldsNoMoreThanItsLimit) {
  World world;
  const auto listening = world.two.table.listen(kAny, /*shares_port=*/false);
  std::vector<SocketId> sockets;
  sockets.reserve(3);
  for (int i = 0; i < 3; ++i) sockets.push_back(*world.one.table.connect(*listening, 0, 5s));
  EXPECT_FALSE(world.one.table.connect(*listening, 0, 5s));

  ASSERT_TRUE(run_until(world.io, [&] { return world.one.down.size() == 1; }));

  EXPECT_EQ(world.two.table.size(), 2u);
  EXPECT_EQ(world.two.table.counters().turned_away, 1u);
  EXPECT_TRUE(world.one.table.connect(*listening, 0, 5s)) << "the place is free again";
}

TEST(StreamTable, TellsAFailedConnectLater) {
  World world;
  const auto gone = world.two.table.listen(kAny, /*shares_port=*/false);
  world.two.table.close_all();

  const auto socket = world.one.table.connect(*gone, 0, 5s);

  ASSERT_TRUE(socket);
  EXPECT_TRUE(world.one.down.empty());
  ASSERT_TRUE(run_until(world.io, [&] { return world.one.down.size() == 1; }));
  EXPECT_EQ(world.one.down[*socket], std::errc::connection_refused);
  EXPECT_TRUE(world.one.up.empty());
}

TEST(StreamTable, MayBeClosedFromItsCallbacks) {
  World world;
  world.two.closes_at_once = true;
  const auto listening = world.two.table.listen(kAny, /*shares_port=*/false);

  const auto socket = world.one.table.connect(*listening, 0, 5s);

  ASSERT_TRUE(socket);
  ASSERT_TRUE(run_until(world.io, [&] { return world.one.down.size() == 1; }));
  EXPECT_TRUE(world.two.down.empty());
  EXPECT_EQ(world.two.table.size(), 0u);
}

TEST(StreamTable, ListensAndConnectsOnOnePort) {
  World world;
  const auto here = world.one.table.listen({IpAddress::any_v4(), 0}, /*shares_port=*/true);
  const auto there = world.two.table.listen(kAny, /*shares_port=*/false);
  ASSERT_TRUE(here && there);

  const auto out = world.one.table.connect(*there, here->port, 5s);
  const auto in = world.two.table.connect({IpAddress::loopback_v4(), here->port}, 0, 5s);

  ASSERT_TRUE(out && in);
  ASSERT_TRUE(run_until(world.io, [&] { return world.one.up.size() == 2; }));
  EXPECT_EQ(world.one.up[*out].local.port, here->port);
}

}  // namespace
}  // namespace openp2p::net
