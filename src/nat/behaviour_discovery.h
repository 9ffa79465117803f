#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/stun_transaction.h"

/// Finds out how the NAT in front of one socket behaves.
///
/// Source: RFC 5780 section 4, with the words of RFC 4787. A server with two IP addresses and two
/// ports tells everything; one with two ports tells what depends on the port, and what stays open
/// is reported as open.
namespace openp2p::nat {

/// On what a mapping, or the filter of what comes in, depends (RFC 4787 sections 4.1 and 5).
enum class Dependence {
  kUnknown,
  kEndpointIndependent,
  kIndependentOrAddressDependent,  ///< One server address cannot tell these two apart.
  kAddressDependent,
  kAddressAndPortDependent,
};

/// How external ports are chosen (RFC 4787 section 4.2), as far as a few mappings show.
enum class PortAllocation {
  kUnknown,     ///< Changed, and there was but one mapping to see.
  kPreserved,   ///< The external port is the internal one.
  kSequential,  ///< Each new mapping is a small constant away from the one before: predictable.
  kBlocks,      ///< Anywhere in a range of ports that belongs to this node: a carrier's way.
  kNoPattern,
};

struct BehaviourReport {
  Address server;
  std::optional<Address> reflexive;  ///< nullopt: no answer, so UDP to this server is blocked.
  bool is_translated = false;        ///< False: no NAT, maybe a firewall (see filtering).
  Dependence mapping = Dependence::kUnknown;
  Dependence filtering = Dependence::kUnknown;
  std::optional<bool> hairpins;  ///< Datagrams to one's own reflexive address come back.
  PortAllocation ports = PortAllocation::kUnknown;
  std::optional<int> port_delta;  ///< Between mappings, where sequential.
  /// A datagram from a stranger makes a later mapping towards that stranger another one, though all
  /// else is endpoint-independent: Linux where it does not drop such datagrams at once. Who punches
  /// a hole there must send before the peer does.
  bool is_spoilt_by_unsolicited = false;
  bool is_address_changing = false;   ///< Mappings have different external IP addresses.
  bool is_payload_rewritten = false;  ///< Something on the path edits addresses in payloads.
  std::optional<Duration> rtt;
  std::vector<std::string> evidence;  ///< What was asked and seen, a line each, for people.

  bool is_udp_blocked() const { return !reflexive; }
};

std::string_view dependence_text(Dependence dependence);  ///< "endpoint-independent", ..
/// "no NAT", "full cone", "address-restricted cone", "port-restricted cone", "symmetric" and, where
/// the tests leave it open, what it may be. RFC 3489's names: people know them.
std::string_view classic_name(const BehaviourReport& report);
/// One line: RFC 4787's words first, then the classic name.
std::string describe(const BehaviourReport& report);

struct BehaviourDiscoveryConfig {
  std::uint32_t tag = 0;  ///< Begins all transaction ids.
  Address server;
  /// The server's other port at the same address, for servers that cannot tell (0: not known).
  std::uint16_t alternate_port = 0;
  /// The socket's own addresses, one for each interface: being seen as one of them means no NAT.
  std::vector<Address> local_addresses = {};
  /// Where the socket has sent to in the last minutes, other than `server`: a NAT that filters lets
  /// those in, so nothing that comes from there proves that it does not.
  std::vector<Address> opened = {};
  /// Of the first request. Gives up after 17.5 s, half of RFC 8489's time: a person is waiting.
  RetransmitSchedule schedule{.first = std::chrono::milliseconds(500),
                              .sends_max = 6,
                              .last_wait = std::chrono::seconds(2)};
};

/// The tests of one socket against one server: about 5 s through a NAT that filters, 1 s without.
///
/// Filtering is tested first, since a request to another address opens the filter for it. The
/// price: through a NAT that is spoilt by unsolicited datagrams, a server with one address sees a
/// symmetric NAT. With two addresses the other address' first port has sent nothing, and tells the
/// truth.
///
/// It wants a fresh socket. On one in use, what was sent before (also by an earlier discovery) has
/// opened filters: say so in `opened`, and filtering is reported as unknown instead of wrong.
/// Sans-I/O. At most 7 requests, each sent at most schedule.sends_max times. Threading: one owner.
class BehaviourDiscovery {
 public:
  BehaviourDiscovery(const BehaviourDiscoveryConfig& config, SecretSource& secrets, TimePoint now);

  /// True if the datagram belongs to this discovery; others are left alone.
  bool on_datagram(const Address& from, ByteView datagram, TimePoint now);
  void on_timeout(TimePoint now);
  std::size_t poll_datagram(Address& to, MutableByteView out, TimePoint now);  ///< 0: nothing.
  std::optional<TimePoint> next_timeout() const;

  bool is_done() const { return stage_ == Stage::kDone; }
  const BehaviourReport& report() const { return report_; }  ///< Complete when done.

 private:
  enum class Stage { kReach, kFilter, kMap, kHairpin, kDone };
  enum ProbeKind : std::size_t {
    kMain,        // To the server.
    kChangePort,  // To the server, to be answered from its other port.
    kChangeBoth,  // .. from its other address and port.
    kOtherIp,     // To the server's other address, same port.
    kOtherBoth,   // .. other address and port.
    kOtherPort,   // .. same address, other port.
    kHairpinned,  // To ourselves.
    kProbeCount
  };
  /// What became of a request to answer from elsewhere.
  enum class Arrival { kNotTold, kArrived, kSilence };

  void probe(ProbeKind kind, const Address& to, TimePoint now);
  void advance(TimePoint now);
  bool is_stage_over() const;
  void start_next(TimePoint now);
  void start_filtering(TimePoint now);
  bool start_mapping(TimePoint now);
  bool start_hairpin(TimePoint now);
  RetransmitSchedule schedule_of(ProbeKind kind) const;

  const std::optional<StunTransaction>& at(ProbeKind kind) const { return probes_[kind]; }
  std::optional<Address> seen_by(ProbeKind kind) const;
  std::optional<Address> other_address() const;
  std::uint16_t other_port() const;
  bool is_fit_target(const Address& address) const;
  Arrival arrival(ProbeKind kind) const;
  bool was_opened(ProbeKind kind) const;

  void conclude();
  Dependence conclude_mapping() const;
  Dependence conclude_filtering() const;
  void conclude_ports();
  void add_evidence(ProbeKind kind);

  BehaviourDiscoveryConfig config_;
  SecretSource& secrets_;
  Stage stage_ = Stage::kReach;
  std::array<std::optional<StunTransaction>, kProbeCount> probes_;
  std::optional<TimePoint> hairpinned_at_;
  BehaviourReport report_;
};

}  // namespace openp2p::nat
