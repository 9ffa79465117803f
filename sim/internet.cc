#include "sim/internet.h"

#include "base/check.h"

namespace openp2p::sim {
namespace {

// Public, unlike what RFC 6890 sets aside, so that code that tells public from private behaves.
const Prefix kCoreV4{IpAddress::v4(11, 0, 0, 0), 8};
const Prefix kHomeV4{IpAddress::v4(192, 168, 1, 0), 24};
const Prefix kCarrierV4{IpAddress::v4(100, 64, 0, 0), 10};

// 2a00:: is handed out in reality; the core takes its first /48, homes get a /56 above that each.
IpAddress v6_at(std::uint64_t high) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 8; i-- > 0; high >>= 8) bytes[i] = static_cast<std::uint8_t>(high);
  return IpAddress::v6(bytes);
}
constexpr std::uint64_t kCoreV6 = 0x2a00'0000'0000'0000;
constexpr std::uint64_t kDelegatedV6 = 0x2a00'0001'0000'0000;
constexpr std::uint64_t kDelegatedStep = 0x100;  // A /56.

RouterOptions router_options(NatKind kind, bool has_v6, const HomeOptions& home) {
  RouterOptions options{.v4 = nat_options(kind)};
  options.tcp_v4 = home.tcp;
  options.udp_policer = home.udp_policer;
  if (home.has_pcp) options.pcp.emplace();
  if (kind == NatKind::kSymmetricPreserving) options.tcp_timeouts = kNetfilterTcpTimeouts;
  if (has_v6) options.v6 = ipv6_firewall_options();
  if (kind == NatKind::kUdpBlocked) options.udp = UdpPolicy::kDrop;
  return options;
}

}  // namespace

Internet::Internet(World& world, const InternetOptions& options)
    : world_(world), core_(world, kCoreV4, Prefix{v6_at(kCoreV6), 48}, options.core_hops) {}

Prefix Internet::delegate_v6() { return {v6_at(kDelegatedV6 + kDelegatedStep * delegated_++), 56}; }

AttachOptions line(const LinkOptions& link, bool has_v6) {
  return {.up = link, .down = link, .has_v6 = has_v6};
}

std::unique_ptr<Host> make_public_host(Internet& internet, const LinkOptions& link) {
  return std::make_unique<Host>(internet.world(), internet.core(), line(link));
}

Carrier::Carrier(Internet& internet, const NatOptions& options, unsigned public_addresses)
    : network_(internet.world(), kCarrierV4),
      router_(internet.world(), network_, internet.core(), {.v4 = options},
              {.v4_addresses = public_addresses, .has_v6 = false}) {}

Home::Home(Internet& internet, NatKind kind, const HomeOptions& options)
    : internet_(internet), kind_(kind), options_(options) {
  const bool has_v6 = options.has_v6 || kind == NatKind::kIpv6Firewall;
  if (kind != NatKind::kNone) {
    CHECK(!has_v6 || kind != NatKind::kDoubleNat);  // Carriers here carry IPv4 alone.
    if (kind == NatKind::kDoubleNat && options.carrier == nullptr) own_carrier_.emplace(internet);
    Carrier* carrier = own_carrier_ ? &*own_carrier_ : options.carrier;
    Network& outside = carrier == nullptr ? internet.core() : carrier->network();
    const auto v6 = has_v6 ? std::optional(internet.delegate_v6()) : std::nullopt;
    lan_.emplace(internet.world(), kHomeV4, v6);
    router_.emplace(internet.world(), *lan_, outside, router_options(kind, has_v6, options),
                    line(options.link, has_v6));
  }
  add_host();
}

AttachOptions Home::host_options() const {
  if (kind_ == NatKind::kNone) return line(options_.link, options_.has_v6);
  return line(options_.lan);
}

Host& Home::add_host() {
  hosts_.push_back(std::make_unique<Host>(internet_.world(), lan(), host_options()));
  return *hosts_.back();
}

}  // namespace openp2p::sim
