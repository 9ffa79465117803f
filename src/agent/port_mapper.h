#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/gateway_mapper.h"
#include "agent/node_context.h"

namespace openp2p::agent {

/// Keeps the node's ports open at every gateway of this machine, by PCP, NAT-PMP or UPnP: mapped in
/// IPv4 NATs, let in by IPv6 firewalls. See GatewayMapper for how; this owns one a gateway.
///
///     PortMapper mapper(context, [this] { offer(mapper.mapped()); });
///     mapper.start({.udp_v4 = 4'500, .udp_v6 = 4'500, .tcp = 4'500});
///     mapper.on_network_changed();                     // Interfaces or routes.
///     mapper.stop();  // .. and on until is_stopped(), at most kStopMax.
///
/// Costs no wake-up but renewals: each half lease (half an hour), UPnP each 10 min.
/// The caller sets NodeContext::now before each call. Threading: the node's.
class PortMapper {
 public:
  /// How long an ending program waits for routers that are to forget its mappings.
  static constexpr Duration kStopMax = std::chrono::milliseconds(1'500);

  struct Ports {  ///< 0: none.
    std::uint16_t udp_v4 = 0;
    std::uint16_t udp_v6 = 0;
    std::uint16_t tcp = 0;  ///< Of both families.
  };

  /// `on_changed` comes when mapped() changed, also from inside calls of this object, which it may
  /// read and must not change. Lease: what is asked for; routers decide.
  PortMapper(NodeContext& context, std::function<void()> on_changed,
             Duration lease = std::chrono::hours(1));

  void start(const Ports& ports);
  void on_network_changed();
  /// Takes the mappings back. Idempotent.
  void stop();
  bool is_stopped() const;  ///< Also true before start().

  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

  /// Where we can be reached: of the mappings, those with a public address.
  std::vector<Mapped> mapped() const;
  /// Also those behind another NAT.
  std::vector<Mapped> all_mapped() const;
  /// What was asked and answered, for people; the gateways' own words are not in it.
  std::vector<std::string> evidence() const;
  /// Nothing is asked for the first time any more: what evidence() says is complete.
  bool is_settled() const;

 private:
  void meet(const net::Gateway& gateway);

  NodeContext& context_;
  std::function<void()> on_changed_;
  const Duration lease_;
  Ports ports_;
  std::vector<std::unique_ptr<GatewayMapper>> gateways_;
  std::optional<TimePoint> stop_by_;
  bool is_started_ = false;
};

}  // namespace openp2p::agent
