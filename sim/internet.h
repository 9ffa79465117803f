#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/host.h"
#include "sim/nat_kind.h"
#include "sim/network.h"
#include "sim/router.h"
#include "sim/world.h"

namespace openp2p::sim {

struct InternetOptions {
  /// Routers between any two access lines. Real paths are longer; what counts is that a packet can
  /// be made to pass a home's router and its carrier's (hop limit 3) and reach nobody else's.
  std::uint8_t core_hops = 4;
};

/// The public core: every interface in it is one access line away from every other.
class Internet {
 public:
  explicit Internet(World& world, const InternetOptions& options = {});

  World& world() const { return world_; }
  Network& core() { return core_; }
  Prefix delegate_v6();  ///< A /56 of its own for a home (RFC 6177).

 private:
  World& world_;
  Network core_;
  std::uint64_t delegated_ = 0;
};

/// Both directions alike: what most tests want of an access line.
AttachOptions line(const LinkOptions& link, bool has_v6 = true);

/// A public host with IPv4 and IPv6, such as a server.
std::unique_ptr<Host> make_public_host(Internet& internet,
                                       const LinkOptions& link = {
                                           .delay = std::chrono::milliseconds(5)});

/// A carrier's network with 100.64.0.0/10 inside and a NAT in front (RFC 6598, RFC 6888).
class Carrier {
 public:
  explicit Carrier(Internet& internet, const NatOptions& options = carrier_nat_options(),
                   unsigned public_addresses = 1);

  Network& network() { return network_; }
  Router& router() { return router_; }

 private:
  Network network_;
  Router router_;
};

struct HomeOptions {
  LinkOptions link = {.delay = std::chrono::milliseconds(10)};  ///< The access line, each way.
  LinkOptions lan = {.delay = std::chrono::microseconds(200)};  ///< Each host's, each way.
  Carrier* carrier = nullptr;  ///< Whom kDoubleNat shares; nullptr: a carrier of its own.
  bool has_v6 = false;         ///< Adds IPv6 behind a firewall; kIpv6Firewall has it anyway.
  /// How the home's router treats TCP over IPv4 where that differs from UDP. Such as, with
  /// kUdpBlocked, nat_options(NatKind::kSymmetricRandom).
  std::optional<NatOptions> tcp = {};
  std::optional<PolicerOptions> udp_policer = {};  ///< Of the home's router.
  bool has_pcp = false;                            ///< The home's router maps ports on request.
};

/// A home with one host or more behind the kind of NAT that it is given.
///
///     sim::World world(seed);
///     sim::Internet internet(world);
///     sim::Home home(internet, sim::NatKind::kPortRestricted);
///     sim::UdpSocket& socket = home.host().open_udp();
class Home {
 public:
  Home(Internet& internet, NatKind kind, const HomeOptions& options = {});

  Host& host(std::size_t number = 0) { return *hosts_.at(number); }
  Host& add_host();
  Network& lan() { return lan_ ? *lan_ : internet_.core(); }
  Router* router() { return router_ ? &*router_ : nullptr; }  ///< nullptr for kNone.
  NatKind kind() const { return kind_; }
  AttachOptions host_options() const;  ///< For hosts that move in.

 private:
  Internet& internet_;
  const NatKind kind_;
  const HomeOptions options_;
  std::optional<Carrier> own_carrier_;
  std::optional<Network> lan_;
  std::optional<Router> router_;
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace openp2p::sim
