#include "test/lab/ip_packet.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::lab {
namespace {

constexpr std::size_t kV4HeaderBytes = 20;
constexpr std::size_t kV6HeaderBytes = 40;
constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::size_t kUdpHeaderBytes = 8;
constexpr std::size_t kQuotedBytesMin = 8;  // RFC 792: of the payload.

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpV6 = 58;
constexpr std::uint8_t kRouterHopLimit = 64;
// RFC 1812 section 4.3.2.3: an error's packet of 576 bytes; RFC 4443: the minimum MTU of IPv6.
constexpr std::size_t kV4ErrorBytesMax = 576;
constexpr std::size_t kV6ErrorBytesMax = 1280;

std::uint8_t byte_at(ByteView bytes, std::size_t offset) {
  return std::to_integer<std::uint8_t>(bytes[offset]);
}

IpAddress v4_at(ByteView bytes, std::size_t offset) {
  return IpAddress::v4(byte_at(bytes, offset), byte_at(bytes, offset + 1),
                       byte_at(bytes, offset + 2), byte_at(bytes, offset + 3));
}

// As it is on the wire: a v4-mapped address in an IPv6 header is nobody's (RFC 4291
// section 2.5.5.2).
IpAddress v6_at(ByteView bytes, std::size_t offset) {
  std::array<std::uint8_t, 16> copy{};
  for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = byte_at(bytes, offset + i);
  return IpAddress::v6(copy);
}

void put(MutableByteView out, std::size_t offset, const IpAddress& ip) {
  const std::size_t skipped = ip.is_v4() ? 12 : 0;
  for (std::size_t i = skipped; i < 16; ++i) {
    out[offset + i - skipped] = static_cast<std::byte>(ip.bytes()[i]);
  }
}

PacketFields fault(PacketFault what) {
  PacketFields fields;
  fields.fault = what;
  return fields;
}

std::optional<Payload> icmp_payload(std::uint8_t type, bool is_v4) {
  if (type == (is_v4 ? 8 : 128)) return Payload::kEchoRequest;
  if (type == (is_v4 ? 0 : 129)) return Payload::kEchoReply;
  if (is_v4 && (type == 3 || type == 11 || type == 12)) return Payload::kIcmpError;
  if (!is_v4 && type >= 1 && type <= 4) return Payload::kIcmpError;
  return std::nullopt;
}

// RFC 4890 lists types that cross firewalls; neighbours and groups are matters of one link.
PacketFields read_icmp(ByteView payload, PacketFields fields) {
  if (payload.size() < kIcmpHeaderBytes) return fault(PacketFault::kMalformed);
  const auto kind = icmp_payload(byte_at(payload, 0), fields.is_v4);
  if (!kind) return fault(PacketFault::kUnknownPayload);
  fields.payload = *kind;
  if (*kind == Payload::kEchoRequest) fields.from.port = word_at(payload, 4);
  if (*kind == Payload::kEchoReply) fields.to.port = word_at(payload, 4);
  return fields;
}

sim::TcpHeader read_flags(std::uint8_t flags) {  // RFC 9293 section 3.1.
  sim::TcpHeader header;
  header.is_fin = (flags & 0x01) != 0;
  header.is_syn = (flags & 0x02) != 0;
  header.is_rst = (flags & 0x04) != 0;
  header.is_ack = (flags & 0x10) != 0;
  return header;
}

PacketFields read_ports(ByteView payload, PacketFields fields, std::uint8_t protocol,
                        bool is_quoted) {
  fields.payload = protocol == kTcp ? Payload::kTcp : Payload::kUdp;
  const std::size_t header_bytes = protocol == kTcp ? kTcpHeaderBytes : kUdpHeaderBytes;
  if (payload.size() < (is_quoted ? kQuotedBytesMin : header_bytes)) {
    return fault(PacketFault::kMalformed);
  }
  if (protocol == kUdp && !is_quoted &&
      (word_at(payload, 4) < kUdpHeaderBytes || word_at(payload, 4) > payload.size())) {
    return fault(PacketFault::kMalformed);
  }
  if (protocol == kTcp && !is_quoted) fields.tcp = read_flags(byte_at(payload, 13));
  fields.from.port = word_at(payload, 0);
  fields.to.port = word_at(payload, 2);
  return fields;
}

PacketFields read_payload(ByteView packet, PacketFields fields, std::uint8_t protocol,
                          bool is_quoted) {
  const ByteView payload = packet.first(fields.bytes).subspan(fields.header_bytes);
  if (protocol == (fields.is_v4 ? kIcmp : kIcmpV6)) return read_icmp(payload, fields);
  if (protocol == kTcp || protocol == kUdp) {
    return read_ports(payload, fields, protocol, is_quoted);
  }
  return fault(PacketFault::kUnknownPayload);
}

PacketFields read_v4(ByteView packet, bool is_quoted) {
  if (packet.size() < kV4HeaderBytes) return fault(PacketFault::kMalformed);
  PacketFields fields;
  fields.header_bytes = static_cast<std::size_t>(byte_at(packet, 0) & 0x0f) * 4;
  const std::size_t total_bytes = word_at(packet, 2);
  if (fields.header_bytes < kV4HeaderBytes || total_bytes < fields.header_bytes) {
    return fault(PacketFault::kMalformed);
  }
  if (total_bytes > packet.size() && !is_quoted) return fault(PacketFault::kMalformed);
  fields.bytes = std::min(total_bytes, packet.size());
  if (fields.bytes < fields.header_bytes) return fault(PacketFault::kMalformed);
  if ((word_at(packet, 6) & 0x3fff) != 0) return fault(PacketFault::kFragment);
  fields.hop_limit = byte_at(packet, 8);
  fields.from.ip = v4_at(packet, 12);
  fields.to.ip = v4_at(packet, 16);
  return read_payload(packet, fields, byte_at(packet, 9), is_quoted);
}

PacketFields read_v6(ByteView packet, bool is_quoted) {
  if (packet.size() < kV6HeaderBytes) return fault(PacketFault::kMalformed);
  PacketFields fields;
  fields.is_v4 = false;
  fields.header_bytes = kV6HeaderBytes;
  const std::size_t total_bytes = kV6HeaderBytes + word_at(packet, 4);
  if (total_bytes > packet.size() && !is_quoted) return fault(PacketFault::kMalformed);
  fields.bytes = std::min(total_bytes, packet.size());
  fields.hop_limit = byte_at(packet, 7);
  fields.from.ip = v6_at(packet, 8);
  fields.to.ip = v6_at(packet, 24);
  if (fields.from.ip.is_v4() || fields.to.ip.is_v4()) return fault(PacketFault::kMalformed);
  constexpr std::uint8_t kFragmentHeader = 44;
  if (byte_at(packet, 6) == kFragmentHeader) return fault(PacketFault::kFragment);
  return read_payload(packet, fields, byte_at(packet, 6), is_quoted);
}

PacketFields read(ByteView packet, bool is_quoted) {
  if (packet.empty()) return fault(PacketFault::kMalformed);
  switch (byte_at(packet, 0) >> 4) {
    case 4:
      return read_v4(packet, is_quoted);
    case 6:
      return read_v6(packet, is_quoted);
    default:  // Not an enum: any four bits.
      return fault(PacketFault::kMalformed);
  }
}

/// Changes words of a packet and sums up what changed.
class Patch {
 public:
  explicit Patch(MutableByteView packet) : packet_(packet) {}
  void word(std::size_t offset, std::uint16_t value) {
    change_.replace(word_at(packet_, offset), value);
    set_word(packet_, offset, value);
  }
  void address(std::size_t offset, const IpAddress& ip) {
    word(offset, static_cast<std::uint16_t>(ip.v4_bits() >> 16));
    word(offset + 2, static_cast<std::uint16_t>(ip.v4_bits()));
  }
  const OnesSum& change() const { return change_; }

 private:
  MutableByteView packet_;
  OnesSum change_;
};

// Where the payload's checksum stands, counted from the payload's start.
std::size_t checksum_offset(Payload payload) {
  switch (payload) {
    case Payload::kUdp:
      return 6;
    case Payload::kTcp:
      return 16;
    case Payload::kEchoRequest:
    case Payload::kEchoReply:
    case Payload::kIcmpError:
      return 2;
  }
  return 2;
}

// Ports or the identifier. The caller keeps the payload's checksum.
OnesSum rewrite_ports(MutableByteView payload, Payload kind, const Address& from,
                      const Address& to) {
  Patch patch(payload);
  switch (kind) {
    case Payload::kUdp:
    case Payload::kTcp:
      patch.word(0, from.port);
      patch.word(2, to.port);
      break;
    case Payload::kEchoRequest:
      patch.word(4, from.port);
      break;
    case Payload::kEchoReply:
      patch.word(4, to.port);
      break;
    case Payload::kIcmpError:
      break;
  }
  return patch.change();
}

// Returns the change of the checksum's own word.
OnesSum rewrite_checksum(MutableByteView payload, Payload kind, const OnesSum& covered) {
  Patch patch(payload);
  const std::size_t offset = checksum_offset(kind);
  if (offset + 2 > payload.size()) return patch.change();  // Quoted, and cut off before it.
  const std::uint16_t before = word_at(payload, offset);
  if (kind == Payload::kUdp && before == 0) return patch.change();  // RFC 768: there is none.
  std::uint16_t after = updated_checksum(before, covered);
  if (kind == Payload::kUdp && after == 0) after = 0xffff;
  patch.word(offset, after);
  return patch.change();
}

std::size_t write_v4_error_header(MutableByteView out, const PacketFields& fields,
                                  const IpAddress& reporter, std::size_t total_bytes) {
  const MutableByteView header = out.first(kV4HeaderBytes);
  std::ranges::fill(header, std::byte{0});
  header[0] = std::byte{0x45};
  set_word(header, 2, static_cast<std::uint16_t>(total_bytes));
  header[8] = std::byte{kRouterHopLimit};
  header[9] = std::byte{kIcmp};
  put(header, 12, reporter);
  put(header, 16, fields.from.ip);
  OnesSum sum;
  sum.add(header);
  set_word(header, 10, sum.checksum());
  return kV4HeaderBytes;
}

std::size_t write_v6_error_header(MutableByteView out, const PacketFields& fields,
                                  const IpAddress& reporter, std::size_t total_bytes) {
  const MutableByteView header = out.first(kV6HeaderBytes);
  std::ranges::fill(header, std::byte{0});
  header[0] = std::byte{0x60};
  set_word(header, 4, static_cast<std::uint16_t>(total_bytes - kV6HeaderBytes));
  header[6] = std::byte{kIcmpV6};
  header[7] = std::byte{kRouterHopLimit};
  put(header, 8, reporter);
  put(header, 24, fields.from.ip);
  return kV6HeaderBytes;
}

struct TypeAndCode {
  std::uint8_t type, code;
};

TypeAndCode type_and_code(IcmpErrorKind kind, bool is_v4) {
  switch (kind) {
    case IcmpErrorKind::kProhibited:  // Communication administratively prohibited.
      return is_v4 ? TypeAndCode{3, 13} : TypeAndCode{1, 1};
    case IcmpErrorKind::kTooBig:
      return is_v4 ? TypeAndCode{3, 4} : TypeAndCode{2, 0};
    case IcmpErrorKind::kTimeExceeded:
      return is_v4 ? TypeAndCode{11, 0} : TypeAndCode{3, 0};
  }
  return {3, 13};
}

bool may_be_told(const PacketFields& fields, const IpAddress& reporter) {
  const IpAddress& sender = fields.from.ip;
  return fields.fault == PacketFault::kNone && fields.payload != Payload::kIcmpError &&
         !sender.is_unspecified() && !sender.is_multicast() && !sender.is_loopback() &&
         !fields.to.ip.is_multicast() && reporter.is_v4() == fields.is_v4;
}

}  // namespace

PacketFields read_packet(ByteView packet) { return read(packet, /*is_quoted=*/false); }

PacketFields read_quoted_packet(ByteView packet) { return read(packet, /*is_quoted=*/true); }

OnesSum rewrite_packet(MutableByteView packet, const PacketFields& fields, const Address& from,
                       const Address& to) {
  CHECK(fields.is_v4 && fields.fault == PacketFault::kNone);
  Patch header(packet);
  header.address(12, from.ip);
  header.address(16, to.ip);
  const OnesSum addresses = header.change();
  header.word(10, updated_checksum(word_at(packet, 10), addresses));

  const MutableByteView payload = packet.first(fields.bytes).subspan(fields.header_bytes);
  const OnesSum ports = rewrite_ports(payload, fields.payload, from, to);
  OnesSum covered = ports;  // ICMP's checksum, unlike the others', has no pseudo-header.
  if (fields.payload == Payload::kUdp || fields.payload == Payload::kTcp) covered.add(addresses);
  OnesSum change = header.change();
  change.add(ports);
  change.add(rewrite_checksum(payload, fields.payload, covered));
  return change;
}

void decrement_hop_limit(MutableByteView packet, const PacketFields& fields) {
  CHECK(fields.hop_limit > 0);
  const auto hop_limit = static_cast<std::byte>(fields.hop_limit - 1);
  if (!fields.is_v4) {
    packet[7] = hop_limit;
    return;
  }
  const std::uint16_t before = word_at(packet, 8);
  packet[8] = hop_limit;
  OnesSum change;
  change.replace(before, word_at(packet, 8));
  set_word(packet, 10, updated_checksum(word_at(packet, 10), change));
}

std::size_t make_icmp_error(ByteView packet, IcmpErrorKind kind, const IpAddress& reporter,
                            std::uint16_t mtu, MutableByteView out) {
  const PacketFields fields = read_packet(packet);
  if (!may_be_told(fields, reporter)) return 0;
  const std::size_t header_bytes = fields.is_v4 ? kV4HeaderBytes : kV6HeaderBytes;
  const std::size_t bytes_max = fields.is_v4 ? kV4ErrorBytesMax : kV6ErrorBytesMax;
  const std::size_t quoted = std::min(fields.bytes, bytes_max - header_bytes - kIcmpHeaderBytes);
  const std::size_t total_bytes = header_bytes + kIcmpHeaderBytes + quoted;
  if (out.size() < total_bytes) return 0;

  if (fields.is_v4) {
    write_v4_error_header(out, fields, reporter, total_bytes);
  } else {
    write_v6_error_header(out, fields, reporter, total_bytes);
  }
  const MutableByteView icmp = out.first(total_bytes).subspan(header_bytes);
  std::ranges::fill(icmp.first(kIcmpHeaderBytes), std::byte{0});
  const auto [type, code] = type_and_code(kind, fields.is_v4);
  icmp[0] = std::byte{type};
  icmp[1] = std::byte{code};
  // RFC 1191 section 4 and RFC 4443 section 3.2: both end at the header's end.
  if (kind == IcmpErrorKind::kTooBig) set_word(icmp, 6, mtu);
  std::ranges::copy(packet.first(quoted), icmp.begin() + kIcmpHeaderBytes);

  OnesSum sum;
  sum.add(icmp);
  if (!fields.is_v4) {  // RFC 8200 section 8.1: the pseudo-header.
    sum.add(out.subspan(8, 32));
    sum.add(static_cast<std::uint16_t>(icmp.size()));
    sum.add(std::uint16_t{kIcmpV6});
  }
  set_word(icmp, 2, sum.checksum());
  return total_bytes;
}

}  // namespace openp2p::lab
