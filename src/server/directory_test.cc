#include "server/directory.h"

#include <gtest/gtest.h>

#include <map>

#include "control.pb.h"

namespace openp2p::server {
namespace {

constexpr WallTime kNow{1'800'000'000'000'000};
constexpr WallTime kLater{kNow.us + 1'000'000};

NodeId node_id(std::size_t number) {
  NodeId id;
  id.key[0] = std::byte(number >> 8);
  id.key[1] = std::byte(number & 255);
  return id;
}

NetworkId network_id(int number) {
  NetworkId id{};
  id[0] = std::byte(number);
  return id;
}

ConnectionId connection(std::uint64_t number) { return ConnectionId(number); }

control::ServerMessage parsed(const Bytes& bytes) {
  control::ServerMessage message;
  EXPECT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return message;
}

/// A directory with what the store would say, and what was sent to whom.
class DirectoryTest : public testing::Test {
 protected:
  void record(std::size_t node, std::string name, int network = 1) {
    records_[node_id(node)] = {.id = node_id(node),
                               .network = network_id(network),
                               .name = std::move(name),
                               .version = "old",
                               .platform = "p",
                               .joined_at = {},
                               .seen_at = {5}};
  }

  std::vector<Node> recorded(int network = 1) const {
    std::vector<Node> nodes;
    for (const auto& [id, node] : records_) {
      if (node.network == network_id(network)) nodes.push_back(node);
    }
    return nodes;
  }

  void arrive(std::uint64_t number, std::size_t node, std::uint64_t incarnation = 1,
              int network = 1) {
    directory_.on_arrival({.connection = connection(number),
                           .node = node_id(node),
                           .incarnation = incarnation,
                           .version = "1.0",
                           .platform = "linux",
                           .network = network_id(network),
                           .network_name = "home",
                           .nodes = recorded(network),
                           .is_name_changed = false,
                           .observed_address = "192.0.2.1:5",
                           .server_time = kNow},
                          kNow);
  }

  /// Everything said since the last call, by connection.
  void collect() {
    said_.clear();
    closed_.clear();
    while (const auto effect = directory_.poll_effect()) {
      if (const auto* send = std::get_if<Directory::Send>(&*effect)) {
        for (const ConnectionId to : send->to) {
          said_[to.value()].push_back(parsed(send->message));
        }
      } else {
        const auto& close = std::get<Directory::Close>(*effect);
        closed_[close.connection.value()] = close.why;
      }
    }
  }

  Directory directory_{{"192.0.2.9:27183"}};
  std::map<NodeId, Node> records_;
  std::map<std::uint64_t, std::vector<control::ServerMessage>> said_;
  std::map<std::uint64_t, ControlEnd> closed_;
};

TEST_F(DirectoryTest, WelcomesWithAllOthersAndTellsThem) {
  record(1, "one");
  record(2, "two");
  record(3, "elsewhere", 2);
  arrive(10, 1);
  collect();
  ASSERT_EQ(said_[10].size(), 1U);
  const auto& first = said_[10][0].welcome();
  EXPECT_EQ(first.name(), "one");
  EXPECT_EQ(first.observed_address(), "192.0.2.1:5");
  EXPECT_EQ(first.server_time_us(), kNow.us);
  EXPECT_EQ(first.stun_servers(0), "192.0.2.9:27183");
  ASSERT_EQ(first.nodes_size(), 1);
  EXPECT_EQ(first.nodes(0).name(), "two");
  EXPECT_FALSE(first.nodes(0).online());
  EXPECT_EQ(first.nodes(0).seen_at_us(), 5);

  arrive(30, 3, 1, /*network=*/2);
  arrive(20, 2, /*incarnation=*/7);
  collect();

  ASSERT_EQ(said_[20].size(), 1U);
  EXPECT_TRUE(said_[20][0].welcome().nodes(0).online());
  ASSERT_EQ(said_[10].size(), 1U);
  const auto& changed = said_[10][0].node_changed().node();
  EXPECT_EQ(changed.name(), "two");
  EXPECT_TRUE(changed.online());
  EXPECT_EQ(changed.incarnation(), 7U);
  EXPECT_EQ(changed.version(), "1.0");
  ASSERT_EQ(said_[30].size(), 1U);
  EXPECT_EQ(said_[30][0].welcome().nodes_size(), 0);
}

TEST_F(DirectoryTest, TellsOfADepartureAndForgetsEmptyNetworks) {
  record(1, "one");
  record(2, "two");
  arrive(10, 1);
  arrive(20, 2);
  collect();

  const auto seen = directory_.on_departure(connection(20), kLater);
  collect();

  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->node, node_id(2));
  EXPECT_EQ(seen->version, "1.0");
  ASSERT_EQ(said_[10].size(), 1U);
  EXPECT_FALSE(said_[10][0].node_changed().node().online());
  EXPECT_EQ(said_[10][0].node_changed().node().seen_at_us(), kLater.us);
  EXPECT_FALSE(directory_.on_departure(connection(20), kLater));
  EXPECT_TRUE(directory_.on_departure(connection(10), kLater));
  EXPECT_TRUE(directory_.networks().empty());
}

TEST_F(DirectoryTest, ReplacesAnOlderSessionWithoutGoingOffline) {
  record(1, "one");
  record(2, "two");
  arrive(10, 1);
  arrive(20, 2, /*incarnation=*/1);
  collect();

  arrive(21, 2, /*incarnation=*/2);
  collect();

  EXPECT_EQ(closed_, (std::map<std::uint64_t, ControlEnd>{{20, ControlEnd::kReplaced}}));
  ASSERT_EQ(said_[10].size(), 1U);
  EXPECT_TRUE(said_[10][0].node_changed().node().online());
  EXPECT_EQ(said_[10][0].node_changed().node().incarnation(), 2U);
  EXPECT_FALSE(directory_.on_departure(connection(20), kLater));  // The old one's end says nothing.
  collect();
  EXPECT_TRUE(said_.empty());
  EXPECT_EQ(directory_.route(connection(10), node_id(2)).connection, connection(21));
}

TEST_F(DirectoryTest, ClosesARemovedNodeAndTellsTheOthers) {
  record(1, "one");
  record(2, "two");
  record(3, "three");
  arrive(10, 1);
  arrive(20, 2);
  collect();

  records_.erase(node_id(2));
  records_.erase(node_id(3));
  directory_.on_members(network_id(1), recorded());
  collect();

  EXPECT_EQ(closed_, (std::map<std::uint64_t, ControlEnd>{{20, ControlEnd::kRemoved}}));
  ASSERT_EQ(said_[10].size(), 2U);
  EXPECT_EQ(said_[10][0].node_removed().id(), as_text(node_id(2).key));
  EXPECT_EQ(said_[10][1].node_removed().id(), as_text(node_id(3).key));
  EXPECT_FALSE(said_.contains(20));
  EXPECT_FALSE(directory_.route(connection(20), node_id(1)).connection);
  EXPECT_EQ(directory_.online_count(), 1U);
}

TEST_F(DirectoryTest, TellsEverybodyOfANewNameAndOfNothingElse) {
  record(1, "one");
  record(2, "two");
  arrive(10, 1);
  arrive(20, 2);
  collect();
  directory_.on_members(network_id(1), recorded());
  collect();
  EXPECT_TRUE(said_.empty());

  record(2, "zwei");
  directory_.on_members(network_id(1), recorded());
  collect();

  for (const std::uint64_t to : {10, 20}) {
    ASSERT_EQ(said_[to].size(), 1U);
    EXPECT_EQ(said_[to][0].node_changed().node().name(), "zwei");
    EXPECT_TRUE(said_[to][0].node_changed().node().online());
  }
}

TEST_F(DirectoryTest, RoutesWithinANetworkOnly) {
  record(1, "one");
  record(2, "two");
  record(3, "offline");
  record(4, "elsewhere", 2);
  arrive(10, 1);
  arrive(20, 2);
  arrive(40, 4, 1, /*network=*/2);

  EXPECT_EQ(directory_.route(connection(10), node_id(2)).connection, connection(20));
  const auto offline = directory_.route(connection(10), node_id(3));
  EXPECT_FALSE(offline.connection);
  EXPECT_EQ(offline.failure, SignalFailure::kOffline);
  for (const std::size_t stranger : {4, 99, 1}) {  // Of another network, unknown, itself.
    const auto none = directory_.route(connection(10), node_id(stranger));
    EXPECT_FALSE(none.connection);
    EXPECT_EQ(none.failure, SignalFailure::kNoSuchNode);
  }
  EXPECT_FALSE(directory_.route(connection(77), node_id(1)).connection);
}

TEST_F(DirectoryTest, MovesANodeBetweenNetworks) {
  record(1, "one");
  record(2, "two");
  arrive(10, 1);
  arrive(20, 2);
  collect();

  record(2, "two", 2);
  directory_.on_members(network_id(1), recorded(1));
  arrive(21, 2, 2, /*network=*/2);
  collect();

  EXPECT_EQ(closed_, (std::map<std::uint64_t, ControlEnd>{{20, ControlEnd::kRemoved}}));
  ASSERT_EQ(said_[10].size(), 1U);
  EXPECT_TRUE(said_[10][0].has_node_removed());
  EXPECT_FALSE(directory_.route(connection(10), node_id(2)).connection);
}

TEST_F(DirectoryTest, SplitsTheWelcomeToALargeNetwork) {
  for (std::size_t i = 0; i < kNodesPerNetworkMax; ++i) {
    record(i, std::string(59, 'n') + std::to_string(1'000 + i));
  }
  arrive(10, 0);
  collect();

  ASSERT_EQ(said_[10].size(), 1 + (kNodesPerNetworkMax - 1 - kWelcomeNodesMax));
  EXPECT_EQ(said_[10][0].welcome().nodes_size(), static_cast<int>(kWelcomeNodesMax));
  EXPECT_LE(said_[10][0].ByteSizeLong(), kControlMessageBytesMax);
  EXPECT_TRUE(said_[10].back().has_node_changed());
}

TEST_F(DirectoryTest, GivesWhoIsOnlineToBeRecorded) {
  record(1, "one");
  record(2, "two");
  arrive(10, 1);

  const auto online = directory_.online(kLater);

  ASSERT_EQ(online.size(), 1U);
  EXPECT_EQ(online[0].node, node_id(1));
  EXPECT_EQ(online[0].at, kLater);
}

}  // namespace
}  // namespace openp2p::server
