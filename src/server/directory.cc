#include "server/directory.h"

#include <set>
#include <utility>

#include "base/check.h"

namespace openp2p::server {

Directory::Directory(std::vector<std::string> stun_servers,
                     std::vector<std::string> server_addresses)
    : stun_servers_(std::move(stun_servers)), server_addresses_(std::move(server_addresses)) {}

NodeView Directory::view(const Member& member) {
  return {.id = member.node.id,
          .name = member.node.name,
          .is_online = member.connection.has_value(),
          .incarnation = member.incarnation,
          .version = member.node.version,
          .platform = member.node.platform,
          .seen_at = member.node.seen_at};
}

void Directory::on_arrival(Arrival arrival, WallTime now) {
  CHECK(!connections_.contains(arrival.connection));
  replace_session(arrival.node, now);
  Network& network = networks_[arrival.network];
  network.name = arrival.network_name;
  merge(network, arrival.nodes, arrival.node);  // Who hears of it hears that it is online.
  const auto found = network.members.find(arrival.node);
  CHECK(found != network.members.end());

  Member& member = found->second;
  member.connection = arrival.connection;
  member.incarnation = arrival.incarnation;
  member.node.version = arrival.version;
  member.node.platform = arrival.platform;
  member.node.seen_at = now;
  ++network.online;
  connections_[arrival.connection] = {.node = arrival.node, .network = arrival.network};
  sessions_[arrival.node] = arrival.connection;
  welcome(arrival, network);
  tell(network, arrival.node, encode_node_changed(view(member)));
}

/// The node is back before its older session was found dead. The others hear of the new one only: a
/// session between nodes outlives one with the server.
void Directory::replace_session(const NodeId& node, WallTime now) {
  const auto older = sessions_.find(node);
  if (older == sessions_.end()) return;
  const ConnectionId connection = older->second;
  const Presence presence = connections_.at(connection);
  Network& network = networks_.at(presence.network);
  Member& member = network.members.at(node);
  member.connection.reset();
  member.node.seen_at = now;
  --network.online;
  connections_.erase(connection);
  sessions_.erase(older);
  effects_.push_back(Close{.connection = connection,
                           .why = ControlEnd::kReplaced,
                           .text = "this node opened a newer session; if it did not, its key is in "
                                   "use on another machine too"});
  forget_if_empty(presence.network);
}

std::optional<Seen> Directory::on_departure(ConnectionId connection, WallTime now) {
  const auto found = connections_.find(connection);
  if (found == connections_.end())
    return std::nullopt;  // Never welcomed, or replaced or removed since.
  const Presence presence = found->second;
  Network& network = networks_.at(presence.network);
  Member& member = network.members.at(presence.node);
  member.connection.reset();
  member.node.seen_at = now;
  --network.online;
  connections_.erase(found);
  sessions_.erase(presence.node);
  Seen seen{.node = presence.node,
            .at = now,
            .version = member.node.version,
            .platform = member.node.platform};
  tell(network, presence.node, encode_node_changed(view(member)));
  forget_if_empty(presence.network);
  return seen;
}

void Directory::on_members(const NetworkId& id, const std::vector<Node>& nodes) {
  const auto found = networks_.find(id);
  if (found == networks_.end()) return;  // Nobody online who would want to know.
  merge(found->second, nodes, /*arriving=*/std::nullopt);
  forget_if_empty(id);
}

void Directory::merge(Network& network, const std::vector<Node>& nodes,
                      std::optional<NodeId> arriving) {
  std::set<NodeId> recorded;
  for (const Node& node : nodes) recorded.insert(node.id);
  for (auto member = network.members.begin(); member != network.members.end();) {
    const auto next = std::next(member);
    if (!recorded.contains(member->first)) drop_member(network, member);
    member = next;
  }
  for (const Node& node : nodes) {
    const auto [member, is_new] = network.members.try_emplace(node.id, Member{node, {}, 0});
    const bool is_renamed = member->second.node.name != node.name;
    member->second.node.name = node.name;
    if (node.id == arriving) continue;
    // To the renamed node, too: this is its answer.
    if (is_new || is_renamed) tell(network, {}, encode_node_changed(view(member->second)));
  }
}

void Directory::drop_member(Network& network, std::map<NodeId, Member>::iterator member) {
  const NodeId id = member->first;
  if (const auto connection = member->second.connection) {
    --network.online;
    connections_.erase(*connection);
    sessions_.erase(id);
    effects_.push_back(Close{.connection = *connection,
                             .why = ControlEnd::kRemoved,
                             .text =
                                 "this node was removed from its network. To join again, make a "
                                 "join token on the server with: openp2p-server token new "
                                 "--user EMAIL"});
  }
  network.members.erase(member);
  tell(network, {}, encode_node_removed(id));
}

void Directory::welcome(const Arrival& arrival, const Network& network) {
  Welcome message{.network = arrival.network,
                  .network_name = arrival.network_name,
                  .name = network.members.at(arrival.node).node.name,
                  .is_name_changed = arrival.is_name_changed,
                  .server_time = arrival.server_time,
                  .observed_address = arrival.observed_address,
                  .nodes = {},
                  .stun_servers = stun_servers_,
                  .server_addresses = server_addresses_};
  std::vector<Bytes> rest;
  for (const auto& [id, member] : network.members) {
    if (id == arrival.node) continue;
    if (message.nodes.size() < kWelcomeNodesMax) {
      message.nodes.push_back(view(member));
    } else {
      rest.push_back(encode_node_changed(view(member)));
    }
  }
  effects_.push_back(Send{.to = {arrival.connection}, .message = encode_welcome(message)});
  for (Bytes& one : rest) {
    effects_.push_back(Send{.to = {arrival.connection}, .message = std::move(one)});
  }
}

void Directory::tell(const Network& network, std::optional<NodeId> except, Bytes message) {
  Send send{.to = {}, .message = std::move(message)};
  for (const auto& [id, member] : network.members) {
    if (member.connection && id != except) send.to.push_back(*member.connection);
  }
  if (!send.to.empty()) effects_.push_back(std::move(send));
}

void Directory::forget_if_empty(const NetworkId& id) {
  const auto found = networks_.find(id);
  if (found != networks_.end() && found->second.online == 0) networks_.erase(found);
}

Directory::Route Directory::route(ConnectionId from, const NodeId& to) const {
  const auto sender = connections_.find(from);
  if (sender == connections_.end() || sender->second.node == to) return {};
  const Network& network = networks_.at(sender->second.network);
  const auto member = network.members.find(to);
  if (member == network.members.end()) return {};
  return {.connection = member->second.connection, .failure = SignalFailure::kOffline};
}

std::optional<Directory::Effect> Directory::poll_effect() {
  if (effects_.empty()) return std::nullopt;
  Effect effect = std::move(effects_.front());
  effects_.pop_front();
  return effect;
}

std::optional<Directory::Presence> Directory::find(ConnectionId connection) const {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return std::nullopt;
  return found->second;
}

std::optional<ConnectionId> Directory::connection_of(const NodeId& node) const {
  const auto found = sessions_.find(node);
  if (found == sessions_.end()) return std::nullopt;
  return found->second;
}

std::optional<NetworkId> Directory::network_of(const NodeId& node) const {
  const auto connection = connection_of(node);
  if (!connection) return std::nullopt;
  return connections_.at(*connection).network;
}

std::string Directory::name_of(const NodeId& node) const {
  const auto network = network_of(node);
  return network ? networks_.at(*network).members.at(node).node.name : std::string();
}

std::vector<NodeId> Directory::online_members(const NetworkId& id, const NodeId& from,
                                              std::size_t count) const {
  std::vector<NodeId> nodes;
  const auto network = networks_.find(id);
  if (network == networks_.end()) return nodes;
  const auto& members = network->second.members;
  auto member = members.lower_bound(from);
  for (std::size_t i = 0; i < members.size() && nodes.size() < count; ++i, ++member) {
    if (member == members.end()) member = members.begin();
    if (member->second.connection) nodes.push_back(member->first);
  }
  return nodes;
}

std::vector<NetworkId> Directory::networks() const {
  std::vector<NetworkId> ids;
  for (const auto& [id, network] : networks_) ids.push_back(id);
  return ids;
}

std::vector<NodeId> Directory::online_nodes() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, connection] : sessions_) nodes.push_back(node);
  return nodes;
}

std::vector<Seen> Directory::online(WallTime now) const {
  std::vector<Seen> seen;
  for (const auto& [connection, presence] : connections_) {
    const Node& node = networks_.at(presence.network).members.at(presence.node).node;
    seen.push_back(
        {.node = node.id, .at = now, .version = node.version, .platform = node.platform});
  }
  return seen;
}

}  // namespace openp2p::server
