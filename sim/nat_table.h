#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/random.h"
#include "base/time.h"
#include "sim/expiring_set.h"
#include "sim/nat_behaviour.h"
#include "sim/port_allocator.h"

namespace openp2p::sim {

enum class NatAction { kForward, kHairpin, kDrop, kReject };
enum class NatRefusal { kNone, kUnsolicited, kNoHairpin, kNoPort };

/// What to do with one packet: addresses as they shall be. kHairpin sends it back inside; kReject
/// drops it with an ICMP error to its sender.
struct NatVerdict {
  NatAction action = NatAction::kDrop;
  Address from;
  Address to;
  NatRefusal refusal = NatRefusal::kNone;
};

/// The decisions of one NAT or stateful firewall about one protocol (RFC 4787 is about UDP).
///
/// Pure: it takes addresses and times and knows nothing of packets or worlds, so it also serves a
/// box that translates real ones. Its random choices come from the generator it is given. Time must
/// not run backwards. Threading: one owner.
///
/// A *mapping* is an external endpoint in use for an internal one. A *flow* is what a connection
/// tracker keeps: one a mapping and remote address and port, in either case until it is silent for
/// NatOptions::timeout.
class NatTable {
 public:
  NatTable(const NatOptions& options, std::vector<IpAddress> external_addresses, Random random);

  NatVerdict outbound(const Address& from, const Address& to, TimePoint now);
  NatVerdict inbound(const Address& from, const Address& to, TimePoint now);

  /// The internal endpoint behind a packet that went from `external` to `remote`, for an ICMP error
  /// that came back about it. Refreshes nothing and ends nothing (RFC 4787 REQ-10).
  std::optional<Address> internal_of(const Address& external, const Address& remote, TimePoint now);
  /// The endpoint to which `remote` sent what arrived at `internal`, for ICMP errors going out.
  std::optional<Address> external_of(const Address& internal, const Address& remote, TimePoint now);

  /// A port mapping or, in a firewall, a pinhole, as a router makes on request: whoever sends to
  /// the address returned reaches `internal`, whatever the filtering, and the answers leave from
  /// there. Other packets from `internal` go on as before. `wanted_port` is taken if it is free; a
  /// repeated call renews. nullopt: no port is free.
  std::optional<Address> add_static(const Address& internal, std::uint16_t wanted_port,
                                    TimePoint expires_at, TimePoint now);
  void remove_static(const Address& internal);
  std::size_t statics(TimePoint now);

  /// Sets when a flow ends, instead of after NatOptions::timeout: that of a TCP connection depends
  /// on its state (RFC 5382 REQ-5). A mapping lives at least as long as its flows. False: there is
  /// no such mapping, or no room for the flow.
  bool set_flow_end(const Address& internal, const Address& remote, TimePoint ends_at);

  /// A reboot: every mapping is lost, and the addresses may be others.
  void reset(std::vector<IpAddress> external_addresses);

  const NatOptions& options() const { return options_; }
  const std::vector<IpAddress>& external_addresses() const { return external_addresses_; }
  bool is_external(const IpAddress& ip) const;

  std::size_t mappings(TimePoint now);
  std::size_t flows(TimePoint now);                             ///< Also Unsolicited::kRemap's.
  std::size_t mappings_peak() const { return mappings_peak_; }  ///< The most there ever were.
  std::size_t flows_peak() const { return flows_peak_; }

 private:
  using MappingId = std::uint64_t;  // Never reused.
  struct MappingKey {
    Address internal;
    Address remote;  // What the mapping depends on; the rest is unset.
    friend auto operator<=>(const MappingKey&, const MappingKey&) = default;
  };
  struct Mapping {
    MappingKey key;
    Address external;
    MappingId id = 0;
    bool is_allocated = false;  // By ports_, which gets it back.
    std::size_t flows = 0;
  };
  struct FlowKey {
    MappingId mapping = 0;
    Address remote;
    friend auto operator<=>(const FlowKey&, const FlowKey&) = default;
  };
  struct ReservedKey {
    Address external;
    Address remote;
    friend auto operator<=>(const ReservedKey&, const ReservedKey&) = default;
  };
  struct Static {
    Address internal;
    TimePoint expires_at;
  };
  struct Hash {
    std::size_t operator()(const MappingKey& key) const noexcept;
    std::size_t operator()(const FlowKey& key) const noexcept;
    std::size_t operator()(const ReservedKey& key) const noexcept;
  };

  Address dependence_on(const Address& remote) const;
  bool is_free(const Address& external, const Address& dependence, const Address& remote) const;
  bool permits(const Mapping& mapping, const Address& remote) const;
  bool is_full() const { return flows_.size() + reserved_.size() >= options_.flows_max; }
  const Mapping* find(const MappingKey& key) const;
  const Mapping* find_outbound(const Address& internal, const Address& remote) const;
  const Mapping* find_inbound(const Address& external, const Address& remote) const;
  const Mapping* obtain(const Address& internal, const Address& remote);
  const Mapping* create(const MappingKey& key, const Address& external, bool is_allocated);
  void touch_outbound(const Mapping& mapping, const Address& remote, TimePoint now);
  void touch_inbound(const Mapping& mapping, const Address& remote, TimePoint now);
  NatVerdict enter(const Address& from, const Address& to, TimePoint now);
  NatVerdict admit(const Address& from, const Address& external, const Address& internal,
                   TimePoint now);
  NatVerdict expose(const Address& from, const Address& to, TimePoint now);
  NatVerdict refuse(const Address& from, const Address& to, TimePoint now);
  void count_flow(const FlowKey& flow);
  void on_flow_ended(const FlowKey& flow);
  void expire(TimePoint now);
  void remove(MappingId id);

  const NatOptions options_;
  std::vector<IpAddress> external_addresses_;
  PortAllocator ports_;
  // The hash maps are never iterated: their order is not a function of the seed.
  std::unordered_map<MappingId, Mapping> mappings_;
  std::unordered_map<MappingKey, MappingId, Hash> by_key_;
  std::unordered_map<Address, std::vector<MappingId>> by_external_;  // Oldest first.
  std::map<Address, Static> statics_;                                // By external endpoint.
  ExpiringSet<MappingId> alive_;
  ExpiringSet<FlowKey, Hash> flows_;
  ExpiringSet<FlowKey, Hash> addresses_;  // Port 0: for address-dependent filtering.
  ExpiringSet<ReservedKey, Hash> reserved_;
  MappingId last_id_ = 0;
  std::size_t mappings_peak_ = 0;
  std::size_t flows_peak_ = 0;
};

}  // namespace openp2p::sim
