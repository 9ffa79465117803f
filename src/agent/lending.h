#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "agent/node_context.h"
#include "agent/server_link.h"
#include "relay/relay_service.h"

/// This node as a relay: for the nodes of its network always (unless switched off), for strangers
/// while it lends. Tells the server what is lent and how much of it is in use, and passes receipts
/// on to it.
namespace openp2p::agent {

class Lending final : public relay::RelayHost {
 public:
  /// Ends that strangers may have here at once, and pairs: some MB.
  static constexpr std::size_t kAllocationsMax = 4'096;
  static constexpr std::size_t kLentMax = 1'024;
  static constexpr Duration kOfferEvery = std::chrono::minutes(1);  ///< While anything is lent.
  static constexpr Duration kRateEvery = std::chrono::seconds(1);   ///< Own traffic is measured.
  /// That wait for the server; of each end of an allocation the newest.
  static constexpr std::size_t kReceiptsMax = 256;

  struct Options {
    unsigned share_mbit = 0;       ///< 0: neither lends nor borrows.
    bool relays_own_nodes = true;  ///< For the nodes of its network.
  };
  using IsOwnNode = std::function<bool(const NodeId&)>;
  using IsReachable = std::function<bool()>;  ///< Without help of the other side.

  Lending(NodeContext& context, ServerLink& server, const Options& options, IsOwnNode is_own_node,
          IsReachable is_reachable);

  relay::RelayService& service() { return service_; }
  const relay::RelayService& service() const { return service_; }
  unsigned share_mbit() const { return share_mbit_; }
  bool is_lending() const { return share_mbit_ > 0; }
  void set_share(unsigned mbit);

  /// nullptr: refused, and the stream is reset.
  forward::StreamUser* on_stream(relay::Hop& hop, session::StreamId id);
  void on_secret(const RelaySecretKey& secret);
  void on_server_connected();
  /// What the node sent, of whatever kind.
  void on_sent(const session::Transmit& transmit);
  void on_nodes_changed() { service_.on_network_changed(context_.now); }
  /// Whether an allocation has this end.
  bool has_end(const NodeId& id);

  void on_timeout();
  std::optional<TimePoint> next_timeout() const;
  void stop(std::string_view why);

  // relay::RelayHost
  TimePoint now() const override { return context_.now; }
  bool is_own_node(const NodeId& node) const override;
  void on_receipt(const relay::SignedReceipt& receipt, const relay::Receipt& said) override;
  void on_allocations_changed() override;

 private:
  struct WaitingReceipt {
    relay::AllocationId allocation;
    NodeId end;
    relay::SignedReceipt receipt;
  };
  std::uint64_t cap() const;
  ShareOffer offer() const;
  void tell_offer();
  void measure_own_rate();
  void send_receipts();

  NodeContext& context_;
  ServerLink& server_;
  const Options options_;
  IsOwnNode is_own_node_;
  IsReachable is_reachable_;
  unsigned share_mbit_;
  relay::RelayService service_;
  std::deque<WaitingReceipt> receipts_;
  std::set<NodeId> ends_;  ///< Of all allocations, unless stale.
  bool are_ends_stale_ = false;
  std::optional<ShareOffer> told_;
  TimePoint told_at_;
  bool is_offer_due_ = false;
  std::uint64_t sent_bytes_ = 0;      ///< As the network carries them.
  std::uint64_t measured_bytes_ = 0;  ///< Own ones, when they were last looked at.
  TimePoint measured_at_;
  std::uint64_t own_bits_per_second_ = 0;
};

}  // namespace openp2p::agent
