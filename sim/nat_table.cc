#include "sim/nat_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::sim {
namespace {

std::size_t mix(std::size_t a, std::size_t b) { return (a ^ (b >> 7)) * 0x9e3779b97f4a7c15 + b; }
std::size_t hash(const Address& address) { return std::hash<Address>{}(address); }
Address without_port(const Address& address) { return {.ip = address.ip}; }

}  // namespace

std::size_t NatTable::Hash::operator()(const MappingKey& key) const noexcept {
  return mix(hash(key.internal), hash(key.remote));
}
std::size_t NatTable::Hash::operator()(const FlowKey& key) const noexcept {
  return mix(key.mapping, hash(key.remote));
}
std::size_t NatTable::Hash::operator()(const ReservedKey& key) const noexcept {
  return mix(hash(key.external), hash(key.remote));
}

NatTable::NatTable(const NatOptions& options, std::vector<IpAddress> external_addresses,
                   Random random)
    : options_(options),
      external_addresses_(std::move(external_addresses)),
      ports_(options, random) {
  CHECK(options.is_firewall || !external_addresses_.empty());
}

void NatTable::reset(std::vector<IpAddress> external_addresses) {
  CHECK(options_.is_firewall || !external_addresses.empty());
  external_addresses_ = std::move(external_addresses);
  ports_.clear();
  mappings_.clear();
  statics_.clear();
  by_key_.clear();
  by_external_.clear();
  alive_.clear();
  flows_.clear();
  addresses_.clear();
  reserved_.clear();
}

bool NatTable::is_external(const IpAddress& ip) const {
  return std::ranges::find(external_addresses_, ip) != external_addresses_.end();
}

NatVerdict NatTable::outbound(const Address& from, const Address& to, TimePoint now) {
  expire(now);
  const bool is_hairpin = !options_.is_firewall && is_external(to.ip);
  if (is_hairpin && options_.hairpinning == Hairpinning::kNone) {
    return {NatAction::kDrop, from, to, NatRefusal::kNoHairpin};
  }
  const Mapping* mapping = obtain(from, to);
  if (mapping == nullptr) return {NatAction::kDrop, from, to, NatRefusal::kNoPort};
  touch_outbound(*mapping, to, now);
  if (!is_hairpin) return {NatAction::kForward, mapping->external, to};

  // RFC 4787 section 6: the packet leaves and enters at once, so the filter sees its external
  // source.
  NatVerdict verdict = enter(mapping->external, to, now);
  if (verdict.action == NatAction::kReject) verdict.from = from;
  if (verdict.action != NatAction::kForward) return verdict;
  verdict.action = NatAction::kHairpin;
  if (options_.hairpinning == Hairpinning::kInternalSource) verdict.from = from;
  return verdict;
}

NatVerdict NatTable::inbound(const Address& from, const Address& to, TimePoint now) {
  expire(now);
  return enter(from, to, now);
}

NatVerdict NatTable::enter(const Address& from, const Address& to, TimePoint now) {
  if (const auto found = statics_.find(to); found != statics_.end()) {
    return admit(from, to, found->second.internal, now);
  }
  const Mapping* mapping = find_inbound(to, from);
  if (mapping == nullptr && options_.filtering == NatFiltering::kNone) return expose(from, to, now);
  if (mapping == nullptr || !permits(*mapping, from)) return refuse(from, to, now);
  touch_inbound(*mapping, from, now);
  return {NatAction::kForward, from, mapping->key.internal};
}

NatVerdict NatTable::admit(const Address& from, const Address& external, const Address& internal,
                           TimePoint now) {
  const MappingKey key{internal, from};
  const Mapping* mapping = find(key);
  if (mapping != nullptr && mapping->external != external) {
    remove(mapping->id);  // The same two ends by another port: a tracker keeps one of the two.
    mapping = nullptr;
  }
  if (mapping == nullptr && is_full())
    return {NatAction::kDrop, from, external, NatRefusal::kNoPort};
  if (mapping == nullptr) mapping = create(key, external, /*is_allocated=*/false);
  touch_outbound(*mapping, from, now);
  return {NatAction::kForward, from, internal};
}

NatVerdict NatTable::expose(const Address& from, const Address& to, TimePoint now) {
  if (options_.is_firewall) return {NatAction::kForward, from, to};
  if (!options_.exposed_host) return refuse(from, to, now);
  const Address internal{*options_.exposed_host, to.port};
  const MappingKey key{internal, dependence_on(from)};
  if (is_full() || find(key) != nullptr) return refuse(from, to, now);
  const Mapping* mapping = create(key, to, /*is_allocated=*/false);
  touch_outbound(*mapping, from, now);  // So that the answer leaves by the same port.
  return {NatAction::kForward, from, internal};
}

NatVerdict NatTable::refuse(const Address& from, const Address& to, TimePoint now) {
  switch (options_.unsolicited) {
    case Unsolicited::kDrop:
      break;
    case Unsolicited::kReject:
      return {NatAction::kReject, from, to, NatRefusal::kUnsolicited};
    case Unsolicited::kRemap:
      if (!is_full() || reserved_.contains({to, from})) {
        reserved_.touch({to, from}, now + options_.remap_timeout);
        flows_peak_ = std::max(flows_peak_, flows_.size() + reserved_.size());
      }
      break;
  }
  return {NatAction::kDrop, from, to, NatRefusal::kUnsolicited};
}

Address NatTable::dependence_on(const Address& remote) const {
  switch (options_.mapping) {
    case NatMapping::kEndpointIndependent:
      return {};
    case NatMapping::kAddressDependent:
      return without_port(remote);
    case NatMapping::kAddressAndPortDependent:
      return remote;
  }
  return {};
}

bool NatTable::permits(const Mapping& mapping, const Address& remote) const {
  switch (options_.filtering) {
    case NatFiltering::kNone:
    case NatFiltering::kEndpointIndependent:
      return true;
    case NatFiltering::kAddressDependent:
      return addresses_.contains({mapping.id, without_port(remote)});
    case NatFiltering::kAddressAndPortDependent:
      return flows_.contains({mapping.id, remote});
  }
  return false;
}

bool NatTable::is_free(const Address& external, const Address& dependence,
                       const Address& remote) const {
  if (reserved_.contains({external, remote}) || statics_.contains(external)) return false;
  const auto users = by_external_.find(external);
  if (users == by_external_.end()) return true;
  if (options_.collision == PortCollision::kAnother) return false;
  if (dependence == Address{}) return true;
  return std::ranges::none_of(
      users->second, [&](MappingId id) { return mappings_.at(id).key.remote == dependence; });
}

const NatTable::Mapping* NatTable::find(const MappingKey& key) const {
  const auto id = by_key_.find(key);
  return id == by_key_.end() ? nullptr : &mappings_.at(id->second);
}

const NatTable::Mapping* NatTable::find_outbound(const Address& internal,
                                                 const Address& remote) const {
  // Where a reservation got in the way, one remote has a mapping of its own, see obtain(); so has
  // one that came in through a static mapping.
  if (options_.unsolicited == Unsolicited::kRemap || !statics_.empty()) {
    if (const Mapping* own = find({internal, remote})) return own;
  }
  const Mapping* mapping = find({internal, dependence_on(remote)});
  if (mapping != nullptr && reserved_.contains({mapping->external, remote})) return nullptr;
  return mapping;
}

const NatTable::Mapping* NatTable::find_inbound(const Address& external,
                                                const Address& remote) const {
  const auto users = by_external_.find(external);
  if (users == by_external_.end()) return nullptr;
  for (const MappingId id : users->second) {  // More than one only where ports are overloaded.
    const Mapping& mapping = mappings_.at(id);
    if (users->second.size() > 1 && flows_.contains({id, remote})) return &mapping;
  }
  return &mappings_.at(users->second.back());
}

const NatTable::Mapping* NatTable::obtain(const Address& internal, const Address& remote) {
  const Mapping* mapping = find_outbound(internal, remote);
  if (mapping != nullptr) {
    return is_full() && !flows_.contains({mapping->id, remote}) ? nullptr : mapping;
  }
  if (is_full() || mappings_.size() >= options_.flows_max) return nullptr;
  MappingKey key{internal, dependence_on(remote)};
  if (options_.is_firewall) return create(key, internal, /*is_allocated=*/false);
  if (find(key) != nullptr) key.remote = remote;  // Its port is reserved towards this remote.
  const auto external = ports_.allocate(internal, external_addresses_, [&](const Address& wanted) {
    return is_free(wanted, key.remote, remote);
  });
  return external ? create(key, *external, /*is_allocated=*/true) : nullptr;
}

const NatTable::Mapping* NatTable::create(const MappingKey& key, const Address& external,
                                          bool is_allocated) {
  const MappingId id = ++last_id_;
  CHECK(by_key_.emplace(key, id).second);
  by_external_[external].push_back(id);
  const auto entry = mappings_.emplace(id, Mapping{key, external, id, is_allocated}).first;
  mappings_peak_ = std::max(mappings_peak_, mappings_.size());
  return &entry->second;
}

void NatTable::touch_outbound(const Mapping& mapping, const Address& remote, TimePoint now) {
  const TimePoint expires_at = now + options_.timeout;
  alive_.touch(mapping.id, expires_at);
  count_flow({mapping.id, remote});
  flows_.touch({mapping.id, remote}, expires_at);
  if (options_.filtering == NatFiltering::kAddressDependent) {
    addresses_.touch({mapping.id, without_port(remote)}, expires_at);
  }
  flows_peak_ = std::max(flows_peak_, flows_.size() + reserved_.size());
}

bool NatTable::set_flow_end(const Address& internal, const Address& remote, TimePoint ends_at) {
  const Mapping* mapping = find_outbound(internal, remote);
  if (mapping == nullptr) return false;
  const FlowKey flow{mapping->id, remote};
  if (is_full() && !flows_.contains(flow)) return false;
  count_flow(flow);
  flows_.set(flow, ends_at);
  flows_peak_ = std::max(flows_peak_, flows_.size() + reserved_.size());
  return true;
}

void NatTable::count_flow(const FlowKey& flow) {
  if (!flows_.contains(flow)) ++mappings_.at(flow.mapping).flows;
}

void NatTable::on_flow_ended(const FlowKey& flow) {
  const auto mapping = mappings_.find(flow.mapping);
  if (mapping == mappings_.end()) return;
  if (--mapping->second.flows == 0 && !alive_.contains(flow.mapping)) remove(flow.mapping);
}

void NatTable::touch_inbound(const Mapping& mapping, const Address& remote, TimePoint now) {
  if (!options_.is_refreshed_by_inbound) return;
  const TimePoint expires_at = now + options_.timeout;
  alive_.touch(mapping.id, expires_at);
  if (flows_.contains({mapping.id, remote})) flows_.touch({mapping.id, remote}, expires_at);
  const FlowKey address{mapping.id, without_port(remote)};
  if (addresses_.contains(address)) addresses_.touch(address, expires_at);
}

void NatTable::expire(TimePoint now) {
  flows_.expire(now, [this](const FlowKey& flow) { on_flow_ended(flow); });
  addresses_.expire(now);
  reserved_.expire(now);
  alive_.expire(now, [this](MappingId id) {
    const auto mapping = mappings_.find(id);
    if (mapping != mappings_.end() && mapping->second.flows == 0) remove(id);
  });
  std::erase_if(statics_, [now](const auto& entry) { return entry.second.expires_at <= now; });
}

std::optional<Address> NatTable::add_static(const Address& internal, std::uint16_t wanted_port,
                                            TimePoint expires_at, TimePoint now) {
  expire(now);
  for (auto& [external, known] : statics_) {
    if (known.internal != internal) continue;
    known.expires_at = expires_at;
    return external;
  }
  const auto is_taken = [this](const Address& external) {
    return statics_.contains(external) || by_external_.contains(external);
  };
  std::optional<Address> external;
  if (options_.is_firewall) {
    external = internal;
  } else {
    constexpr std::uint32_t kFirst = 1'024;
    constexpr std::uint32_t kCount = 65'536 - kFirst;
    const std::uint32_t start = std::max<std::uint32_t>(wanted_port, kFirst) - kFirst;
    for (std::uint32_t i = 0; i < kCount && !external; ++i) {
      const auto port = static_cast<std::uint16_t>((start + i) % kCount + kFirst);
      const Address candidate{external_addresses_.front(), port};
      if (!is_taken(candidate)) external = candidate;
    }
  }
  if (external) statics_[*external] = {internal, expires_at};
  return external;
}

void NatTable::remove_static(const Address& internal) {
  std::erase_if(statics_, [&](const auto& entry) { return entry.second.internal == internal; });
}

std::size_t NatTable::statics(TimePoint now) {
  expire(now);
  return statics_.size();
}

void NatTable::remove(MappingId id) {
  const auto mapping = mappings_.find(id);
  if (mapping == mappings_.end()) return;  // Replaced before its time, see admit().
  const auto users = by_external_.find(mapping->second.external);
  std::erase(users->second, id);
  if (users->second.empty()) by_external_.erase(users);
  by_key_.erase(mapping->second.key);
  if (mapping->second.is_allocated) ports_.release(mapping->second.external);
  mappings_.erase(mapping);
}

std::optional<Address> NatTable::internal_of(const Address& external, const Address& remote,
                                             TimePoint now) {
  expire(now);
  const Mapping* mapping = find_inbound(external, remote);
  if (mapping == nullptr || !flows_.contains({mapping->id, remote})) return std::nullopt;
  return mapping->key.internal;
}

std::optional<Address> NatTable::external_of(const Address& internal, const Address& remote,
                                             TimePoint now) {
  expire(now);
  const Mapping* mapping = find_outbound(internal, remote);
  if (mapping == nullptr) return std::nullopt;
  return mapping->external;
}

std::size_t NatTable::mappings(TimePoint now) {
  expire(now);
  return mappings_.size();
}

std::size_t NatTable::flows(TimePoint now) {
  expire(now);
  return flows_.size() + reserved_.size();
}

}  // namespace openp2p::sim
