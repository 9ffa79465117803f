#pragma once

#include <cstddef>
#include <unordered_map>

#include "base/address.h"
#include "base/time.h"
#include "sim/expiring_set.h"
#include "sim/nat_table.h"
#include "sim/packet.h"

namespace openp2p::sim {

/// How long a NAT remembers a TCP connection that is silent (RFC 5382 REQ-5).
struct TcpTimeouts {
  Duration transitory = std::chrono::minutes(4);     ///< Not established yet.
  Duration established = std::chrono::minutes(124);  ///< 2 hours and 4 minutes.
  Duration closed = std::chrono::minutes(4);         ///< After a RST, or a FIN each way.
};

/// Linux: nf_conntrack_tcp_timeout_syn_sent, _established and _close.
inline constexpr TcpTimeouts kNetfilterTcpTimeouts{.transitory = std::chrono::seconds(120),
                                                   .established = std::chrono::hours(5 * 24),
                                                   .closed = std::chrono::seconds(10)};

/// What a NAT or stateful firewall does with TCP beyond addresses (RFC 5382): only a SYN makes a
/// mapping or a flow, and the state of the connection decides how long it stays.
///
/// A SYN that meets one of its own kind on the way (simultaneous open, RFC 5382 REQ-2) passes as
/// any other packet of its flow. Pure, as NatTable, which it uses and which outlives it. Threading:
/// one owner.
class TcpNat {
 public:
  TcpNat(NatTable& table, const TcpTimeouts& timeouts) : table_(table), timeouts_(timeouts) {}

  NatVerdict outbound(const Address& from, const Address& to, const TcpHeader& segment,
                      TimePoint now);
  NatVerdict inbound(const Address& from, const Address& to, const TcpHeader& segment,
                     TimePoint now);
  /// With NatTable::reset().
  void reset();

 private:
  struct Key {
    Address internal;
    Address remote;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  struct Flow {
    bool has_syn_out = false;
    bool has_syn_in = false;
    bool has_fin_out = false;
    bool has_fin_in = false;
    bool is_established = false;
    bool is_closed = false;
  };

  bool is_stateless() const;
  void expire(TimePoint now);
  bool is_known(const Key& key) const { return flows_.contains(key); }
  static void note(Flow& flow, const TcpHeader& segment, bool is_outbound);
  bool track(const Key& key, const TcpHeader& segment, bool is_outbound, TimePoint now);

  NatTable& table_;
  const TcpTimeouts timeouts_;
  std::unordered_map<Key, Flow, Hash> flows_;  // Never iterated.
  ExpiringSet<Key, Hash> alive_;
};

}  // namespace openp2p::sim
