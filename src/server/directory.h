#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/strong.h"
#include "server/messages.h"
#include "wire/control_frame.h"

namespace openp2p::server {

/// One control session, for as long as this program runs.
using ConnectionId = Strong<struct ConnectionIdTag, std::uint64_t>;

/// Who is in which network and who is online: presence, and who may signal to whom.
///
/// Holds the members of those networks that have a node online. The store is the truth: each
/// arrival brings its network's members as they are recorded, and what differs is told to those
/// online, so that changes made behind this program's back come out in the same way.
///
/// Sans-I/O: calls in, poll_effect() out. Threading: one owner.
class Directory {
 public:
  /// A node said Hello, and the store knows it. `nodes` are all of its network, itself included.
  struct Arrival {
    ConnectionId connection;
    NodeId node;
    std::uint64_t incarnation = 0;
    std::string version;
    std::string platform;
    NetworkId network{};
    std::string network_name;
    std::vector<Node> nodes;
    bool is_name_changed = false;
    std::string observed_address;
    WallTime server_time;  ///< As tickets for relays have it.
  };

  struct Send {
    std::vector<ConnectionId> to;
    Bytes message;
  };
  struct Close {
    ConnectionId connection;
    ControlEnd why = ControlEnd::kRemoved;
    std::string text;
  };
  using Effect = std::variant<Send, Close>;

  explicit Directory(std::vector<std::string> stun_servers,
                     std::vector<std::string> server_addresses = {});

  /// Welcomes the node, tells the others, and closes an older session of the same node.
  void on_arrival(Arrival arrival, WallTime now);
  /// Gives what is to be recorded of the node, if it was there.
  std::optional<Seen> on_departure(ConnectionId connection, WallTime now);
  /// The members as they are recorded now. Who is not among them any more loses its session.
  void on_members(const NetworkId& network, const std::vector<Node>& nodes);

  /// Where a signal of `from` to `to` is to go. A stranger is told apart from nobody by no one.
  struct Route {
    std::optional<ConnectionId> connection;
    SignalFailure failure = SignalFailure::kNoSuchNode;  ///< Without a connection.
  };
  Route route(ConnectionId from, const NodeId& to) const;

  std::optional<Effect> poll_effect();

  struct Presence {
    NodeId node;
    NetworkId network{};
  };
  std::optional<Presence> find(ConnectionId connection) const;
  /// Of nodes that are online.
  std::optional<ConnectionId> connection_of(const NodeId& node) const;
  std::optional<NetworkId> network_of(const NodeId& node) const;
  std::string name_of(const NodeId& node) const;  ///< Empty: it is not online.
  bool has_network(const NetworkId& network) const { return networks_.contains(network); }
  /// At most `count` of a network's, from the first at or after `from`, then around.
  std::vector<NodeId> online_members(const NetworkId& network, const NodeId& from,
                                     std::size_t count) const;
  std::vector<NetworkId> networks() const;  ///< Those with somebody online.
  /// Who is online, to be recorded as seen.
  std::vector<Seen> online(WallTime now) const;
  std::vector<NodeId> online_nodes() const;
  std::size_t online_count() const { return connections_.size(); }

 private:
  struct Member {
    Node node;
    std::optional<ConnectionId> connection;  ///< Online.
    std::uint64_t incarnation = 0;
  };
  struct Network {
    std::string name;
    std::map<NodeId, Member> members;
    std::size_t online = 0;
  };

  static NodeView view(const Member& member);
  void replace_session(const NodeId& node, WallTime now);
  void merge(Network& network, const std::vector<Node>& nodes, std::optional<NodeId> arriving);
  void drop_member(Network& network, std::map<NodeId, Member>::iterator member);
  void welcome(const Arrival& arrival, const Network& network);
  void tell(const Network& network, std::optional<NodeId> except, Bytes message);
  void forget_if_empty(const NetworkId& network);

  std::vector<std::string> stun_servers_;
  std::vector<std::string> server_addresses_;
  std::map<NetworkId, Network> networks_;
  std::map<ConnectionId, Presence> connections_;
  std::map<NodeId, ConnectionId> sessions_;
  std::deque<Effect> effects_;
};

}  // namespace openp2p::server
