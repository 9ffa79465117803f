#include "sim/pcp_service.h"

#include <algorithm>
#include <set>

namespace openp2p::sim {
namespace {

std::uint32_t seconds_of(Duration duration) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

}  // namespace

std::size_t PcpService::on_datagram(const Address& from, ByteView datagram, MutableByteView out,
                                    TimePoint now) {
  const auto request = nat::decode_pcp(datagram);
  if (!request || request->is_response) return 0;
  ++requests_;
  return nat::encode_pcp(answer(*request, from, now), out);
}

std::size_t PcpService::restart(MutableByteView out, TimePoint now) {
  started_at_ = now;
  owners_.clear();
  tcp_owners_.clear();
  nat::PcpMessage announcement;
  announcement.is_response = true;
  announcement.opcode = nat::PcpOpcode::kAnnounce;
  return nat::encode_pcp(announcement, out);
}

std::vector<IpAddress> PcpService::clients() const {
  std::set<IpAddress> found;
  for (const auto& [internal, nonce] : owners_) found.insert(internal.ip);
  for (const auto& [internal, nonce] : tcp_owners_) found.insert(internal.ip);
  return {found.begin(), found.end()};
}

nat::PcpMessage PcpService::answer(const nat::PcpMessage& request, const Address& from,
                                   TimePoint now) {
  nat::PcpMessage answer = request;
  answer.is_response = true;
  answer.client = {};
  answer.epoch_s = seconds_of(now - started_at_);
  answer.result = options_.refuses_with;
  if (answer.result == nat::PcpResult::kSuccess && request.client != from.ip) {
    answer.result = nat::PcpResult::kAddressMismatch;
  }
  if (answer.result == nat::PcpResult::kSuccess && request.opcode == nat::PcpOpcode::kMap) {
    answer.result = map(answer, from, now);
  }
  if (answer.result != nat::PcpResult::kSuccess) answer.lifetime_s = options_.error_lifetime_s;
  return answer;
}

nat::PcpResult PcpService::map(nat::PcpMessage& answer, const Address& from, TimePoint now) {
  const bool is_udp = answer.map.protocol == nat::PcpProtocol::kUdp;
  NatTable* table = is_udp ? udp_ : tcp_;
  if (table == nullptr) return nat::PcpResult::kUnsupportedProtocol;
  const Address internal{from.ip, answer.map.internal_port};
  auto& owners = is_udp ? owners_ : tcp_owners_;
  const auto owner = owners.find(internal);
  const bool is_known = owner != owners.end() && table->statics(now) != 0;
  if (is_known && owner->second != answer.map.nonce) return nat::PcpResult::kNotAuthorized;
  if (answer.lifetime_s == 0) {
    table->remove_static(internal);
    owners.erase(internal);
    return nat::PcpResult::kSuccess;
  }
  const Duration lifetime =
      std::min<Duration>(std::chrono::seconds(answer.lifetime_s), options_.lifetime_max);
  const auto external = table->add_static(internal, answer.map.external.port, now + lifetime, now);
  if (!external) return nat::PcpResult::kNoResources;
  owners[internal] = answer.map.nonce;
  answer.map.external = *external;
  answer.lifetime_s = seconds_of(lifetime);
  return nat::PcpResult::kSuccess;
}

}  // namespace openp2p::sim
