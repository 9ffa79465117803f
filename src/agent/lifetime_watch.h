#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/lifetime_check.h"
#include "agent/stun_lookup.h"
#include "nat/nat_profile.h"

namespace openp2p::agent {

/// Learns for how long the NAT in front of this node keeps a silent UDP mapping, so that
/// keep-alives can go just under it: once in each network, when the node has been there for a
/// while, and again each day. The last few networks are remembered: who comes back need not measure
/// first.
///
/// It costs 11 mappings and some 40 datagrams over five minutes at most. While nothing is due it
/// has no timer but the one for the next day. Sans-I/O but for what Platform gives. Threading: one
/// owner, the Node; `on_learned` comes from inside its calls and the platform's.
class LifetimeWatch {
 public:
  /// Nobody waits for it, and a node that has just come has better things to ask its router for.
  static constexpr Duration kCalm = std::chrono::minutes(1);
  static constexpr Duration kAgainAfter = std::chrono::hours(24);  ///< Routers are exchanged.
  static constexpr std::size_t kNetworksMax = 8;  ///< Home, office, telephone; the oldest go.

  LifetimeWatch(NodeContext& context, std::function<void()> on_learned);
  ~LifetimeWatch();

  /// What is known of the NAT now, and who answers STUN: "address:port" or "name:port".
  void on_nat(const nat::NatProfile& udp, const std::vector<std::string>& stun_servers);
  /// Somebody else has measured it, in this network.
  void learn(const nat::LifetimeReport& report);

  /// In this network; nothing in it: not measured.
  nat::LifetimeReport report() const;
  /// What mappings surely outlive here; nullopt: not known.
  std::optional<Duration> lifetime() const;

  void on_timeout();
  std::optional<TimePoint> next_timeout() const;

 private:
  struct Network {
    IpAddress external;
    nat::LifetimeReport report;
    TimePoint measured_at;
  };
  void begin();
  void on_servers_found(const std::vector<Address>& found);
  void on_measured();
  void retire();

  NodeContext& context_;
  std::function<void()> on_learned_;
  std::vector<std::string> stun_servers_;
  IpAddress external_;             ///< Of this network; unspecified: there is no NAT to measure.
  std::vector<Network> networks_;  ///< The newest first.
  std::optional<TimePoint> measure_at_;
  std::unique_ptr<StunLookup> lookup_;
  std::unique_ptr<LifetimeCheck> check_;
  std::vector<std::unique_ptr<LifetimeCheck>> retired_;  ///< Until none of their callbacks runs.
};

}  // namespace openp2p::agent
