#include "forward/accept_policy.h"

#include <algorithm>
#include <array>

namespace openp2p::forward {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// DNS names compare without regard to case (RFC 4343), addresses by value.
bool is_same_host(std::string_view a, std::string_view b) {
  const auto ip_a = IpAddress::parse(a);
  const auto ip_b = IpAddress::parse(b);
  if (ip_a || ip_b) return ip_a == ip_b;
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool shares_prefix64(const IpAddress& a, const IpAddress& b) {
  return std::equal(a.bytes().begin(), a.bytes().begin() + 8, b.bytes().begin());
}

/// Where clouds keep the credentials of their machines, at addresses that look like a local
/// network's: Amazon's fd00:ec2::/32, Google's fd20:ce::254, Alibaba's 100.100.100.200. The others
/// use link-local addresses.
bool is_metadata_service(const IpAddress& ip) {
  static constexpr std::array<std::uint8_t, 4> kAmazon = {0xfd, 0x00, 0x0e, 0xc2};
  static constexpr std::array<std::uint8_t, 16> kGoogle = {0xfd, 0x20, 0, 0xce, 0, 0, 0,    0,
                                                           0,    0,    0, 0,    0, 0, 0x02, 0x54};
  return std::equal(kAmazon.begin(), kAmazon.end(), ip.bytes().begin()) ||
         ip == IpAddress::v6(kGoogle) || ip == IpAddress::v4(100, 100, 100, 200);
}

bool is_on_local_network(const IpAddress& ip, const std::vector<IpAddress>& own) {
  if (ip.is_link_local() || ip.is_multicast() || ip.is_unspecified()) return false;
  if (is_metadata_service(ip)) return false;
  if (ip.is_private()) return true;
  const auto is_neighbour = [&](const IpAddress& mine) {
    return ip.is_v6() && mine.is_v6() && shares_prefix64(ip, mine);
  };
  return std::ranges::any_of(own, is_neighbour);
}

}  // namespace

bool AcceptPolicy::allows(std::string_view host, const IpAddress& resolved, std::uint16_t port,
                          const std::vector<IpAddress>& own) const {
  if (resolved.is_loopback() || std::ranges::find(own, resolved) != own.end()) return true;
  const auto is_listed = [&](const Destination& allowed) {
    if (allowed.port != port) return false;
    return is_same_host(allowed.host, host) || IpAddress::parse(allowed.host) == resolved;
  };
  if (std::ranges::any_of(destinations, is_listed)) return true;
  return accept_lan && is_on_local_network(resolved, own);
}

}  // namespace openp2p::forward
