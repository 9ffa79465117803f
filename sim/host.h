#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/time.h"
#include "sim/clock.h"
#include "sim/network.h"
#include "sim/tcp_stack.h"

namespace openp2p::sim {

class Host;

/// What a socket is told about a datagram that it sent before.
struct SocketError {
  ErrorKind kind = ErrorKind::kPortUnreachable;
  Address to;
  std::size_t mtu = 0;  ///< Of kTooBig: the largest IP packet that passes.
};

enum class SendStatus {
  kSent,         ///< On its way, which says nothing about its arrival.
  kTooBig,       ///< Larger than the interface's MTU (EMSGSIZE).
  kUnreachable,  ///< No interface leads there, or it is down (ENETUNREACH).
  kClosed,
};

/// A UDP socket of a simulated host. Valid as long as its host, also when closed.
class UdpSocket {
 public:
  using ReceiveHandler = std::function<void(const Address& from, ByteView datagram, TimePoint now)>;
  using ErrorHandler = std::function<void(const SocketError& error, TimePoint now)>;

  UdpSocket(Host& host, SocketId id, Family family, const Address& bound)
      : host_(host), id_(id), family_(family), bound_(bound) {}
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  /// `hop_limit` 0: the system's own.
  SendStatus send(const Address& to, ByteView datagram, std::uint8_t hop_limit = 0);
  void on_receive(ReceiveHandler handler) { receive_ = std::move(handler); }
  void on_error(ErrorHandler handler) { error_ = std::move(handler); }
  void close();

  SocketId id() const { return id_; }
  Family family() const { return family_; }
  bool is_open() const { return is_open_; }
  /// The address that peers on the host's first network see; it changes when the host moves. The
  /// unspecified address where the host has none of this family.
  Address local() const;

 private:
  friend class Host;
  Host& host_;
  const SocketId id_;
  const Family family_;
  const Address bound_;  // To the unspecified address unless the opener named one.
  ReceiveHandler receive_;
  ErrorHandler error_;
  bool is_open_ = true;
};

/// A computer in the simulated internet. It has one interface or more, and sends each datagram by
/// the first one that leads to the destination, directly attached networks first.
class Host final : public Box {
 public:
  explicit Host(World& world)
      : world_(world), random_(world.random().fork()), tcp_(*this, random_.fork()) {}
  Host(World& world, Network& network, const AttachOptions& options = {}) : Host(world) {
    attach(network, options);
  }
  ~Host() override { leave_all(); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  Interface& attach(Network& network, const AttachOptions& options = {});
  void leave(Interface& interface);
  /// Leaves all networks and joins another: sockets stay open, addresses change.
  Interface& move_to(Network& network, const AttachOptions& options = {});
  void on_addresses_changed(std::function<void(TimePoint)> handler) {
    addresses_changed_ = std::move(handler);
  }

  /// Port 0 picks a free one. `bind` limits the socket to one of the host's addresses.
  UdpSocket& open_udp(std::uint16_t port = 0, Family family = Family::kV4,
                      std::optional<IpAddress> bind = {});
  UdpSocket& socket(SocketId id);
  TcpStack& tcp() { return tcp_; }
  /// The next socket's or connection's: they count together, from 1.
  SocketId next_socket_id() const {
    return SocketId(static_cast<std::uint32_t>(sockets_.size() + 1));
  }
  SocketId new_socket_id();  ///< For what counts with them.

  std::vector<IpAddress> addresses() const;
  std::optional<IpAddress> address(Family family) const;  ///< The first one.
  Interface& interface(std::size_t number = 0) const { return *interfaces_.at(number); }
  std::size_t interfaces() const { return interfaces_.size(); }
  World& world() const { return world_; }
  /// What its clock shows, which is the time that everything on it is told: sockets' handlers,
  /// drivers and the machines behind them.
  TimePoint now() const { return clock_.at(world_.now()); }
  const Clock& clock() const { return clock_; }
  /// Before anything on the host has looked at its clock.
  void set_clock(const ClockOptions& options) { clock_ = Clock(options); }
  /// A host that answers nothing for ports without a socket.
  void set_stealthy(bool is_stealthy) { is_stealthy_ = is_stealthy; }
  bool is_stealthy() const { return is_stealthy_; }

  void on_packet(Packet packet, Interface& in) override;
  void on_network_gone(Interface& interface) override { std::erase(interfaces_, &interface); }

 private:
  friend class UdpSocket;
  friend class TcpStack;
  void leave_all();
  void announce_addresses();
  std::uint16_t pick_port(const IpAddress& ip);
  bool owns(const IpAddress& ip) const;
  Interface* route(const IpAddress& to, const std::optional<IpAddress>& source) const;
  SendStatus send(UdpSocket& socket, const Address& to, ByteView datagram, std::uint8_t hop_limit);
  void loop_back(Packet packet);
  // For TcpStack.
  std::optional<IpAddress> source_for(const IpAddress& to) const;
  std::size_t mtu_towards(const IpAddress& to, const IpAddress& source) const;
  void transmit(Packet packet);
  UdpSocket* find(const Address& local) const;
  void receive(const Packet& packet, Interface* in);
  void receive_datagram(const Packet& packet, Interface* in);
  void on_icmp(const IcmpError& error);

  World& world_;
  Clock clock_;
  Random random_;
  std::vector<Interface*> interfaces_;
  std::vector<std::unique_ptr<UdpSocket>> sockets_;  // By id, from 1; nullptr: a TCP connection.
  std::map<Address, UdpSocket*> bound_;
  std::function<void(TimePoint)> addresses_changed_;
  bool is_stealthy_ = false;
  TcpStack tcp_;
};

/// One of Linux's ephemeral ports that `is_used(port)` denies. Most must be free.
template <class IsUsed>
std::uint16_t pick_ephemeral_port(Random& random, IsUsed&& is_used) {
  constexpr std::uint16_t kFirst = 32768;
  constexpr std::uint16_t kCount = 28232;
  for (;;) {
    const auto port = static_cast<std::uint16_t>(kFirst + random.below(kCount));
    if (!is_used(port)) return port;
  }
}

}  // namespace openp2p::sim
