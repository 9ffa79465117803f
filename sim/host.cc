#include "sim/host.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::sim {
namespace {

constexpr std::size_t kPortsMax = 14'000;  // Half of the ephemeral ports: a free one is found soon.

}  // namespace

SendStatus UdpSocket::send(const Address& to, ByteView datagram, std::uint8_t hop_limit) {
  return is_open_ ? host_.send(*this, to, datagram, hop_limit) : SendStatus::kClosed;
}

void UdpSocket::close() {
  if (!std::exchange(is_open_, false)) return;
  host_.bound_.erase(bound_);
}

Address UdpSocket::local() const {
  if (!bound_.ip.is_unspecified()) return bound_;
  return {host_.address(family_).value_or(any_of(family_)), bound_.port};
}

Interface& Host::attach(Network& network, const AttachOptions& options) {
  interfaces_.push_back(&network.attach(*this, options));
  announce_addresses();
  return *interfaces_.back();
}

void Host::leave(Interface& interface) {
  CHECK(std::erase(interfaces_, &interface) == 1);
  interface.network().detach(interface);
  announce_addresses();
}

void Host::leave_all() {
  for (Interface* interface : std::exchange(interfaces_, {})) {
    interface->network().detach(*interface);
  }
}

Interface& Host::move_to(Network& network, const AttachOptions& options) {
  leave_all();
  return attach(network, options);
}

void Host::announce_addresses() {
  if (addresses_changed_) addresses_changed_(now());
}

UdpSocket& Host::open_udp(std::uint16_t port, Family family, std::optional<IpAddress> bind) {
  const IpAddress ip = bind.value_or(any_of(family));
  CHECK(family_of(ip) == family);
  const Address bound{ip, port == 0 ? pick_port(ip) : port};
  CHECK(!bound_.contains(bound));  // A test that opens a port twice is a wrong test.
  const SocketId id = next_socket_id();
  sockets_.push_back(std::make_unique<UdpSocket>(*this, id, family, bound));
  bound_[bound] = sockets_.back().get();
  return *sockets_.back();
}

std::uint16_t Host::pick_port(const IpAddress& ip) {
  CHECK(bound_.size() < kPortsMax);
  // As systems do: a socket of one address would take what is for one of all, and the reverse.
  return pick_ephemeral_port(random_, [&](std::uint16_t port) {
    return std::ranges::any_of(bound_, [&](const auto& entry) {
      const Address& other = entry.first;
      if (other.port != port || other.ip.is_v4() != ip.is_v4()) return false;
      return other.ip == ip || other.ip.is_unspecified() || ip.is_unspecified();
    });
  });
}

UdpSocket& Host::socket(SocketId id) {
  CHECK(id.value() >= 1 && id.value() <= sockets_.size());
  CHECK(sockets_[id.value() - 1] != nullptr);
  return *sockets_[id.value() - 1];
}

std::vector<IpAddress> Host::addresses() const {
  std::vector<IpAddress> all;
  for (const Interface* interface : interfaces_) {
    all.insert(all.end(), interface->addresses().begin(), interface->addresses().end());
  }
  return all;
}

std::optional<IpAddress> Host::address(Family family) const {
  for (const Interface* interface : interfaces_) {
    if (const auto ip = interface->address(family)) return ip;
  }
  return std::nullopt;
}

bool Host::owns(const IpAddress& ip) const {
  return ip.is_loopback() || std::ranges::any_of(interfaces_, [&](const Interface* interface) {
           return interface->has(ip);
         });
}

Interface* Host::route(const IpAddress& to, const std::optional<IpAddress>& source) const {
  Interface* found = nullptr;
  for (Interface* interface : interfaces_) {
    const bool fits =
        source ? interface->has(*source) : interface->address(family_of(to)).has_value();
    if (!fits || !interface->up().is_up() || !interface->network().reaches(to)) continue;
    if (interface->network().is_on_link(to)) return interface;
    if (found == nullptr) found = interface;
  }
  return found;
}

SendStatus Host::send(UdpSocket& socket, const Address& to, ByteView datagram,
                      std::uint8_t hop_limit) {
  if (family_of(to.ip) != socket.family_ || to.port == 0) return SendStatus::kUnreachable;
  ++world_.counters().sent;
  std::optional<IpAddress> source;
  if (!socket.bound_.ip.is_unspecified()) source = socket.bound_.ip;
  Packet packet;
  packet.to = {to.ip, to.port};
  packet.payload = world_.buffers().copy(datagram);
  if (owns(to.ip)) {
    packet.from = {source.value_or(to.ip), socket.bound_.port};
    loop_back(std::move(packet));
    return SendStatus::kSent;
  }
  Interface* interface = route(to.ip, source);
  if (interface == nullptr) {
    ++world_.counters().drops(DropReason::kNoRoute);
    return SendStatus::kUnreachable;
  }
  if (!source) source = interface->address(socket.family_);
  packet.from = {*source, socket.bound_.port};
  if (hop_limit != 0) packet.hops_left = hop_limit;
  const auto dropped = interface->network().send(*interface, std::move(packet));
  return dropped == DropReason::kTooBig ? SendStatus::kTooBig : SendStatus::kSent;
}

void Host::loop_back(Packet packet) {
  // Through the queue, since a socket never receives inside its caller's send().
  world_.after(Duration::zero(), [this, moved = std::move(packet)]() { receive(moved, nullptr); });
}

SocketId Host::new_socket_id() {
  sockets_.push_back(nullptr);
  return SocketId(static_cast<std::uint32_t>(sockets_.size()));
}

std::optional<IpAddress> Host::source_for(const IpAddress& to) const {
  if (owns(to)) return to;
  const Interface* interface = route(to, std::nullopt);
  return interface == nullptr ? std::nullopt : interface->address(family_of(to));
}

std::size_t Host::mtu_towards(const IpAddress& to, const IpAddress& source) const {
  constexpr std::size_t kLoopbackMtu = 65'536;
  Interface* interface = owns(to) ? nullptr : route(to, source);
  return interface == nullptr ? kLoopbackMtu : interface->up().options().mtu;
}

void Host::transmit(Packet packet) {
  ++world_.counters().segments_sent;
  if (owns(packet.to.ip)) return loop_back(std::move(packet));
  Interface* interface = route(packet.to.ip, packet.from.ip);
  if (interface == nullptr) {
    ++world_.counters().drops(DropReason::kNoRoute);
    return;
  }
  IcmpError error{ErrorKind::kTooBig, packet.from, packet.to, interface->up().options().mtu,
                  packet.protocol};
  const auto dropped = interface->network().send(*interface, std::move(packet));
  if (dropped != DropReason::kTooBig) return;
  world_.after(Duration::zero(), [this, error] { tcp_.on_icmp(error); });
}

UdpSocket* Host::find(const Address& local) const {
  auto socket = bound_.find(local);
  if (socket == bound_.end()) socket = bound_.find({any_of(family_of(local.ip)), local.port});
  return socket == bound_.end() ? nullptr : socket->second;
}

void Host::on_packet(Packet packet, Interface& in) {
  if (!owns(packet.to.ip)) {
    ++world_.counters().drops(DropReason::kNoRoute);
    return;
  }
  if (packet.error) return on_icmp(*packet.error);
  receive(packet, &in);
}

void Host::receive(const Packet& packet, Interface* in) {
  if (packet.is_udp()) return receive_datagram(packet, in);
  ++world_.counters().segments_delivered;
  tcp_.on_segment(packet);
}

void Host::receive_datagram(const Packet& packet, Interface* in) {
  UdpSocket* socket = find(packet.to);
  if (socket != nullptr) {
    ++world_.counters().delivered;
    world_.counters().bytes_delivered += packet.payload.size();
    if (socket->receive_) socket->receive_(packet.from, packet.payload.view(), now());
    return;
  }
  ++world_.counters().drops(DropReason::kClosed);
  if (in == nullptr) {  // From this very host, which knows at once that nobody listens.
    const IcmpError error{ErrorKind::kPortUnreachable, packet.from, packet.to};
    world_.after(Duration::zero(), [this, error] { on_icmp(error); });
    return;
  }
  if (is_stealthy_) return;
  in->network().send(*in, Packet::error_about({ErrorKind::kPortUnreachable, packet.from, packet.to},
                                              Address{packet.to.ip}));
}

void Host::on_icmp(const IcmpError& error) {
  if (error.protocol == Protocol::kTcp) return tcp_.on_icmp(error);
  UdpSocket* socket = owns(error.from.ip) ? find(error.from) : nullptr;
  if (socket == nullptr) return;  // About an address that the host has left.
  ++world_.counters().errors_delivered;
  if (socket->error_) socket->error_({error.kind, error.to, error.mtu}, now());
}

}  // namespace openp2p::sim
