#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "sim/nat_behaviour.h"
#include "sim/nat_table.h"
#include "sim/network.h"

namespace openp2p::sim {

enum class UdpPolicy { kPass, kDrop, kReject };

struct RouterOptions {
  std::optional<NatOptions> v4 = {};  ///< A NAT, or a firewall; nullopt routes IPv4 as it is.
  std::optional<NatOptions> v6 = {};  ///< As v4; usually a firewall.
  UdpPolicy udp = UdpPolicy::kPass;
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

  NatTable* table(Family family);   ///< nullptr where packets pass as they are.
  NatTable& nat() { return *v4_; }  ///< Requires RouterOptions::v4.
  Interface& uplink() { return outside_; }
  Interface& inside() { return inside_; }

  /// All mappings are lost; with `has_new_address` the outside addresses are others than before.
  void reboot(bool has_new_address);

  void on_packet(Packet packet, Interface& in) override;
  void on_network_gone(Interface& interface) override;

 private:
  void route_prefix(Family family);
  std::vector<IpAddress> external_v4() const;
  void on_datagram(Packet packet, Interface& in);
  void on_icmp(Packet packet, bool is_from_inside);
  void send(Interface& out, Packet packet, Interface& in, const Address& from, const Address& to);
  void refuse(const NatVerdict& verdict, Interface& in);
  void report(ErrorKind kind, Interface& in, const Address& from, const Address& to,
              std::size_t mtu = 0);

  World& world_;
  Interface& inside_;
  Interface& outside_;
  std::optional<NatTable> v4_;
  std::optional<NatTable> v6_;
  const UdpPolicy udp_;
};

}  // namespace openp2p::sim
