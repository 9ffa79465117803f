#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "sim/link.h"
#include "sim/packet.h"
#include "sim/world.h"

namespace openp2p::sim {

class Interface;
class Network;

/// What is attached to networks: a host or a router.
class Box {
 public:
  virtual ~Box() = default;
  /// A packet arrived at one of the box's interfaces, whether it is for one of its addresses or
  /// not.
  virtual void on_packet(Packet packet, Interface& in) = 0;
  /// The network of one of the box's interfaces ends, and the interface with it.
  virtual void on_network_gone(Interface& interface) = 0;
};

struct AttachOptions {
  LinkOptions up = {};        ///< From the box to the network.
  LinkOptions down = {};      ///< From the network to the box.
  unsigned v4_addresses = 1;  ///< 0: none. More: a NAT with a pool.
  bool has_v6 = true;         ///< Where the network has IPv6.
};

/// A box's place in a network: addresses and one link each way. Owned by the network, and valid as
/// long as it, also after the box has left.
class Interface {
 public:
  Interface(World& world, Network& network, Box& box, const AttachOptions& options)
      : network_(network),
        box_(box),
        options_(options),
        up_(world, options.up),
        down_(world, options.down) {}

  Network& network() const { return network_; }
  Link& up() { return up_; }
  Link& down() { return down_; }
  bool is_attached() const { return is_attached_; }
  const std::vector<IpAddress>& addresses() const { return addresses_; }
  std::optional<IpAddress> address(Family family) const;  ///< The first one.
  bool has(const IpAddress& ip) const;
  void set_up(bool is_up);  ///< Both directions: a cable pulled out and put back.

 private:
  friend class Network;
  Network& network_;
  Box& box_;
  const AttachOptions options_;
  Link up_;
  Link down_;
  std::vector<IpAddress> addresses_;
  bool is_attached_ = true;
};

/// A network whose interfaces reach each other directly (a LAN, a carrier's network, the core of
/// the internet), and the rest through its gateway, if it has one. Each address is given out once.
class Network {
 public:
  /// IPv6 as soon as `v6` is given, IPv4 likewise. `hops` routers that the network does not show
  /// are passed between any two of its interfaces.
  Network(World& world, std::optional<Prefix> v4, std::optional<Prefix> v6 = {},
          std::uint8_t hops = 0);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  Interface& attach(Box& box, const AttachOptions& options = {});
  void detach(Interface& interface);
  void readdress(Interface& interface);  ///< New addresses instead of all it has.

  void set_gateway(Interface& interface) { gateway_ = &interface; }
  const Interface* gateway() const { return gateway_; }  ///< nullptr: none.
  void add_route(const Prefix& to, Interface& via);
  const std::optional<Prefix>& prefix(Family family) const;
  bool is_on_link(const IpAddress& ip) const;
  bool reaches(const IpAddress& ip) const;  ///< On the link, by a route or by the gateway.

  /// Sends a packet from an interface. Returns why it did not even enter the link.
  std::optional<DropReason> send(Interface& from, Packet packet);

 private:
  struct Route {
    Prefix to;
    Interface* via;
  };
  void give_addresses(Interface& interface);
  Interface* find(const IpAddress& ip) const;
  void forward(Interface* from, Packet packet);
  void deliver(Interface& to, std::uint32_t era, Packet packet);
  void report(ErrorKind kind, const Packet& about, std::size_t mtu = 0);

  World& world_;
  const std::optional<Prefix> v4_;
  const std::optional<Prefix> v6_;
  const std::uint8_t hops_;
  std::vector<std::unique_ptr<Interface>> interfaces_;
  std::map<IpAddress, Interface*> by_address_;
  std::vector<Route> routes_;  // The longest prefix first.
  Interface* gateway_ = nullptr;
  std::uint64_t next_v4_ = 1;
  std::uint64_t next_v6_ = 1;
};

}  // namespace openp2p::sim
