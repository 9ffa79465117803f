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

NatOptions with_tcp_timeouts(NatOptions options, const TcpTimeouts& timeouts) {
  options.timeout = timeouts.transitory;  // A mapping's, beyond its flows'.
  return options;
}

}  // namespace

Router::Router(World& world, Network& inside, Network& outside, const RouterOptions& options,
               const AttachOptions& uplink)
    : world_(world),
      inside_(inside.attach(*this)),
      outside_(outside.attach(*this, uplink)),
      udp_(options.udp) {
  police_udp(options.udp_policer);
  inside.set_gateway(inside_);
  Random random = world.random().fork();
  const TcpTimeouts& timeouts = options.tcp_timeouts;
  if (options.v4) {
    v4_.emplace(*options.v4, options.tcp_v4.value_or(*options.v4), timeouts, external_v4(),
                random.fork());
  }
  if (options.v6) {
    v6_.emplace(*options.v6, *options.v6, timeouts, std::vector<IpAddress>(), random.fork());
  }
  if (options.pcp && v4_) pcp_v4_.emplace(&v4_->udp, &v4_->tcp, *options.pcp);
  if (options.pcp && v6_) pcp_v6_.emplace(&v6_->udp, &v6_->tcp, *options.pcp);
  if (!options.v4 || options.v4->is_firewall) route_prefix(Family::kV4);
  route_prefix(Family::kV6);
}

Router::Tables::Tables(const NatOptions& udp_options, const NatOptions& tcp_options,
                       const TcpTimeouts& timeouts, const std::vector<IpAddress>& external,
                       Random random)
    : udp(udp_options, external, random.fork()),
      tcp(with_tcp_timeouts(tcp_options, timeouts), external, random.fork()),
      tcp_flows(tcp, timeouts) {}

void Router::Tables::reset(const std::vector<IpAddress>& external) {
  udp.reset(external);
  tcp.reset(external);
  tcp_flows.reset();
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

NatTable* Router::table(Family family, Protocol protocol) {
  auto& rules = tables(family);
  if (!rules) return nullptr;
  return protocol == Protocol::kUdp ? &rules->udp : &rules->tcp;
}

void Router::reboot(bool has_new_address) {
  if (has_new_address) outside_.network().readdress(outside_);
  if (v4_) v4_->reset(external_v4());
  if (v6_) v6_->reset({});
  announce_restart(Family::kV4);
  announce_restart(Family::kV6);
}

PcpService* Router::pcp(Family family) {
  auto& service = family == Family::kV4 ? pcp_v4_ : pcp_v6_;
  return service ? &*service : nullptr;
}

bool Router::is_for_pcp(const Packet& packet, const Interface& in) const {
  return &in == &inside_ && packet.is_udp() && !packet.error && inside_.has(packet.to.ip) &&
         packet.to.port == nat::kPcpServerPort;
}

void Router::answer_pcp(const Packet& packet) {
  PcpService* service = pcp(family_of(packet.to.ip));
  if (service == nullptr) return;
  Bytes answer(nat::kPcpBytesMax);
  answer.resize(service->on_datagram(packet.from, packet.payload.view(), answer, world_.now()));
  if (!answer.empty()) send_inside(packet.to, packet.from, answer);
}

// To each client by itself: these networks have no multicast.
void Router::announce_restart(Family family) {
  PcpService* service = pcp(family);
  const auto own = inside_.address(family);
  if (service == nullptr || !own) return;
  const std::vector<IpAddress> clients = service->clients();
  Bytes announcement(nat::kPcpBytesMax);
  announcement.resize(service->restart(announcement, world_.now()));
  for (const IpAddress& client : clients) {
    send_inside({*own, nat::kPcpServerPort}, {client, nat::kPcpAnnouncementPort}, announcement);
  }
}

void Router::send_inside(const Address& from, const Address& to, ByteView datagram) {
  Packet packet;
  packet.from = from;
  packet.to = to;
  packet.payload = world_.buffers().copy(datagram);
  inside_.network().send(inside_, std::move(packet));
}

void Router::on_packet(Packet packet, Interface& in) {
  if (is_for_pcp(packet, in)) return answer_pcp(packet);
  if (!packet.travel(/*hops=*/1)) {  // Before the NAT sees it, as in real ones: it opens nothing.
    ++world_.counters().drops(DropReason::kHops);
    const IcmpError error{ErrorKind::kHopsExceeded, packet.from, packet.to, 0, packet.protocol};
    if (!packet.error) report(error, in);
    return;
  }
  if (packet.error) return on_icmp(std::move(packet), &in == &inside_);
  if (is_policed(packet, &in == &inside_)) {
    ++world_.counters().drops(DropReason::kBlocked);
    return;
  }
  if (packet.is_udp() && udp_ != UdpPolicy::kPass) {
    ++world_.counters().drops(DropReason::kBlocked);
    if (udp_ == UdpPolicy::kReject) report({ErrorKind::kProhibited, packet.from, packet.to}, in);
    return;
  }
  pass(std::move(packet), in);
}

void Router::police_udp(const std::optional<PolicerOptions>& options) {
  police_out_.reset();
  police_in_.reset();
  if (!options) return;
  police_out_.emplace(*options);
  police_in_.emplace(*options);
}

bool Router::is_policed(const Packet& packet, bool is_from_inside) {
  auto& police = is_from_inside ? police_out_ : police_in_;
  return packet.is_udp() && police && !police->lets_pass(packet.ip_bytes(), world_.now());
}

void Router::on_network_gone(Interface&) {
  CHECK(!"a router's networks outlive it");  // Declared in the wrong order by a test.
}

NatVerdict Router::judge(const Packet& packet, bool is_from_inside) {
  auto& rules = tables(family_of(packet.to.ip));
  const TimePoint now = world_.now();
  if (!rules) return {NatAction::kForward, packet.from, packet.to};
  if (packet.is_udp()) {
    return is_from_inside ? rules->udp.outbound(packet.from, packet.to, now)
                          : rules->udp.inbound(packet.from, packet.to, now);
  }
  return is_from_inside ? rules->tcp_flows.outbound(packet.from, packet.to, packet.tcp, now)
                        : rules->tcp_flows.inbound(packet.from, packet.to, packet.tcp, now);
}

void Router::pass(Packet packet, Interface& in) {
  const NatVerdict verdict = judge(packet, &in == &inside_);
  Interface* out = &in == &inside_ ? &outside_ : &inside_;
  switch (verdict.action) {
    case NatAction::kDrop:
    case NatAction::kReject:
      return refuse(packet, verdict, in);
    case NatAction::kHairpin:
      out = &inside_;
      break;
    case NatAction::kForward:
      break;
  }
  const LinkOptions& link = out->up().options();
  const IcmpError too_big{ErrorKind::kTooBig, packet.from, packet.to, link.mtu, packet.protocol};
  packet.from = verdict.from;
  packet.to = verdict.to;
  const auto dropped = out->network().send(*out, std::move(packet));
  if (dropped == DropReason::kTooBig && !link.is_mtu_silent) report(too_big, in);
}

void Router::refuse(const Packet& packet, const NatVerdict& verdict, Interface& in) {
  ++world_.counters().drops(drop_reason(verdict.refusal));
  if (verdict.action != NatAction::kReject) return;
  if (packet.is_udp()) {
    return report({ErrorKind::kProhibited, verdict.from, verdict.to}, in);
  }
  auto reset = Packet::reset_for(packet);
  if (reset) in.network().send(in, std::move(*reset));
}

void Router::report(const IcmpError& error, Interface& in) {
  const Address reporter{in.address(family_of(error.from.ip)).value_or(error.to.ip)};
  in.network().send(in, Packet::error_about(error, reporter));
}

void Router::on_icmp(Packet packet, bool is_from_inside) {
  NatTable* rules = table(family_of(packet.to.ip), packet.error->protocol);
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
