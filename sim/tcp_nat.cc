#include "sim/tcp_nat.h"

namespace openp2p::sim {

std::size_t TcpNat::Hash::operator()(const Key& key) const noexcept {
  const std::hash<Address> hash;
  return hash(key.internal) * 0x9e3779b97f4a7c15 + hash(key.remote);
}

bool TcpNat::is_stateless() const {
  return table_.options().is_firewall && table_.options().filtering == NatFiltering::kNone;
}

NatVerdict TcpNat::outbound(const Address& from, const Address& to, const TcpHeader& segment,
                            TimePoint now) {
  if (is_stateless()) return table_.outbound(from, to, now);
  expire(now);
  const bool opens = segment.is_syn && !segment.is_ack;
  const NatVerdict refused{NatAction::kDrop, from, to, NatRefusal::kUnsolicited};
  if (!opens && !is_known({from, to})) return refused;
  const NatVerdict verdict = table_.outbound(from, to, now);
  if (verdict.action == NatAction::kDrop || verdict.action == NatAction::kReject) return verdict;
  if (!track({from, to}, segment, /*is_outbound=*/true, now)) return refused;
  if (verdict.action != NatAction::kHairpin) return verdict;
  if (!opens && !is_known({verdict.to, verdict.from})) return refused;
  if (!track({verdict.to, verdict.from}, segment, /*is_outbound=*/false, now)) return refused;
  return verdict;
}

NatVerdict TcpNat::inbound(const Address& from, const Address& to, const TcpHeader& segment,
                           TimePoint now) {
  if (is_stateless()) return table_.inbound(from, to, now);
  expire(now);
  const bool opens = segment.is_syn && !segment.is_ack;
  const NatVerdict refused{NatAction::kDrop, from, to, NatRefusal::kUnsolicited};
  if (!opens && !table_.internal_of(to, from, now)) return refused;
  const NatVerdict verdict = table_.inbound(from, to, now);
  if (verdict.action != NatAction::kForward) return verdict;
  const Key key{verdict.to, from};
  if (!opens && !is_known(key)) return refused;
  if (!track(key, segment, /*is_outbound=*/false, now)) {
    return {NatAction::kDrop, from, to, NatRefusal::kNoPort};
  }
  return verdict;
}

void TcpNat::reset() {
  flows_.clear();
  alive_.clear();
}

void TcpNat::expire(TimePoint now) {
  alive_.expire(now, [this](const Key& key) { flows_.erase(key); });
}

void TcpNat::note(Flow& flow, const TcpHeader& segment, bool is_outbound) {
  // A SYN on a closed connection is the first one of the next.
  if (segment.is_syn && !segment.is_ack && flow.is_closed) flow = {};
  if (segment.is_syn) (is_outbound ? flow.has_syn_out : flow.has_syn_in) = true;
  if (segment.is_fin) (is_outbound ? flow.has_fin_out : flow.has_fin_in) = true;
  const bool is_answered = flow.has_syn_out && flow.has_syn_in;
  if (is_answered && segment.is_ack && !segment.is_syn) flow.is_established = true;
  if (segment.is_rst || (flow.has_fin_out && flow.has_fin_in)) flow.is_closed = true;
}

bool TcpNat::track(const Key& key, const TcpHeader& segment, bool is_outbound, TimePoint now) {
  Flow flow;
  if (const auto known = flows_.find(key); known != flows_.end()) flow = known->second;
  note(flow, segment, is_outbound);
  const Duration lifetime = flow.is_closed        ? timeouts_.closed
                            : flow.is_established ? timeouts_.established
                                                  : timeouts_.transitory;
  if (!table_.set_flow_end(key.internal, key.remote, now + lifetime)) return false;
  flows_[key] = flow;
  alive_.set(key, now + lifetime);
  return true;
}

}  // namespace openp2p::sim
