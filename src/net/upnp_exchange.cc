#include "net/upnp_exchange.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/socket_address.h"
#include "net/upnp_call.h"

namespace openp2p::net {
namespace {

constexpr std::uint16_t kSsdpPort = 1'900;
constexpr Duration kRepeatSearchAfter = std::chrono::seconds(1);
constexpr std::size_t kPieceBytes = 2'048;
constexpr int kLinkOnly = 1;  // Hop limit: routers do not pass it on.
constexpr std::array<std::string_view, 4> kTargets = {
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
};

bool is_same_link(const IpAddress& a, const IpAddress& b) {  // RFC 4291: a /64.
  return std::equal(a.bytes().begin(), a.bytes().begin() + 8, b.bytes().begin());
}

bool bind_to(int socket, const IpAddress& local) {
  SocketAddress address{};
  const socklen_t size = to_socket_address({local, 0}, address);
  return ::bind(socket, &address.base, size) == 0;
}

Descriptor open_socket(const Gateway& gateway, int type) {
  const int family = gateway.local.is_v4() ? AF_INET : AF_INET6;
  Descriptor socket(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket || !bind_to(socket.number(), gateway.local)) return {};
  const int level = gateway.local.is_v4() ? IPPROTO_IP : IPPROTO_IPV6;
  const int unicast = gateway.local.is_v4() ? IP_TTL : IPV6_UNICAST_HOPS;
  if (::setsockopt(socket.number(), level, unicast, &kLinkOnly, sizeof kLinkOnly) != 0) return {};
  return socket;
}

bool connect_to(int socket, const Address& server, const BoundedWait& wait, TimePoint end) {
  SocketAddress address{};
  const socklen_t size = to_socket_address(server, address);
  if (::connect(socket, &address.base, size) == 0) return true;
  if (errno != EINPROGRESS || !wait.wait(socket, POLLOUT, end)) return false;
  int error = 0;
  socklen_t error_size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_size) == 0 && error == 0;
}

Descriptor open_search(const Gateway& gateway) {
  Descriptor socket = open_socket(gateway, SOCK_DGRAM);
  if (!socket) return socket;
  const int number = socket.number();
  int failed = 0;
  if (gateway.local.is_v4()) {
    const in_addr from{htonl(gateway.local.v4_bits())};
    failed |= ::setsockopt(number, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from);
    failed |= ::setsockopt(number, IPPROTO_IP, IP_MULTICAST_TTL, &kLinkOnly, sizeof kLinkOnly);
  } else {
    const int index = static_cast<int>(gateway.interface_index);
    failed |= ::setsockopt(number, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
  }
  return failed == 0 ? std::move(socket) : Descriptor();
}

// To everybody, as the standard has it, and to the gateway itself: some hear only one of the two.
void send_searches(int socket, const Gateway& gateway) {
  const bool is_v4 = gateway.local.is_v4();
  const IpAddress group = is_v4 ? IpAddress::v4(239, 255, 255, 250) : *IpAddress::parse("ff02::c");
  const Address everybody{group, kSsdpPort, is_v4 ? 0 : gateway.interface_index};
  for (const std::string_view target : kTargets) {
    for (const Address& to : {everybody, gateway.at(kSsdpPort)}) {
      const std::string text = ssdp_search(target, Address{to.ip, to.port}.text());
      SocketAddress address{};
      const socklen_t size = to_socket_address(to, address);
      static_cast<void>(
          ::sendto(socket, text.data(), text.size(), MSG_NOSIGNAL, &address.base, size));
    }
  }
}

// The LOCATION of the next datagram, if it is an answer of this gateway.
std::optional<std::string> receive_location(int socket, const Gateway& gateway) {
  std::array<char, kPieceBytes> text;
  SocketAddress from{};
  socklen_t size = sizeof from;
  const ssize_t bytes = ::recvfrom(socket, text.data(), text.size(), 0, &from.base, &size);
  if (bytes <= 0 || !is_of_gateway(gateway, from_socket_address(from).ip)) return std::nullopt;
  return ssdp_location({text.data(), static_cast<std::size_t>(bytes)});
}

}  // namespace

bool is_of_gateway(const Gateway& gateway, const IpAddress& ip) {
  if (ip == gateway.ip) return true;
  // A gateway's default route has its link-local address, its web server mostly its global one.
  return ip.is_v6() && gateway.ip.is_v6() && ip != gateway.local && is_same_link(ip, gateway.local);
}

std::optional<HttpReply> exchange_http(const Gateway& gateway, const Address& server,
                                       const std::string& request, std::size_t body_bytes_max,
                                       const BoundedWait& wait) {
  if (!is_of_gateway(gateway, server.ip)) return std::nullopt;
  const TimePoint end = monotonic_now() + kUpnpExchangeMax;
  const Descriptor socket = open_socket(gateway, SOCK_STREAM);
  if (!socket || !connect_to(socket.number(), server, wait, end)) return std::nullopt;
  if (!wait.send_all(socket.number(), as_bytes(request), end)) return std::nullopt;
  HttpReplyReader reader(body_bytes_max);
  std::array<std::byte, kPieceBytes> piece;
  for (;;) {
    const auto bytes = wait.receive(socket.number(), piece, end);
    if (!bytes) return std::nullopt;
    const auto is_whole = *bytes == 0 ? reader.end() : reader.take(ByteView(piece).first(*bytes));
    if (!is_whole) return std::nullopt;
    if (*is_whole) return reader.reply();
  }
}

std::optional<FoundDevice> read_device(const Gateway& gateway, const std::string& location,
                                       const BoundedWait& wait) {
  const auto url = parse_upnp_url(location, gateway.interface_index);
  if (!url) return std::nullopt;
  const auto reply =
      exchange_http(gateway, url->server, http_get(*url), kUpnpDescriptionBytesMax, wait);
  if (!reply || reply->status != 200) return std::nullopt;
  auto device = parse_description(reply->body, *url);
  if (!device) return std::nullopt;
  const auto is_elsewhere = [&](const UpnpService& service) {
    return !is_of_gateway(gateway, service.control.server.ip);
  };
  std::erase_if(device->connections, is_elsewhere);
  if (device->firewall && is_elsewhere(*device->firewall)) device->firewall.reset();
  if (device->connections.empty() && !device->firewall) return std::nullopt;
  return FoundDevice{*url, std::move(*device)};
}

std::optional<FoundDevice> search_device(const Gateway& gateway, const BoundedWait& wait) {
  const Descriptor socket = open_search(gateway);
  if (!socket) return std::nullopt;
  const TimePoint start = monotonic_now();
  const TimePoint end = start + kUpnpSearchMax;
  send_searches(socket.number(), gateway);
  bool is_repeated = false;
  std::vector<std::string> tried;
  for (int answers = 0; answers < kSsdpAnswersMax && !wait.is_over() && monotonic_now() < end;) {
    if (!wait.wait(socket.number(), POLLIN, is_repeated ? end : start + kRepeatSearchAfter)) {
      if (is_repeated) break;
      is_repeated = true;
      send_searches(socket.number(), gateway);
      continue;
    }
    ++answers;
    const auto location = receive_location(socket.number(), gateway);
    if (!location || tried.size() == kLocationsMax) continue;
    if (std::ranges::find(tried, *location) != tried.end()) continue;
    tried.push_back(*location);
    if (auto found = read_device(gateway, *location, wait)) return found;
  }
  return std::nullopt;
}

}  // namespace openp2p::net
