#pragma once

#include <functional>
#include <list>
#include <memory>

#include "agent/node_context.h"
#include "relay/hop.h"
#include "relay/relay_client.h"
#include "relay/relay_service.h"

/// This node's sessions as relayed datagrams travel over them: a relay::Hop for each session that
/// relays, in either direction, and a relay::RelayClient where the other side relays for this node.
/// Both are made when first needed, and destroyed between inputs once their session is gone.
namespace openp2p::agent {

class RelayHops {
 public:
  /// PeerLink::use() or ServerLink::use() of the session's owner.
  using Use = std::function<void(session::StreamId, forward::StreamUser*)>;

  RelayHops(NodeContext& context, relay::RelayClientHandler& handler)
      : context_(context), handler_(handler) {}
  ~RelayHops();
  RelayHops(const RelayHops&) = delete;
  RelayHops& operator=(const RelayHops&) = delete;
  /// What hops are given to, and taken from before they go. Outlives them; set before the first.
  void set_service(relay::RelayService& service) { service_ = &service; }

  relay::Hop& hop_of(session::Session& session);
  /// An open client on the session; nullptr: the other side grants no stream now.
  relay::RelayClient* client_of(session::Session& session, const Use& use);
  /// From RelayClientHandler::on_relay_lost(): another may be made while the session lives.
  void on_client_lost(relay::RelayClient& client);
  /// The session with this party uses another path.
  void on_path_changed(const NodeId& party);
  /// The session with this party is over. Its stream users have heard of it.
  void on_session_lost(const NodeId& party);
  void sweep();  ///< Between inputs.

 private:
  struct Entry {
    explicit Entry(session::Session& session) : party(session.peer()), hop(session) {}
    const NodeId party;
    relay::Hop hop;
    std::unique_ptr<relay::RelayClient> client;
    Use use;  ///< Of its stream.
    session::StreamId stream{};
    bool is_client_over = false;
  };
  static void end_client(Entry& entry);
  Entry& entry_of(session::Session& session);

  NodeContext& context_;
  relay::RelayClientHandler& handler_;
  relay::RelayService* service_ = nullptr;
  std::list<Entry> entries_;
};

}  // namespace openp2p::agent
