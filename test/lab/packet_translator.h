#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/time.h"
#include "sim/nat_table.h"
#include "sim/policer.h"
#include "sim/router.h"
#include "sim/tcp_nat.h"
#include "test/lab/ip_packet.h"

namespace openp2p::lab {

enum class Side { kInside, kOutside };

/// Why a packet went no further.
enum class PacketDrop {
  kMalformed,
  kFragment,        ///< See PacketFault::kFragment.
  kUnknownPayload,  ///< Neither UDP, TCP, ICMP's echo nor its errors.
  kNoRoute,         ///< Of one link only (multicast, link-local), or to an address not ours.
  kHops,            ///< Its hop limit ended here.
  kUdpBlocked,
  kPoliced,  ///< More UDP than its rate.
  kUnsolicited,
  kNoHairpin,
  kNoPort,
};
inline constexpr std::size_t kPacketDrops = 10;
std::string_view packet_drop_text(PacketDrop drop);

struct TranslatorOptions {
  sim::RouterOptions router = {};  ///< v6 may be a firewall only.
  std::vector<IpAddress> external_addresses = {};
  Duration echo_timeout = std::chrono::seconds(60);  ///< RFC 5508 REQ-1.
  bool counts_as_hop = true;  ///< False: its router counts already, and answers at the end.
};

/// What became of a packet. A dropped one is as it was, so that an error can quote it.
struct Translation {
  std::optional<PacketDrop> dropped;
  std::optional<IcmpErrorKind> report;  ///< What its sender is to be told.
  Side to = Side::kOutside;             ///< Where it goes: a hairpin's goes back.
  std::size_t bytes = 0;
};

/// Applies a simulated NAT's decisions to real packets in place: UDP, TCP and ICMP echo each have a
/// sim::NatTable of their own, TCP sim::TcpNat's tracking too; ICMP errors follow the packet they
/// quote (RFC 5508 section 4). UDP is policed each way by itself, as sim::Router does.
///
/// Pure: bytes in, bytes out; takes any bytes. Time must not run backwards. One owner.
class PacketTranslator {
 public:
  PacketTranslator(const TranslatorOptions& options, Random random);

  Translation translate(MutableByteView packet, Side from, TimePoint now);
  /// A reboot: every mapping is lost.
  void reset();

  const TranslatorOptions& options() const { return options_; }
  std::uint64_t drops(PacketDrop drop) const { return drops_[static_cast<std::size_t>(drop)]; }
  std::uint64_t forwarded(Side from) const { return forwarded_[static_cast<std::size_t>(from)]; }

  struct TableSizes {
    std::size_t mappings = 0, flows = 0, mappings_peak = 0, flows_peak = 0;
    TableSizes& operator+=(const TableSizes& other);
  };
  TableSizes udp_sizes(TimePoint now) { return sizes(Protocol::kUdp, now); }
  TableSizes tcp_sizes(TimePoint now) { return sizes(Protocol::kTcp, now); }
  TableSizes echo_sizes(TimePoint now) { return sizes(Protocol::kEcho, now); }

  /// For port mapping; nullptr where packets pass as they are.
  sim::NatTable* udp_table(bool is_v4);
  sim::NatTable* tcp_table(bool is_v4);

 private:
  enum class Protocol { kUdp, kTcp, kEcho };
  struct Tables {
    Tables(const sim::NatOptions& options, const sim::NatOptions& tcp_options,
           const TranslatorOptions& all, Random& random);
    sim::NatTable& of(Protocol protocol);
    sim::NatVerdict judge(const PacketFields& fields, Side from, TimePoint now);
    void reset(const std::vector<IpAddress>& external);
    sim::NatTable udp, tcp, echo;
    sim::TcpNat tcp_flows;
  };

  static Protocol protocol_of(Payload payload);
  std::optional<PacketDrop> obstacle(const PacketFields& fields) const;
  bool is_policed(const PacketFields& fields, Side from, TimePoint now);
  Tables* tables_of(const PacketFields& fields);
  Translation translate_datagram(MutableByteView packet, const PacketFields& fields, Side from,
                                 TimePoint now);
  Translation translate_error(MutableByteView packet, const PacketFields& fields, Side from,
                              TimePoint now);
  Translation forward(MutableByteView packet, const PacketFields& fields, Side to);
  TableSizes sizes(Protocol protocol, TimePoint now);

  const TranslatorOptions options_;
  std::optional<Tables> v4_;
  std::optional<Tables> v6_;
  std::array<std::optional<sim::Policer>, 2> policers_;  ///< By the side packets come from.
  std::array<std::uint64_t, kPacketDrops> drops_{};
  std::array<std::uint64_t, 2> forwarded_{};
};

}  // namespace openp2p::lab
