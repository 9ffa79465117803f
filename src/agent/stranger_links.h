#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "agent/peer_link.h"
#include "path/token_bucket.h"

/// Sessions with nodes of other networks: relays that this node borrows, and, while it lends, the
/// ends that it relays for. They carry relay streams and nothing else: this is the handler of their
/// links, and it knows neither forwards nor services. What a stranger is told of this node's
/// addresses are those that the internet sees anyway.
namespace openp2p::agent {

/// What happens with them.
class StrangerHandler {
 public:
  virtual ~StrangerHandler() = default;
  virtual void on_stranger_up(PeerLink& link) = 0;
  virtual void on_stranger_down(PeerLink& link) = 0;
  /// A stream that the stranger opened: PeerLink::use() it, or reset it.
  virtual void on_stranger_stream(PeerLink& link, session::StreamId id) = 0;
  /// An allocation with it, or through it, is there or asked for.
  virtual bool is_stranger_needed(const NodeId& id) = 0;
};

class StrangerLinks final : public PeerLinkHandler {
 public:
  /// Links of both kinds. A session costs some 100 KB; what is lent seldom feeds more pairs.
  static constexpr std::size_t kLinksMax = 256;
  /// Offers that are taken: each costs a key agreement and checks. The server limits them as well.
  static constexpr int kOffersBurst = 32;
  static constexpr Duration kOfferGap = std::chrono::milliseconds(500);
  /// A session that nobody needed for so long is closed.
  static constexpr Duration kIdleMax = std::chrono::minutes(3);

  /// `node` does what is the same for all links: signals, candidates, profiles.
  StrangerLinks(NodeContext& context, PeerLinkHandler& node, StrangerHandler& handler);
  ~StrangerLinks() override;

  /// Whether strangers may open sessions here.
  void set_lending(bool is_lending) { is_lending_ = is_lending; }
  /// The link to a relay that was granted; its session is wanted until `until`. nullptr: too many.
  PeerLink* reach(const NodeId& relay, TimePoint until);
  PeerLink* find(const NodeId& id) const;
  /// `body` is not verified yet.
  void on_signal(const NodeId& from, ByteView body, std::optional<Address> seen_at);
  void on_signal_failed(const NodeId& to, SignalFailure why);
  void on_server_connected();
  void on_network_changed();
  void on_candidates_changed();
  void on_profile_fresh();
  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void close_all(std::string_view why);
  void sweep();  ///< Between inputs.
  std::size_t size() const { return links_.size(); }

  struct Counters {
    std::uint64_t offers_refused = 0;  ///< Nothing is lent, too many, or forged.
    std::uint64_t streams_refused = 0;
  };
  const Counters& counters() const { return counters_; }

  // PeerLinkHandler
  bool send_signal(const NodeId& to, ByteView body, std::uint64_t number) override;
  std::string_view signal_way() const override { return node_.signal_way(); }
  std::vector<path::Candidate> local_candidates() const override;
  path::SideProfile profile() const override { return node_.profile(); }
  bool refresh_profile() override { return node_.refresh_profile(); }
  Duration server_rtt() const override { return node_.server_rtt(); }
  void hold_tcp() override { node_.hold_tcp(); }
  void release_tcp() override { node_.release_tcp(); }
  void doubt_own_address() override { node_.doubt_own_address(); }
  void doubt_profile() override { node_.doubt_profile(); }
  bool is_needed(const PeerLink& peer) const override;
  void on_peer_stream(PeerLink& peer, session::StreamId id) override;
  void on_session_up(PeerLink& peer) override;
  void on_peer_batch_end(PeerLink&) override {}
  void on_session_down(PeerLink& peer, const std::string& reason) override;

 private:
  struct Entry {
    std::unique_ptr<PeerLink> link;
    TimePoint needed_at;  ///< Last.
  };
  PeerLink* add(const NodeId& id);

  NodeContext& context_;
  PeerLinkHandler& node_;
  StrangerHandler& handler_;
  bool is_lending_ = false;
  path::TokenBucket offers_{kOffersBurst, kOfferGap};
  std::map<NodeId, Entry> links_;
  Counters counters_;
  std::vector<std::unique_ptr<PeerLink>> removed_;  ///< Until no call of theirs can be going on.
};

}  // namespace openp2p::agent
