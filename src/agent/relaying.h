#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/lending.h"
#include "agent/node_control.h"
#include "agent/peer_link.h"
#include "agent/relay_hops.h"
#include "agent/relays.h"
#include "agent/server_link.h"
#include "agent/stranger_links.h"

/// Everything about relays in a node, behind one door: what it borrows (Relays), what it lends
/// (Lending), sessions with strangers for either (StrangerLinks), and the hops that all of it
/// travels over (RelayHops).
namespace openp2p::agent {

std::string_view relay_kind_text(RelayKind kind);  ///< "own node", "shared node", "server"

class RelayingHost {
 public:
  virtual ~RelayingHost() = default;
  virtual RelayRule relay_rule(const PeerLink& peer) const = 0;
  virtual bool is_wanted_for_itself(const PeerLink& peer) const = 0;
  virtual PeerLink* own_node(const NodeId& id) const = 0;
  virtual std::vector<PeerLink*> connected_nodes() const = 0;
  virtual void on_letter(const NodeId& relay, const NodeId& from, ByteView body) = 0;
};

class Relaying final : public ServerRelayHandler, private RelaysHost, private StrangerHandler {
 public:
  /// `node` is the handler of the links with own nodes; all outlive this.
  Relaying(NodeContext& context, ServerLink& server, PeerLinkHandler& node, RelayingHost& host,
           const Lending::Options& options);

  // Of links with own nodes, as PeerLinkHandler says it.
  void on_attempt(PeerLink& peer) { relays_.on_attempt(peer); }
  void on_meeting(PeerLink& peer) { relays_.on_meeting(peer); }
  void on_peer_path(PeerLink& peer);
  void on_session_up(PeerLink&) { relays_.on_hop_ready(); }
  void on_session_down(PeerLink& peer);
  void on_peer_gone(PeerLink& peer);
  void on_nodes_changed() { lending_.on_nodes_changed(); }
  /// A stream that begins with forward::StreamKind::kRelay; all of it goes to the user. nullptr:
  /// refused, and reset.
  forward::StreamUser* on_relay_stream(session::Session& session, session::StreamId id);

  void on_server_connected();
  void on_server_lost();
  void on_signal_failed(const NodeId& to, SignalFailure why) {
    strangers_.on_signal_failed(to, why);
  }
  void on_network_changed() { strangers_.on_network_changed(); }
  void on_candidates_changed() { strangers_.on_candidates_changed(); }
  void on_profile_fresh() { strangers_.on_profile_fresh(); }
  void on_rule_changed() { relays_.on_rule_changed(); }
  bool needs(const PeerLink& relay) const { return relays_.needs(relay.record().id); }

  /// This node's end at a node of its network as a relay; nullptr: not now.
  relay::RelayClient* client_of(PeerLink& relay) { return relays_.client_of(relay); }

  bool carry(const session::Transmit& transmit, ByteView bytes);
  void deliver() { relays_.deliver(); }
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void sweep();
  void stop();

  void set_share(unsigned mbit);
  unsigned share_mbit() const { return lending_.share_mbit(); }
  bool is_a_relay() const {
    return lending_.service().allocation_count() > 0;
  }  ///< For others, now.
  ShareStatus share_status() const;
  bool ask_credit();             ///< False: the server is not connected.
  bool is_credit_fresh() const;  ///< The last question was answered.
  /// "relayed by nas (own node)"; empty: the socket is of no relayed path.
  std::string path_text(SocketId socket) const;
  std::optional<Relays::Via> via(SocketId socket) const { return relays_.via(socket); }
  std::string name_of(const Relays::Via& via) const;
  std::string reason(const PeerLink& peer) const { return relays_.reason(peer); }

  // ServerRelayHandler
  void on_relay_secret(const RelaySecretKey& secret) override { lending_.on_secret(secret); }
  void on_relay_grant(const RelayGrant& grant) override { relays_.on_grant(grant); }
  void on_credit(const Credit& credit) override {
    credit_ = credit;
    context_.wake();
  }
  void on_account_spent(const AccountSpent& spent) override {
    lending_.service().on_account_spent(spent.account);
  }
  void on_stranger_signal(const NodeId& from, ByteView body,
                          std::optional<Address> seen_at) override {
    strangers_.on_signal(from, body, seen_at);
  }

 private:
  // RelaysHost
  RelayRule relay_rule(const PeerLink& peer) const override;
  bool is_wanted_for_itself(const PeerLink& peer) const override {
    return host_.is_wanted_for_itself(peer);
  }
  bool is_hard_to_reach() const override;
  PeerLink* own_node(const NodeId& id) const override { return host_.own_node(id); }
  PeerLink* known_stranger(const NodeId& id) const override { return strangers_.find(id); }
  PeerLink* reach_relay(const GrantedRelay& relay, TimePoint until) override;
  std::vector<PeerLink*> connected_nodes() const override { return host_.connected_nodes(); }
  void on_letter(const NodeId& relay, const NodeId& from, ByteView body) override {
    host_.on_letter(relay, from, body);
  }
  // StrangerHandler
  void on_stranger_up(PeerLink&) override { relays_.on_hop_ready(); }
  void on_stranger_down(PeerLink& link) override;
  void on_stranger_stream(PeerLink& link, session::StreamId id) override;
  bool is_stranger_needed(const NodeId& id) override;

  NodeContext& context_;
  ServerLink& server_;
  PeerLinkHandler& node_;
  RelayingHost& host_;
  Lending lending_;
  StrangerLinks strangers_;
  Relays relays_;
  RelayHops hops_;  ///< Its clients tell `relays_` of their end.
  std::optional<Credit> credit_;
  std::uint64_t credit_asked_ = 0;
};

}  // namespace openp2p::agent
