#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "sim/nat_behaviour.h"
#include "sim/nat_table.h"
#include "sim/network.h"
#include "sim/pcp_service.h"
#include "sim/policer.h"
#include "sim/tcp_nat.h"

namespace openp2p::sim {

enum class UdpPolicy { kPass, kDrop, kReject };

struct RouterOptions {
  std::optional<NatOptions> v4 = {};  ///< A NAT, or a firewall; nullopt routes IPv4 as it is.
  std::optional<NatOptions> v6 = {};  ///< As v4; usually a firewall.
  UdpPolicy udp = UdpPolicy::kPass;
  std::optional<PolicerOptions> udp_policer = {};  ///< Holds UDP back, each way by itself.
  std::optional<NatOptions> tcp_v4 = {};           ///< Where `v4` is given: as that unless set.
  TcpTimeouts tcp_timeouts = {};
  std::optional<PcpServiceOptions> pcp = {};  ///< Its LAN may map ports (RFC 6887).
};

/// Connects an inside network with an outside one: a home's NAT, a carrier's (RFC 6888), an IPv6
/// firewall, or a plain router. It becomes the inside network's gateway; where it does not
/// translate, the outside network gets a route to the inside prefix. Both networks outlive it.
class Router final : public Box {
 public:
  Router(World& world, Network& inside, Network& outside, const RouterOptions& options,
         const AttachOptions& uplink = {});
  ~Router() override;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// nullptr where packets pass as they are.
  NatTable* table(Family family, Protocol protocol = Protocol::kUdp);
  NatTable& nat() { return v4_->udp; }      ///< Requires RouterOptions::v4.
  NatTable& tcp_nat() { return v4_->tcp; }  ///< Likewise.
  Interface& uplink() { return outside_; }
  Interface& inside() { return inside_; }

  PcpService* pcp(Family family);  ///< nullptr: it has none.

  /// All mappings are lost, which a PCP service announces to its clients; with `has_new_address`
  /// the outside addresses are others than before.
  void reboot(bool has_new_address);
  /// From now on; nullopt: UDP passes freely.
  void police_udp(const std::optional<PolicerOptions>& options);

  void on_packet(Packet packet, Interface& in) override;
  void on_network_gone(Interface& interface) override;

 private:
  struct Tables {
    Tables(const NatOptions& udp_options, const NatOptions& tcp_options,
           const TcpTimeouts& timeouts, const std::vector<IpAddress>& external, Random random);
    void reset(const std::vector<IpAddress>& external);

    NatTable udp;
    NatTable tcp;
    TcpNat tcp_flows;
  };
  std::optional<Tables>& tables(Family family) { return family == Family::kV4 ? v4_ : v6_; }
  NatVerdict judge(const Packet& packet, bool is_from_inside);
  void route_prefix(Family family);
  std::vector<IpAddress> external_v4() const;
  void pass(Packet packet, Interface& in);
  bool is_for_pcp(const Packet& packet, const Interface& in) const;
  void answer_pcp(const Packet& packet);
  void announce_restart(Family family);
  void send_inside(const Address& from, const Address& to, ByteView datagram);
  void on_icmp(Packet packet, bool is_from_inside);
  void refuse(const Packet& packet, const NatVerdict& verdict, Interface& in);
  void report(const IcmpError& error, Interface& in);
  bool is_policed(const Packet& packet, bool is_from_inside);

  World& world_;
  Interface& inside_;
  Interface& outside_;
  std::optional<Tables> v4_;
  std::optional<Tables> v6_;
  std::optional<PcpService> pcp_v4_;
  std::optional<PcpService> pcp_v6_;
  const UdpPolicy udp_;
  std::optional<Policer> police_out_;
  std::optional<Policer> police_in_;
};

}  // namespace openp2p::sim
