#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/forwards.h"
#include "agent/lifetime_watch.h"
#include "agent/nat_watch.h"
#include "agent/netcheck.h"
#include "agent/node_context.h"
#include "agent/node_control.h"
#include "agent/peer_cache.h"
#include "agent/peer_datagrams.h"
#include "agent/peer_link.h"
#include "agent/peer_services.h"
#include "agent/pinger.h"
#include "agent/port_mapper.h"
#include "agent/relaying.h"
#include "agent/server_link.h"
#include "agent/signal_ways.h"
#include "forward/accept_policy.h"
#include "quic/packet_protection.h"

/// A node: everything that runs on a device, without its sockets. The program's driver and the
/// simulator's both feed it datagrams and time, and send what it gives.
/// Sans-I/O. Threading: one owner.
namespace openp2p::agent {

/// What a node must have kept before it goes on. Errors are sentences for people.
class NodeMemory {
 public:
  virtual ~NodeMemory() = default;
  virtual std::optional<std::string> store_forwards(const std::vector<ForwardSpec>& forwards) = 0;
  virtual std::optional<std::string> store_share(unsigned mbit) = 0;
  /// The server knows this node's key now: the join secret is spent. `name` as recorded there.
  virtual void on_joined(const std::string& name) = 0;
  virtual void on_refused(const Refusal& refusal) = 0;
  /// What is known of the peers, for Options::known_peers of the next start. What cannot be stored
  /// is learnt again.
  virtual void store_peers(ByteView peers) = 0;
  /// For Options::told_addresses of the next start. The same may be told again and again.
  virtual void store_server_addresses(const std::vector<std::string>&) {}
};

class Node final : public NodeControl,
                   public ServerLinkHandler,
                   public PeerLinkHandler,
                   private RelayingHost,
                   private SignalWaysHost,
                   private session::StunHandler {
 public:
  struct Options {
    const IdentityKey* identity = nullptr;
    const quic::PacketProtection* protection = nullptr;
    SecretSource* secrets = nullptr;
    Platform* platform = nullptr;
    NodeMemory* memory = nullptr;
    Log log;
    std::uint64_t seed = 0;
    std::function<void()> wake;             ///< As Endpoint::Options::wake.
    path::SocketSource* sockets = nullptr;  ///< As Endpoint::Options::sockets.
    NodeId server;
    std::vector<std::string> server_addresses;
    std::vector<std::string> told_addresses = {};  ///< By the server, in its last Welcome.
    Bytes join_secret;
    std::string name;
    std::string version;
    std::string platform_name;
    path::MethodSet methods = path::MethodSet::all();  ///< To reach peers by.
    forward::AcceptPolicy policy;
    std::vector<ForwardSpec> forwards;
    Lending::Options lending;
    bool avoids_strangers = false;  ///< Never relayed by strangers' nodes.
    bool discovers_lan = false;     ///< Multicast on the LAN while the server is away.
    Bytes known_peers;              ///< As NodeMemory::store_peers() got them; empty: none.
  };
  Node(const Options& options, TimePoint now);
  ~Node() override;

  /// Of the main sockets when peers last heard of them: they ask there while no server is there.
  OwnPorts last_ports() const { return cache_.own_ports(); }
  /// How signals travel, and what was refused.
  const SignalWays& signal_ways() const { return ways_; }
  void add_socket(SocketId socket, const Address& local);
  void start(TimePoint now);  ///< After the sockets are there.
  void stop(TimePoint now);   ///< Tells everybody; poll_transmit() once more after it.
  /// After stop(): routers have forgotten this node's mappings, or had their time.
  bool is_stopped() const { return port_mapper_.is_stopped(); }
  /// Before the calls of NodeControl, which know no time: otherwise that of the last event counts,
  /// which an idle node had seconds ago.
  void advance(TimePoint now) { context_.now = now; }

  void on_datagrams(SocketId socket, const Address& from, ByteView datagrams,
                    std::size_t segment_bytes, TimePoint now);
  /// Of connections that Options::sockets was asked for, or that came in: as Endpoint's.
  void on_connected(SocketId socket, const Address& local, const Address& remote, bool is_incoming,
                    TimePoint now);
  void on_disconnected(SocketId socket, std::error_code why, TimePoint now);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;
  std::optional<session::Transmit> poll_transmit(MutableByteView buffer, TimePoint now);
  /// It carries datagrams between others: they are best polled after each train that comes, while
  /// their bytes are in the processor's cache.
  bool is_a_relay() const { return relaying_.is_a_relay(); }
  void on_network_changed(TimePoint now);

  // NodeControl
  NodeStatus status() const override;
  std::vector<PeerStatus> peers() const override;
  std::vector<ForwardStatus> forwards() const override;
  std::optional<ControlError> add_forward(const ForwardSpec& spec) override;
  std::optional<ControlError> remove_forward(std::string_view name) override;
  std::optional<ControlError> set_forward_enabled(std::string_view name, bool enabled) override;
  std::optional<ControlError> ping(std::string_view peer, unsigned count,
                                   std::function<bool(const PingReply&)> reply) override;
  void netcheck(const NetcheckOptions& options,
                std::function<void(const NetcheckReport&)> done) override;
  void share(std::function<void(const ShareStatus&)> done) override;
  std::optional<ControlError> set_share(unsigned mbit) override;

  // ServerLinkHandler
  void on_welcome(const Welcome& welcome) override;
  void on_refused(const Refusal& refusal) override;
  void on_node_changed(const NodeRecord& record) override;
  void on_node_removed(const NodeId& id) override;
  void on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at) override;
  void on_signal_failed(const NodeId& to, std::uint64_t number, SignalFailure why) override;
  void on_server_lost() override;
  void on_server_path(path::Transport transport) override;
  void on_observed(const Address& address) override;

  // PeerLinkHandler
  bool send_signal(const NodeId& to, ByteView body, std::uint64_t number) override;
  std::string_view signal_way() const override { return ways_.last_way(); }
  std::vector<path::Candidate> local_candidates() const override;
  path::SideProfile profile() const override;
  bool refresh_profile() override;
  void hold_tcp() override { nat_watch_.hold_tcp(); }
  void release_tcp() override { nat_watch_.release_tcp(); }
  Duration server_rtt() const override;
  void doubt_own_address() override { server_.ask_address(); }
  void doubt_profile() override { nat_watch_.doubt(); }
  bool is_needed(const PeerLink& peer) const override;
  void on_peer_stream(PeerLink& peer, session::StreamId id) override;
  void on_session_up(PeerLink& peer) override;
  void on_peer_batch_end(PeerLink& peer) override;
  void on_session_down(PeerLink& peer, const std::string& reason) override;
  void on_attempt(PeerLink& peer) override { relaying_.on_attempt(peer); }
  void on_meeting(PeerLink& peer) override { relaying_.on_meeting(peer); }
  void on_peer_path(PeerLink& peer) override;

 private:
  // RelayingHost
  RelayRule relay_rule(const PeerLink& peer) const override;
  bool is_wanted_for_itself(const PeerLink& peer) const override;
  PeerLink* own_node(const NodeId& id) const override;
  std::vector<PeerLink*> connected_nodes() const override;
  void on_letter(const NodeId& relay, const NodeId& from, ByteView body) override {
    ways_.on_letter(relay, from, body);
  }
  // SignalWaysHost
  relay::RelayClient* relay_client(PeerLink& relay) override { return relaying_.client_of(relay); }
  void on_peer_signal(const PeerSignal& signal, ByteView bytes,
                      std::optional<Address> seen_at) override;
  // session::StunHandler
  void on_stun(SocketId socket, const Address& from, ByteView datagram, TimePoint now) override;

  std::optional<session::Transmit> poll_carried(MutableByteView buffer);
  NatWatch::Options watch_options();
  void on_candidates_changed();
  void map_ports();
  bool take_observed(const Address& address);
  std::vector<IpAddress> own_v4() const;
  path::Transport server_transport() const;
  bool uses_tcp() const;
  void put_record(const NodeRecord& record);
  void recall_peers();
  void note_own_ports();
  std::optional<Address> reflexive_by_peers() const;
  void note_path(const PeerLink& peer);
  void store_peers_soon();
  void store_peers();
  PeerLink* find_peer(std::string_view name_or_id, std::string& reason) const;
  PeerStatus describe(const PeerLink& peer) const;
  void describe(const PeerLink& peer, PingReply& reply) const;
  bool is_hopeless(const PeerLink& peer) const;
  void add_lifetime(NetcheckReport& report);
  PathEventStatus describe(const path::TimelineEntry& entry) const;
  std::string path_kind(const Path& path) const;
  void answer_share_queries();
  std::vector<std::string> stun_servers() const;
  std::optional<ControlError> store_forwards(std::vector<ForwardSpec> specs);
  std::optional<ControlError> judge_new(const ForwardSpec& spec) const;

  NodeContext context_;
  NodeMemory& memory_;
  const Options options_;
  const TimePoint started_at_;
  bool is_stopping_ = false;  ///< Only mappings are still taken back.
  std::string name_;
  std::string network_;
  std::optional<Address> observed_;
  std::vector<IpAddress> own_v4_;  ///< Of this computer's interfaces.
  std::vector<std::string> stun_servers_;
  struct Socket {
    SocketId id;
    Address local;
  };
  std::vector<Socket> sockets_;
  forward::BufferPool buffers_;
  // Destroyed in reverse: the endpoint last, since it owns the sessions that the others use.
  std::unique_ptr<session::Endpoint> endpoint_;
  std::map<NodeId, std::unique_ptr<PeerLink>> peers_;
  std::vector<std::unique_ptr<PeerLink>>
      removed_;  ///< Until no callback of theirs can be going on.
  PeerDatagrams datagrams_;
  PeerServices services_;
  Forwards forwards_;
  Pinger pinger_;
  ServerLink server_;
  NatWatch nat_watch_;
  LifetimeWatch lifetimes_;
  PortMapper port_mapper_;
  Relaying relaying_;
  PeerCache cache_;
  SignalWays ways_;
  std::optional<TimePoint> store_at_;  ///< What is known of peers has changed.
  TimePoint stored_at_ = TimePoint::min();
  struct ShareQuery {
    std::function<void(const ShareStatus&)> done;
    TimePoint until;
  };
  std::vector<ShareQuery> share_queries_;  ///< Wait for the server's account.
  std::uint16_t tcp_port_ = 0;  ///< Where TCP connections of peers are listened for; 0: nowhere.
  std::vector<std::unique_ptr<Netcheck>> netchecks_;
};

}  // namespace openp2p::agent
