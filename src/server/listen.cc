#include "server/listen.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "wire/join_token.h"

namespace openp2p::server {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

/// Public IPv4 first, since most nodes have that; then what works at home only.
int rank(const IpAddress& ip) {
  if (is_public(ip)) return ip.is_v4() ? 0 : 1;
  return ip.is_v4() ? 2 : 3;
}

std::optional<IpAddress> address_of(const ifaddrs& entry) {
  if (entry.ifa_addr == nullptr || (entry.ifa_flags & IFF_UP) == 0) return std::nullopt;
  if (entry.ifa_addr->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(entry.ifa_addr);
    return IpAddress::v4(ntohl(v4->sin_addr.s_addr));
  }
  if (entry.ifa_addr->sa_family != AF_INET6) return std::nullopt;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr);
  std::array<std::uint8_t, 16> bytes;
  std::copy(std::begin(v6->sin6_addr.s6_addr), std::end(v6->sin6_addr.s6_addr), bytes.begin());
  return IpAddress::v6(bytes);
}

}  // namespace

bool is_public(const IpAddress& ip) {
  return !ip.is_private() && !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified() &&
         !ip.is_multicast();
}

std::vector<Address> parse_listen(std::string_view text) {
  if (text.starts_with(':')) {
    const auto port = parse_port(text.substr(1));
    if (!port) return {};
    return {{IpAddress::any_v4(), *port, 0}, {IpAddress::any_v6(), *port, 0}};
  }
  if (const auto address = Address::parse(text)) {
    if (address->port == 0) return {};
    return {*address};
  }
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }
  if (const auto ip = IpAddress::parse(text)) return {{*ip, kSessionPort, 0}};
  return {};
}

ListenPlan plan_listening(const std::vector<Address>& listens, std::uint16_t stun_port) {
  const bool is_default = listens.empty();
  const std::vector<Address> addresses =
      is_default ? parse_listen(":" + std::to_string(kSessionPort)) : listens;
  const std::uint16_t port = addresses.front().port;
  if (port == stun_port) {
    return {{}, "--stun-port has to differ from the port of --listen (0 turns it off)"};
  }
  ListenPlan plan;
  for (const Address& address : addresses) {
    if (address.port != port) return {{}, "every --listen has to name the same port"};
    const auto same_family = [&](const ListenSocket& socket) {
      return !socket.is_alternate_port && socket.address.ip.is_v4() == address.ip.is_v4();
    };
    const auto before = std::ranges::count_if(plan.sockets, same_family);
    if (before >= 2) return {{}, "at most two addresses of one family can be listened on"};
    const bool is_known = std::ranges::any_of(plan.sockets, [&](const ListenSocket& socket) {
      return socket.address == address ||
             (same_family(socket) &&
              (socket.address.ip.is_unspecified() || address.ip.is_unspecified()));
    });
    if (is_known) return {{}, address.text() + " is listened on already by another --listen"};
    ListenSocket socket{.address = address,
                        .is_alternate_ip = before == 1,
                        .is_alternate_port = false,
                        .is_optional = is_default};
    plan.sockets.push_back(socket);
    if (stun_port == 0) continue;
    socket.address.port = stun_port;
    socket.is_alternate_port = true;
    plan.sockets.push_back(socket);
  }
  return plan;
}

std::vector<std::string> reachable_addresses(const std::vector<ListenSocket>& sockets,
                                             const std::vector<IpAddress>& own) {
  std::vector<Address> found;
  for (const ListenSocket& socket : sockets) {
    if (socket.is_alternate_port) continue;
    if (!socket.address.ip.is_unspecified()) {
      found.push_back(socket.address);
      continue;
    }
    for (const IpAddress& ip : own) {
      const bool is_usable = !ip.is_loopback() && !ip.is_link_local();
      if (is_usable && ip.is_v4() == socket.address.ip.is_v4()) {
        found.push_back({ip, socket.address.port, 0});
      }
    }
  }
  if (found.empty() && !sockets.empty()) {  // No network: tokens for this machine itself.
    found.push_back({IpAddress::loopback_v4(), sockets.front().address.port, 0});
  }
  std::ranges::stable_sort(found, {}, [](const Address& address) { return rank(address.ip); });
  if (found.size() > JoinToken::kAddressesMax) found.resize(JoinToken::kAddressesMax);
  std::vector<std::string> texts;
  for (const Address& address : found) texts.push_back(address.text());
  return texts;
}

std::vector<std::string> with_tcp(std::vector<std::string> addresses,
                                  const std::vector<Address>& also_tcp) {
  std::vector<std::string> found = addresses;
  const auto add = [&found](const std::string& text) {
    const bool is_new = std::ranges::find(found, text) == found.end();
    if (is_new && found.size() < JoinToken::kAddressesMax) found.push_back(text);
  };
  for (const Address& listening : also_tcp) {
    if (!listening.ip.is_unspecified()) {
      add(listening.text());
      continue;
    }
    for (const std::string& text : addresses) {
      const auto numeric = Address::parse(text);
      if (numeric && numeric->ip.is_v4() != listening.ip.is_v4()) continue;
      add(text.substr(0, text.rfind(':') + 1) + std::to_string(listening.port));
    }
  }
  return found;
}

std::vector<IpAddress> own_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(list, ::freeifaddrs);
  std::vector<IpAddress> found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (const auto ip = address_of(*entry)) found.push_back(*ip);
  }
  return found;
}

}  // namespace openp2p::server
