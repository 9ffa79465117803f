#include "test/lab/packet_translator.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::lab {
namespace {

Side other(Side side) { return side == Side::kInside ? Side::kOutside : Side::kInside; }

Translation dropped(PacketDrop why, std::optional<IcmpErrorKind> report = std::nullopt) {
  return {.dropped = why, .report = report};
}

std::optional<PacketDrop> drop_of(PacketFault fault) {
  switch (fault) {
    case PacketFault::kNone:
      return std::nullopt;
    case PacketFault::kMalformed:
      return PacketDrop::kMalformed;
    case PacketFault::kFragment:
      return PacketDrop::kFragment;
    case PacketFault::kUnknownPayload:
      return PacketDrop::kUnknownPayload;
  }
  return PacketDrop::kMalformed;
}

PacketDrop drop_of(sim::NatRefusal refusal) {
  switch (refusal) {
    case sim::NatRefusal::kNoHairpin:
      return PacketDrop::kNoHairpin;
    case sim::NatRefusal::kNoPort:
      return PacketDrop::kNoPort;
    case sim::NatRefusal::kUnsolicited:
    case sim::NatRefusal::kNone:
      return PacketDrop::kUnsolicited;
  }
  return PacketDrop::kUnsolicited;
}

bool is_of_one_link(const IpAddress& ip) {
  return ip.is_unspecified() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast();
}

sim::NatOptions with_timeout(sim::NatOptions options, Duration timeout) {
  options.timeout = timeout;
  return options;
}

// RFC 5508 REQ-1 and REQ-2: endpoint-independent mapping, as most NATs have it whatever they do to
// ports, and answers from whom was asked. Identifiers are any 16 bits.
sim::NatOptions echo_options(const sim::NatOptions& options, Duration timeout) {
  sim::NatOptions echo;
  echo.is_firewall = options.is_firewall;
  echo.hairpinning = options.hairpinning;
  echo.timeout = timeout;
  echo.port_min = 1;
  return echo;
}

}  // namespace

std::string_view packet_drop_text(PacketDrop drop) {
  switch (drop) {
    case PacketDrop::kMalformed:
      return "malformed";
    case PacketDrop::kFragment:
      return "fragment";
    case PacketDrop::kUnknownPayload:
      return "unknown payload";
    case PacketDrop::kNoRoute:
      return "no route";
    case PacketDrop::kHops:
      return "hop limit";
    case PacketDrop::kUdpBlocked:
      return "UDP blocked";
    case PacketDrop::kPoliced:
      return "UDP policed";
    case PacketDrop::kUnsolicited:
      return "unsolicited";
    case PacketDrop::kNoHairpin:
      return "no hairpin";
    case PacketDrop::kNoPort:
      return "no port";
  }
  return "unknown";
}

PacketTranslator::Tables::Tables(const sim::NatOptions& options, const sim::NatOptions& tcp_options,
                                 const TranslatorOptions& all, Random& random)
    : udp(options, all.external_addresses, random.fork()),
      tcp(with_timeout(tcp_options, all.router.tcp_timeouts.transitory), all.external_addresses,
          random.fork()),
      echo(echo_options(options, all.echo_timeout), all.external_addresses, random.fork()),
      tcp_flows(tcp, all.router.tcp_timeouts) {}

sim::NatVerdict PacketTranslator::Tables::judge(const PacketFields& fields, Side from,
                                                TimePoint now) {
  const bool is_from_inside = from == Side::kInside;
  if (fields.payload == Payload::kTcp) {
    return is_from_inside ? tcp_flows.outbound(fields.from, fields.to, fields.tcp, now)
                          : tcp_flows.inbound(fields.from, fields.to, fields.tcp, now);
  }
  sim::NatTable& table = of(protocol_of(fields.payload));
  return is_from_inside ? table.outbound(fields.from, fields.to, now)
                        : table.inbound(fields.from, fields.to, now);
}

void PacketTranslator::Tables::reset(const std::vector<IpAddress>& external) {
  for (sim::NatTable* table : {&udp, &tcp, &echo}) table->reset(external);
  tcp_flows.reset();
}

sim::NatTable& PacketTranslator::Tables::of(Protocol protocol) {
  switch (protocol) {
    case Protocol::kUdp:
      return udp;
    case Protocol::kTcp:
      return tcp;
    case Protocol::kEcho:
      return echo;
  }
  return udp;
}

PacketTranslator::PacketTranslator(const TranslatorOptions& options, Random random)
    : options_(options) {
  const auto is_v4 = [](const IpAddress& ip) { return ip.is_v4(); };
  CHECK(std::ranges::all_of(options.external_addresses, is_v4));
  const auto& v4 = options.router.v4;
  if (v4) v4_.emplace(*v4, options.router.tcp_v4.value_or(*v4), options_, random);
  if (options.router.v6) {
    CHECK(options.router.v6->is_firewall);  // Nobody translates IPv6 as NATs do.
    v6_.emplace(*options.router.v6, *options.router.v6, options_, random);
  }
  if (!options.router.udp_policer) return;
  for (auto& policer : policers_) policer.emplace(*options.router.udp_policer);
}

void PacketTranslator::reset() {
  for (auto* tables : {&v4_, &v6_}) {
    if (*tables) (*tables)->reset(options_.external_addresses);
  }
}

Translation PacketTranslator::translate(MutableByteView packet, Side from, TimePoint now) {
  const PacketFields fields = read_packet(packet);
  Translation result;
  if (const auto why = obstacle(fields)) {
    result = dropped(*why);
    if (*why == PacketDrop::kHops) result.report = IcmpErrorKind::kTimeExceeded;
    const bool is_rejected = options_.router.udp == sim::UdpPolicy::kReject;
    if (*why == PacketDrop::kUdpBlocked && is_rejected) result.report = IcmpErrorKind::kProhibited;
  } else if (is_policed(fields, from, now)) {
    result = dropped(PacketDrop::kPoliced);
  } else if (tables_of(fields) == nullptr) {
    result = forward(packet, fields, other(from));
  } else if (fields.payload == Payload::kIcmpError) {
    result = translate_error(packet, fields, from, now);
  } else {
    result = translate_datagram(packet, fields, from, now);
  }
  if (result.dropped) {
    ++drops_[static_cast<std::size_t>(*result.dropped)];
  } else {
    ++forwarded_[static_cast<std::size_t>(from)];
  }
  return result;
}

std::optional<PacketDrop> PacketTranslator::obstacle(const PacketFields& fields) const {
  if (const auto fault = drop_of(fields.fault)) return fault;
  if (is_of_one_link(fields.from.ip) || is_of_one_link(fields.to.ip)) return PacketDrop::kNoRoute;
  const int hops_left = fields.hop_limit - (options_.counts_as_hop ? 1 : 0);
  if (hops_left <= 0) return PacketDrop::kHops;
  if (fields.payload == Payload::kUdp && options_.router.udp != sim::UdpPolicy::kPass) {
    return PacketDrop::kUdpBlocked;
  }
  return std::nullopt;
}

bool PacketTranslator::is_policed(const PacketFields& fields, Side from, TimePoint now) {
  auto& policer = policers_[static_cast<std::size_t>(from)];
  return fields.payload == Payload::kUdp && policer && !policer->lets_pass(fields.bytes, now);
}

PacketTranslator::Tables* PacketTranslator::tables_of(const PacketFields& fields) {
  auto& tables = fields.is_v4 ? v4_ : v6_;
  return tables ? &*tables : nullptr;
}

PacketTranslator::Protocol PacketTranslator::protocol_of(Payload payload) {
  switch (payload) {
    case Payload::kUdp:
      return Protocol::kUdp;
    case Payload::kTcp:
      return Protocol::kTcp;
    case Payload::kEchoRequest:
    case Payload::kEchoReply:
    case Payload::kIcmpError:
      return Protocol::kEcho;
  }
  return Protocol::kEcho;
}

Translation PacketTranslator::translate_datagram(MutableByteView packet, const PacketFields& fields,
                                                 Side from, TimePoint now) {
  sim::NatTable& table = tables_of(fields)->of(protocol_of(fields.payload));
  const bool is_from_inside = from == Side::kInside;
  const bool is_translated = !table.options().is_firewall;
  if (is_translated && !is_from_inside && !table.is_external(fields.to.ip)) {
    return dropped(PacketDrop::kNoRoute);
  }
  // The identifier of an answer is the asker's: an answer to nobody's question opens nothing.
  if (is_from_inside && fields.payload == Payload::kEchoReply &&
      !table.external_of(fields.from, fields.to, now)) {
    return dropped(PacketDrop::kUnsolicited);
  }
  const sim::NatVerdict verdict = tables_of(fields)->judge(fields, from, now);
  switch (verdict.action) {
    case sim::NatAction::kDrop:
      return dropped(drop_of(verdict.refusal));
    case sim::NatAction::kReject:
      return dropped(drop_of(verdict.refusal), IcmpErrorKind::kProhibited);
    case sim::NatAction::kForward:
    case sim::NatAction::kHairpin:
      break;
  }
  if (is_translated) rewrite_packet(packet, fields, verdict.from, verdict.to);
  return forward(packet, fields, verdict.action == sim::NatAction::kHairpin ? from : other(from));
}

Translation PacketTranslator::translate_error(MutableByteView packet, const PacketFields& fields,
                                              Side from, TimePoint now) {
  const MutableByteView quote =
      packet.first(fields.bytes).subspan(fields.header_bytes + kIcmpHeaderBytes);
  const PacketFields quoted = read_quoted_packet(quote);
  if (quoted.fault != PacketFault::kNone || quoted.is_v4 != fields.is_v4 ||
      quoted.payload == Payload::kIcmpError) {
    return dropped(PacketDrop::kMalformed);
  }
  sim::NatTable& table = tables_of(fields)->of(protocol_of(quoted.payload));
  Address quoted_from = quoted.from;
  Address quoted_to = quoted.to;
  IpAddress reporter = fields.from.ip;
  bool goes_inside = from == Side::kOutside;
  if (from == Side::kInside) {  // About what came in: the outside knows another destination.
    const auto external = table.external_of(quoted_to, quoted_from, now);
    if (!external) return dropped(PacketDrop::kUnsolicited);
    quoted_to = *external;
    reporter = external->ip;
    goes_inside = table.is_external(fields.to.ip);  // About a hairpin's packet.
  }
  IpAddress receiver = fields.to.ip;
  if (goes_inside) {
    const auto internal = table.internal_of(quoted_from, quoted_to, now);
    if (!internal) return dropped(PacketDrop::kUnsolicited);
    quoted_from = *internal;
    receiver = internal->ip;
  }
  if (!table.options().is_firewall) {
    OnesSum change = rewrite_packet(quote, quoted, quoted_from, quoted_to);
    rewrite_packet(packet, fields, {.ip = reporter}, {.ip = receiver});
    const std::size_t checksum = fields.header_bytes + 2;
    set_word(packet, checksum, updated_checksum(word_at(packet, checksum), change));
  } else if (receiver != fields.to.ip) {
    return dropped(PacketDrop::kMalformed);  // Quotes another's packet than it is sent to.
  }
  return forward(packet, fields, goes_inside ? Side::kInside : Side::kOutside);
}

Translation PacketTranslator::forward(MutableByteView packet, const PacketFields& fields, Side to) {
  if (options_.counts_as_hop) decrement_hop_limit(packet, fields);
  return {.dropped = {}, .report = {}, .to = to, .bytes = fields.bytes};
}

sim::NatTable* PacketTranslator::udp_table(bool is_v4) {
  auto& tables = is_v4 ? v4_ : v6_;
  return tables ? &tables->udp : nullptr;
}

sim::NatTable* PacketTranslator::tcp_table(bool is_v4) {
  auto& tables = is_v4 ? v4_ : v6_;
  return tables ? &tables->tcp : nullptr;
}

PacketTranslator::TableSizes& PacketTranslator::TableSizes::operator+=(const TableSizes& other) {
  mappings += other.mappings;
  flows += other.flows;
  mappings_peak += other.mappings_peak;
  flows_peak += other.flows_peak;
  return *this;
}

PacketTranslator::TableSizes PacketTranslator::sizes(Protocol protocol, TimePoint now) {
  TableSizes total;
  for (auto* tables : {&v4_, &v6_}) {
    if (!*tables) continue;
    sim::NatTable& table = (*tables)->of(protocol);
    total += {table.mappings(now), table.flows(now), table.mappings_peak(), table.flows_peak()};
  }
  return total;
}

}  // namespace openp2p::lab
