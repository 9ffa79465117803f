// Laws of the real box's NAT, over hostile packets from both sides: it stays within the packet,
// which it leaves alone when it drops it; what passes is a packet again, with checksums that are
// right where they were right; an ICMP error about a packet is right and never about an ICMP error.
//
// The input: one byte picks the kind, then each packet has a byte (side, seconds passed), two of
// length, and its bytes.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

#include "base/check.h"
#include "sim/nat_kind.h"
#include "test/lab/packet_translator.h"

using namespace openp2p;

namespace {

constexpr std::size_t kPacketsMax = 64;

lab::TranslatorOptions options_of(std::uint8_t choice) {
  lab::TranslatorOptions options;
  const sim::NatKind kind = sim::kNatKinds[choice % sim::kNatKinds.size()];
  options.router.v4 = sim::nat_options(kind);
  if (choice % 2 == 0) options.router.v6 = sim::ipv6_firewall_options();
  if (options.router.v4) options.router.v4->flows_max = 16;
  options.external_addresses = {IpAddress::v4(198, 51, 100, 1)};
  options.counts_as_hop = choice < 128;
  if (choice % 3 == 0) options.router.udp_policer = {.bits_per_second = 800, .burst_bytes = 200};
  return options;
}

std::uint16_t header_sum(ByteView packet, const lab::PacketFields& fields) {
  lab::OnesSum sum;
  sum.add(packet.first(fields.header_bytes));
  return sum.folded();
}

std::size_t checksum_offset(lab::Payload payload) {
  if (payload == lab::Payload::kUdp) return 6;
  return payload == lab::Payload::kTcp ? 16 : 2;
}

// Whether the payload's checksum holds. One that is missing (UDP over IPv4, RFC 768) does not.
bool has_right_payload(ByteView packet, const lab::PacketFields& fields) {
  const ByteView payload = packet.first(fields.bytes).subspan(fields.header_bytes);
  const bool is_icmp = fields.payload != lab::Payload::kUdp && fields.payload != lab::Payload::kTcp;
  if (!is_icmp && lab::word_at(payload, checksum_offset(fields.payload)) == 0) return false;
  lab::OnesSum sum;
  sum.add(payload);
  if (!is_icmp || !fields.is_v4) {  // The pseudo-header.
    sum.add(fields.is_v4 ? packet.subspan(12, 8) : packet.subspan(8, 32));
    sum.add(std::uint16_t{std::to_integer<std::uint8_t>(packet[fields.is_v4 ? 9 : 6])});
    sum.add(static_cast<std::uint16_t>(payload.size()));
  }
  return sum.folded() == 0xffff;
}

void check_error(ByteView packet) {
  std::array<std::byte, 1280> out;
  const bool is_v4 = !packet.empty() && std::to_integer<unsigned>(packet[0]) >> 4 == 4;
  const IpAddress reporter = is_v4 ? IpAddress::v4(198, 51, 100, 1) : IpAddress::any_v6();
  const std::size_t size =
      lab::make_icmp_error(packet, lab::IcmpErrorKind::kTimeExceeded, reporter, 0, out);
  if (size == 0) return;
  const auto about = lab::read_packet(packet);
  const auto error = lab::read_packet(std::span(out).first(size));
  CHECK(about.payload != lab::Payload::kIcmpError);
  CHECK(error.fault == lab::PacketFault::kNone && error.payload == lab::Payload::kIcmpError);
  CHECK(error.to.ip == about.from.ip && error.bytes == size);
}

void check_passed(ByteView before, ByteView after) {
  const auto old_fields = lab::read_packet(before);
  const auto fields = lab::read_packet(after);
  CHECK(fields.fault == lab::PacketFault::kNone && fields.payload == old_fields.payload);
  CHECK(fields.bytes == old_fields.bytes && fields.hop_limit <= old_fields.hop_limit);
  CHECK(std::ranges::equal(before.subspan(fields.bytes), after.subspan(fields.bytes)));
  if (fields.is_v4 && header_sum(before, old_fields) == 0xffff) {
    CHECK(header_sum(after, fields) == 0xffff);
  }
  if (has_right_payload(before, old_fields)) CHECK(has_right_payload(after, fields));
}

void translate(lab::PacketTranslator& translator, ByteView packet, lab::Side from, TimePoint now) {
  check_error(packet);
  Bytes changed = to_bytes(packet);  // An exact copy, so that a sanitizer sees reads past its end.
  const lab::Translation result = translator.translate(changed, from, now);
  if (result.dropped) {
    CHECK(std::ranges::equal(changed, packet));
    if (result.dropped == lab::PacketDrop::kPoliced) {
      const auto fields = lab::read_packet(packet);
      CHECK(fields.fault == lab::PacketFault::kNone && fields.payload == lab::Payload::kUdp);
    }
    return;
  }
  CHECK(result.bytes <= changed.size());
  check_passed(packet, changed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  ByteView rest = std::as_bytes(std::span(data, size)).subspan(1);
  lab::PacketTranslator translator(options_of(data[0]), Random(1));
  TimePoint now{};
  for (std::size_t i = 0; i < kPacketsMax && rest.size() >= 3; ++i) {
    const auto control = std::to_integer<std::uint8_t>(rest[0]);
    const std::size_t length = std::min<std::size_t>(lab::word_at(rest, 1), rest.size() - 3);
    now += std::chrono::seconds(control >> 1);
    const auto from = control % 2 == 0 ? lab::Side::kInside : lab::Side::kOutside;
    translate(translator, rest.subspan(3, length), from, now);
    rest = rest.subspan(3 + length);
  }
  return 0;
}
