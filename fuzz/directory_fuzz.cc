// The input picks a schedule of arrivals, departures, joins, removals and renamings in two
// networks. Law: after each step, what every client was told is what is so: the members of its
// network, their names, and who is online. And nobody is told anything after it was closed, or
// about strangers.
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/check.h"
#include "control.pb.h"
#include "server/directory.h"

using namespace openp2p;
using namespace openp2p::server;

namespace {

constexpr std::uint8_t kNodes = 6;
constexpr std::size_t kStepsMax = 400;

NodeId node_id(std::uint8_t number) {
  NodeId id;
  id.key[0] = std::byte{number};
  return id;
}

NetworkId network_id(std::uint8_t number) {
  NetworkId id{};
  id[0] = std::byte{number};
  return id;
}

struct Seen {
  std::string name;
  bool is_online = false;
  std::uint64_t incarnation = 0;
  friend bool operator==(const Seen&, const Seen&) = default;
};

/// A client that believes what it is told.
struct Client {
  NodeId node;
  NetworkId network{};
  bool is_welcome = false;
  std::string name;
  std::map<NodeId, Seen> others;

  void learn(const control::Node& told) {
    const NodeId id = *NodeId::from_bytes(as_bytes(told.id()));
    if (id == node) {
      name = told.name();
      return;
    }
    others[id] = {told.name(), told.online(), told.online() ? told.incarnation() : 0};
  }

  void hear(const control::ServerMessage& message) {
    CHECK(is_welcome == !message.has_welcome());  // Once, and first.
    if (message.has_welcome()) {
      is_welcome = true;
      name = message.welcome().name();
      for (const auto& told : message.welcome().nodes()) learn(told);
    } else if (message.has_node_changed()) {
      learn(message.node_changed().node());
    } else {
      CHECK(message.has_node_removed());
      CHECK(others.erase(*NodeId::from_bytes(as_bytes(message.node_removed().id()))) == 1);
    }
  }
};

class World {
 public:
  void step(std::uint8_t choice, std::uint8_t argument) {
    const std::uint8_t node = argument % kNodes;
    const std::uint8_t network = argument / kNodes % 2;
    switch (choice % 6) {
      case 0:
        arrive(node);
        break;
      case 1:
        depart(node);
        break;
      case 2:
        join(node, network);
        break;
      case 3:
        remove(node);
        break;
      case 4:
        rename(node, argument);
        break;
      case 5:
        directory_.on_members(network_id(network), members(network_id(network)));
        break;
    }
    drain();
    check();
  }

 private:
  std::vector<Node> members(const NetworkId& network) const {
    std::vector<Node> nodes;
    for (const auto& [id, node] : records_) {
      if (node.network == network) nodes.push_back(node);
    }
    return nodes;
  }

  void arrive(std::uint8_t number) {
    const auto record = records_.find(node_id(number));
    if (record == records_.end()) return;
    const ConnectionId connection(++last_connection_);
    const Node& node = record->second;
    clients_[connection] = {
        .node = node.id, .network = node.network, .is_welcome = false, .name = {}, .others = {}};
    incarnations_[node.id] = last_connection_;
    directory_.on_arrival({.connection = connection,
                           .node = node.id,
                           .incarnation = last_connection_,
                           .version = "1",
                           .platform = "p",
                           .network = node.network,
                           .network_name = "n",
                           .nodes = members(node.network),
                           .is_name_changed = false,
                           .observed_address = "",
                           .server_time = {}},
                          WallTime{1});
  }

  void depart(std::uint8_t number) {
    for (auto client = clients_.begin(); client != clients_.end(); ++client) {
      if (client->second.node != node_id(number)) continue;
      CHECK(directory_.on_departure(client->first, WallTime{2}));
      CHECK(!directory_.on_departure(client->first, WallTime{2}));
      clients_.erase(client);
      return;
    }
  }

  void join(std::uint8_t number, std::uint8_t network) {
    const NodeId id = node_id(number);
    const auto before = records_.find(id);
    const bool is_moved = before != records_.end() && before->second.network != network_id(network);
    const NetworkId left = is_moved ? before->second.network : NetworkId{};
    records_[id] = {.id = id,
                    .network = network_id(network),
                    .name = "n" + std::to_string(number),
                    .version = "",
                    .platform = "",
                    .joined_at = {},
                    .seen_at = {}};
    if (is_moved) directory_.on_members(left, members(left));
    directory_.on_members(network_id(network), members(network_id(network)));
  }

  void remove(std::uint8_t number) {
    const auto record = records_.find(node_id(number));
    if (record == records_.end()) return;
    const NetworkId network = record->second.network;
    records_.erase(record);
    directory_.on_members(network, members(network));
  }

  void rename(std::uint8_t number, std::uint8_t to) {
    const auto record = records_.find(node_id(number));
    if (record == records_.end()) return;
    record->second.name = "r" + std::to_string(to);
    directory_.on_members(record->second.network, members(record->second.network));
  }

  void drain() {
    while (const auto effect = directory_.poll_effect()) {
      if (const auto* close = std::get_if<Directory::Close>(&*effect)) {
        CHECK(clients_.erase(close->connection) == 1);
        continue;
      }
      const auto& send = std::get<Directory::Send>(*effect);
      control::ServerMessage message;
      CHECK(message.ParseFromArray(send.message.data(), static_cast<int>(send.message.size())));
      for (const ConnectionId to : send.to) {
        // What was said before a close in the same step may still name the closed one.
        if (const auto client = clients_.find(to); client != clients_.end()) {
          client->second.hear(message);
        }
      }
    }
  }

  std::optional<ConnectionId> connection_of(const NodeId& node) const {
    for (const auto& [connection, client] : clients_) {
      if (client.node == node) return connection;
    }
    return std::nullopt;
  }

  void check() const {
    CHECK(directory_.online_count() == clients_.size());
    std::set<NetworkId> networks;
    for (const auto& [connection, client] : clients_) {
      networks.insert(client.network);
      check_view(connection, client);
    }
    CHECK(directory_.networks() == std::vector<NetworkId>(networks.begin(), networks.end()));
  }

  void check_view(ConnectionId connection, const Client& client) const {
    std::map<NodeId, Seen> truth;
    for (const Node& node : members(client.network)) {
      const auto online = connection_of(node.id);
      if (node.id == client.node) {
        CHECK(client.name == node.name);
        continue;
      }
      truth[node.id] = {node.name, online.has_value(), online ? incarnations_.at(node.id) : 0};
      const auto route = directory_.route(connection, node.id);
      CHECK(route.connection == online);
      CHECK(online || route.failure == SignalFailure::kOffline);
    }
    CHECK(client.is_welcome && client.others == truth);
    for (std::uint8_t i = 0; i < kNodes; ++i) {
      if (truth.contains(node_id(i))) continue;
      const auto route = directory_.route(connection, node_id(i));
      CHECK(!route.connection && route.failure == SignalFailure::kNoSuchNode);
    }
  }

  Directory directory_{{}};
  std::map<NodeId, Node> records_;
  std::map<NodeId, std::uint64_t> incarnations_;
  std::map<ConnectionId, Client> clients_;
  std::uint64_t last_connection_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World world;
  for (std::size_t i = 0; i + 1 < size && i < 2 * kStepsMax; i += 2) {
    world.step(data[i], data[i + 1]);
  }
  return 0;
}
