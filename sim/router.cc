#include "sim/router.h"

#include <utility>

#include "base/check.h"

namespace openp2p::sim {
namespace {

DropReason drop_reason(NatRefusal refusal) {
  switch (refusal) {
    case NatRefusal::kNoHairpin:
      return DropReason::kNoHairpin;
    case NatRefusal::kNoPort:
      return DropReason::kNoPort;
    case NatRefusal::kUnsolicited:
    case NatRefusal::kNone:
      return DropReason::kUnsolicited;
  }
  return DropReason::kUnsolicited;
}

}  // namespace

Router::Router(World& world, Network& inside, Network& outside, const RouterOptions& options,
               const AttachOptions& uplink)
    : world_(world),
      inside_(inside.attach(*this)),
      outside_(outside.attach(*this, uplink)),
      udp_(options.udp) {
  inside.set_gateway(inside_);
  Random random = world.random().fork();
  if (options.v4) v4_.emplace(*options.v4, external_v4(), random.fork());
  if (options.v6) v6_.emplace(*options.v6, std::vector<IpAddress>(), random.fork());
  if (!options.v4 || options.v4->is_firewall) route_prefix(Family::kV4);
  route_prefix(Family::kV6);
}

Router::~Router() {
  inside_.network().detach(inside_);
  outside_.network().detach(outside_);
}

void Router::route_prefix(Family family) {
  const auto& prefix = inside_.network().prefix(family);
  if (prefix) outside_.network().add_route(*prefix, outside_);
}

std::vector<IpAddress> Router::external_v4() const {
  std::vector<IpAddress> external;
  for (const IpAddress& ip : outside_.addresses()) {
    if (ip.is_v4()) external.push_back(ip);
  }
  return external;
}

NatTable* Router::table(Family family) {
  auto& table = family == Family::kV4 ? v4_ : v6_;
  return table ? &*table : nullptr;
}

void Router::reboot(bool has_new_address) {
  if (has_new_address) outside_.network().readdress(outside_);
  if (v4_) v4_->reset(external_v4());
  if (v6_) v6_->reset({});
}

void Router::on_packet(Packet packet, Interface& in) {
  if (!packet.travel(/*hops=*/1)) {  // Before the NAT sees it, as in real ones: it opens nothing.
    ++world_.counters().drops(DropReason::kHops);
    if (!packet.error) report(ErrorKind::kHopsExceeded, in, packet.from, packet.to);
    return;
  }
  if (packet.error) return on_icmp(std::move(packet), &in == &inside_);
  if (udp_ != UdpPolicy::kPass) {
    ++world_.counters().drops(DropReason::kBlocked);
    if (udp_ == UdpPolicy::kReject) report(ErrorKind::kProhibited, in, packet.from, packet.to);
    return;
  }
  on_datagram(std::move(packet), in);
}

void Router::on_network_gone(Interface&) {
  CHECK(!"a router's networks outlive it");  // Declared in the wrong order by a test.
}

void Router::on_datagram(Packet packet, Interface& in) {
  const bool is_from_inside = &in == &inside_;
  const Address from = packet.from;
  const Address to = packet.to;
  Interface* out = is_from_inside ? &outside_ : &inside_;
  if (NatTable* rules = table(family_of(to.ip))) {
    const NatVerdict verdict = is_from_inside ? rules->outbound(from, to, world_.now())
                                              : rules->inbound(from, to, world_.now());
    switch (verdict.action) {
      case NatAction::kDrop:
      case NatAction::kReject:
        return refuse(verdict, in);
      case NatAction::kHairpin:
        out = &inside_;
        break;
      case NatAction::kForward:
        break;
    }
    packet.from = verdict.from;
    packet.to = verdict.to;
  }
  send(*out, std::move(packet), in, from, to);
}

void Router::send(Interface& out, Packet packet, Interface& in, const Address& from,
                  const Address& to) {
  const auto dropped = out.network().send(out, std::move(packet));
  const LinkOptions& link = out.up().options();
  if (dropped == DropReason::kTooBig && !link.is_mtu_silent) {
    report(ErrorKind::kTooBig, in, from, to, link.mtu);
  }
}

void Router::refuse(const NatVerdict& verdict, Interface& in) {
  ++world_.counters().drops(drop_reason(verdict.refusal));
  if (verdict.action == NatAction::kReject) {
    report(ErrorKind::kProhibited, in, verdict.from, verdict.to);
  }
}

void Router::report(ErrorKind kind, Interface& in, const Address& from, const Address& to,
                    std::size_t mtu) {
  const Address reporter{in.address(family_of(from.ip)).value_or(to.ip)};
  in.network().send(in, Packet::error_about(kind, reporter, from, to, mtu));
}

void Router::on_icmp(Packet packet, bool is_from_inside) {
  NatTable* rules = table(family_of(packet.to.ip));
  bool goes_inside = !is_from_inside;
  if (rules != nullptr && is_from_inside) {
    // About a packet that came in: the outside knows its destination as an external endpoint.
    const auto external = rules->external_of(packet.error->to, packet.error->from, world_.now());
    if (!external) return;
    packet.error->to = *external;
    packet.from = {external->ip};
    goes_inside = rules->is_external(packet.to.ip);  // About a hairpin.
  }
  if (rules != nullptr && goes_inside) {
    const auto internal = rules->internal_of(packet.error->from, packet.error->to, world_.now());
    if (!internal) return;
    packet.error->from = *internal;
    packet.to = *internal;
  }
  Interface& out = goes_inside ? inside_ : outside_;
  out.network().send(out, std::move(packet));
}

}  // namespace openp2p::sim
