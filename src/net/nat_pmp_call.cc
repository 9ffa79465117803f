#include "net/nat_pmp_call.h"

#include <arpa/inet.h>
#include <natpmp.h>
#include <poll.h>

#include <algorithm>
#include <cstring>

#include "net/clock.h"

namespace openp2p::net {
namespace {

constexpr Duration kLeaseMax = std::chrono::hours(24);

std::string failure_text(int error) {
  switch (error) {
    case NATPMP_TRYAGAIN:
    case NATPMP_ERR_NOGATEWAYSUPPORT:
    case NATPMP_ERR_RECVFROM:
      return "the gateway does not answer";
    case NATPMP_ERR_UNSUPPORTEDVERSION:
      return "the gateway speaks another version";
    case NATPMP_ERR_UNSUPPORTEDOPCODE:
      return "the gateway does not map ports of this protocol";
    case NATPMP_ERR_NOTAUTHORIZED:
      return "the gateway does not allow this device to map ports";
    case NATPMP_ERR_NETWORKFAILURE:
      return "the gateway has no external address at the moment";
    case NATPMP_ERR_OUTOFRESOURCES:
      return "the gateway has no room for another mapping";
    default:
      return "the gateway answered with an error that is not known";
  }
}

class NatPmp {
 public:
  NatPmp(const IpAddress& gateway, const BoundedWait& wait) : wait_(wait) {
    is_open_ = ::initnatpmp(&state_, /*forcegw=*/1, htonl(gateway.v4_bits())) == 0;
  }
  ~NatPmp() {
    if (is_open_) ::closenatpmp(&state_);
  }
  NatPmp(const NatPmp&) = delete;
  NatPmp& operator=(const NatPmp&) = delete;

  bool is_open() const { return is_open_; }

  /// 0 and the gateway's address, or libnatpmp's error.
  int external_address(IpAddress& external) {
    ::sendpublicaddressrequest(&state_);
    natpmpresp_t answer;
    const int error = await(NATPMP_RESPTYPE_PUBLICADDRESS, 0, answer);
    if (error == 0) external = IpAddress::v4(ntohl(answer.pnu.publicaddress.addr.s_addr));
    return error;
  }

  int map(const PortAsk& ask, std::uint32_t lease_s, natpmpresp_t& answer) {
    const bool is_udp = ask.transport == path::Transport::kUdp;
    // A port of 0 and a lease of 0: RFC 6886 section 3.4's way to remove.
    const std::uint16_t external = lease_s == 0 ? 0 : ask.external_port;
    ::sendnewportmappingrequest(&state_, is_udp ? NATPMP_PROTOCOL_UDP : NATPMP_PROTOCOL_TCP,
                                ask.internal_port, external, lease_s);
    const int type = is_udp ? NATPMP_RESPTYPE_UDPPORTMAPPING : NATPMP_RESPTYPE_TCPPORTMAPPING;
    return await(type, ask.internal_port, answer);
  }

 private:
  int await(int type, std::uint16_t internal_port, natpmpresp_t& answer) {
    const TimePoint end = monotonic_now() + kNatPmpRequestMax;
    for (int reads = 0; reads < kNatPmpReadsMax && !wait_.is_over(); ++reads) {
      timeval patience{};
      if (::getnatpmprequesttimeout(&state_, &patience) != 0) patience = {0, 250'000};
      const TimePoint next = monotonic_now() + std::chrono::seconds(patience.tv_sec) +
                             std::chrono::microseconds(patience.tv_usec);
      wait_.wait(state_.s, POLLIN, std::min(end, next));
      if (monotonic_now() >= end) return NATPMP_TRYAGAIN;
      const int result = ::readnatpmpresponseorretry(&state_, &answer);
      if (result == NATPMP_TRYAGAIN) continue;
      const bool is_mapping = type != NATPMP_RESPTYPE_PUBLICADDRESS;
      const bool is_other = answer.type != type ||
                            (is_mapping && answer.pnu.newportmapping.privateport != internal_port);
      if (result == 0 && is_other) {
        state_.has_pending_request = 1;  // An answer to a request before: this one is still asked.
        continue;
      }
      return result;
    }
    return NATPMP_TRYAGAIN;
  }

  natpmp_t state_{};
  const BoundedWait& wait_;
  bool is_open_ = false;
};

PortGrant ask_port(NatPmp& gateway, const PortAsk& ask, Duration lease) {
  PortGrant grant{.ask = ask};
  natpmpresp_t answer{};
  const auto lease_s = std::chrono::duration_cast<std::chrono::seconds>(lease).count();
  const int error = gateway.map(ask, static_cast<std::uint32_t>(lease_s), answer);
  if (error != 0) {
    grant.failure = failure_text(error);
    return grant;
  }
  grant.ask.external_port = answer.pnu.newportmapping.mappedpublicport;
  grant.lease =
      std::min<Duration>(std::chrono::seconds(answer.pnu.newportmapping.lifetime), kLeaseMax);
  grant.is_granted = lease_s == 0 || (grant.ask.external_port != 0 && grant.lease > Duration());
  if (!grant.is_granted) grant.failure = "the gateway's answer makes no sense";
  return grant;
}

bool is_plausible(const IpAddress& external) {
  return !external.is_unspecified() && !external.is_loopback() && !external.is_multicast() &&
         !external.is_link_local();
}

}  // namespace

GatewayAnswer call_nat_pmp(const GatewayRequest& request, const BoundedWait& wait) {
  GatewayAnswer answer;
  if (request.gateway.ip.is_v6()) return answer;
  NatPmp gateway(request.gateway.ip, wait);
  if (!gateway.is_open()) {
    answer.failure = "there is no way to the gateway";
    return answer;
  }
  IpAddress external;
  const int error = gateway.external_address(external);
  if (error != 0 || !is_plausible(external)) {
    answer.is_answered = error != NATPMP_TRYAGAIN && error != NATPMP_ERR_RECVFROM;
    answer.failure = error != 0 ? failure_text(error) : failure_text(NATPMP_ERR_NETWORKFAILURE);
    return answer;
  }
  answer.is_answered = true;
  answer.external = external;
  for (const PortAsk& ask : request.ports) {
    if (wait.is_over()) break;
    answer.ports.push_back(ask_port(gateway, ask, request.lease));
    if (!answer.ports.back().is_granted) answer.failure = answer.ports.back().failure;
  }
  return answer;
}

}  // namespace openp2p::net
