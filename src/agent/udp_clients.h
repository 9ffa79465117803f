#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/peer_datagrams.h"
#include "agent/peer_link.h"
#include "forward/local_datagrams.h"
#include "forward/udp_flow.h"

namespace openp2p::agent {

/// The forward that UDP clients belong to.
class UdpClientsOwner {
 public:
  virtual ~UdpClientsOwner() = default;
  virtual PeerLink* find_peer(std::string& reason) = 0;
  /// About the port that is so far from the forward's first one.
  virtual void on_udp_answer(const forward::OpenAnswer& answer, std::uint16_t offset) = 0;
  virtual void on_udp_trouble(std::string reason) = 0;  ///< Without an answer of the peer.
  virtual void on_udp_finished() = 0;                   ///< sweep() has something to do.
  virtual void on_udp_lacks_streams() = 0;              ///< The peer grants no more now.
};

/// The local programs that send to the UDP ports of one forward. A client is a program's full
/// address, the own address it sent to, and the port of the forward; each is one flow, so that the
/// destination tells them apart too.
///
/// A flow ends when it is idle: after kIdleUnanswered, or kIdleAnswered once the destination has
/// answered (RFC 4787 REQ-5: two minutes at least, five recommended; both directions keep it). Of
/// port 53 alone after kIdleDns, as REQ-5a allows: resolvers use a new port for each question. When
/// there are too many, or the peer grants no more streams, the longest unused one gives way: its
/// program gets another flow with its next datagram.
///
/// Threading: one owner, a forward.
class UdpClients {
 public:
  static constexpr std::size_t kClientsMax = 512;  ///< Half of the streams that a session grants.
  /// Clients that wait for a session, each with up to EarlyDatagrams::kBytesMax.
  static constexpr std::size_t kWaitingMax = 64;
  static constexpr Duration kPatience = std::chrono::seconds(30);
  static constexpr Duration kIdleUnanswered = std::chrono::minutes(2);
  static constexpr Duration kIdleAnswered = std::chrono::minutes(5);
  static constexpr Duration kIdleDns = std::chrono::seconds(15);

  UdpClients(NodeContext& context, PeerDatagrams& datagrams, const ForwardSpec& spec,
             UdpClientsOwner& owner);
  ~UdpClients();

  /// One more port; `offset` from the first one.
  Result<Address> listen(const Address& at, std::uint16_t offset);
  /// Ends all flows and closes all ports.
  void close();
  void start_waiting(PeerLink& peer);
  bool has_waiting() const { return !waiting_.empty(); }
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();  ///< Destroys what finished; never from inside a callback.
  void add_to(ForwardStatus& status) const;

 private:
  class Port;
  class Client;
  using Clients = std::list<Client>;
  struct Key {
    forward::LocalEnds ends;
    std::uint16_t offset = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept {
      return std::hash<Address>{}(key.ends.program) * 31 +
             std::hash<Address>{}({key.ends.own, key.offset});
    }
  };

  void on_datagrams(Port& port, const forward::LocalEnds& from, const DatagramTrain& train,
                    TimePoint now);
  Client& client_of(Port& port, const forward::LocalEnds& from);
  void make_room();
  bool start_first(PeerLink& peer);
  void touch(Client& client);
  void on_client_finished(Client& client);
  void end_idle(Clients& clients, Duration idle);
  void give_up_waiting();
  std::size_t flows() const { return unanswered_.size() + answered_.size(); }

  NodeContext& context_;
  PeerDatagrams& datagrams_;
  const ForwardSpec& spec_;
  UdpClientsOwner& owner_;
  const Duration idle_answered_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::unique_ptr<Port>> closed_;  ///< Until no call of theirs can be going on.
  std::unordered_map<Key, Client*, KeyHash> by_key_;
  Clients waiting_;     ///< For a session, or for a stream of it; the oldest first.
  Clients unanswered_;  ///< The longest unused first,
  Clients answered_;    ///< likewise.
  Clients finished_;
  ForwardStatus totals_;  ///< Of finished flows: the numbers of UDP in it.
};

}  // namespace openp2p::agent
