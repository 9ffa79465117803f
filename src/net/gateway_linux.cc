#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "base/descriptor.h"
#include "net/gateway.h"
#include "net/interfaces.h"
#include "net/socket_address.h"

namespace openp2p::net {
namespace {

constexpr std::size_t kRoutesMax = 4'096;  // Lines read: a border router has a million.
constexpr std::size_t kOwnV6Max = 4;       // Pinholes a gateway: stable and temporary addresses.
constexpr unsigned kRouteUsable = 0x1;     // RTF_UP of linux/route.h
constexpr unsigned kRouteGateway = 0x2;    // RTF_GATEWAY

struct Route {
  IpAddress gateway;
  std::string interface_name;
  std::uint32_t metric = 0;
};

template <class Number>
std::optional<Number> parse_number(const std::string& text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "eth0 00000000 0101A8C0 0003 0 0 100 00000000 ..": name, destination, gateway, flags, ..,
// metric, mask. Addresses are words in the machine's own byte order.
std::optional<Route> parse_v4(const std::string& line) {
  std::istringstream words(line);
  std::string name, to, via, flags, references, uses, metric, mask;
  words >> name >> to >> via >> flags >> references >> uses >> metric >> mask;
  const auto flag_bits = parse_number<unsigned>(flags, 16);
  const auto gateway = parse_number<std::uint32_t>(via, 16);
  const auto cost = parse_number<std::uint32_t>(metric, 10);
  constexpr unsigned kWanted = kRouteUsable | kRouteGateway;
  if (!flag_bits || !gateway || !cost || (*flag_bits & kWanted) != kWanted) return std::nullopt;
  if (to != "00000000" || mask != "00000000") return std::nullopt;
  return Route{IpAddress::v4(ntohl(*gateway)), name, *cost};
}

// "00..00 00 00..00 00 fe80..01 00000400 00000001 00000000 00000003 eth0": destination, its length,
// source, its length, gateway, metric, references, uses, flags, name.
std::optional<Route> parse_v6(const std::string& line) {
  std::istringstream words(line);
  std::string to, to_bits, from, from_bits, via, metric, references, uses, flags, name;
  words >> to >> to_bits >> from >> from_bits >> via >> metric >> references >> uses >> flags >>
      name;
  const auto flag_bits = parse_number<unsigned>(flags, 16);
  const auto cost = parse_number<std::uint32_t>(metric, 16);
  std::array<std::byte, 16> bytes;
  constexpr unsigned kWanted = kRouteUsable | kRouteGateway;
  if (!flag_bits || !cost || (*flag_bits & kWanted) != kWanted) return std::nullopt;
  if (to_bits != "00" || from_bits != "00" || !from_hex(via, bytes)) return std::nullopt;
  std::array<std::uint8_t, 16> address;
  std::copy_n(as_u8(ByteView(bytes)), address.size(), address.begin());
  return Route{IpAddress::v6(address), name, *cost};
}

template <class Parse>
std::vector<Route> read_routes(const char* file, Parse parse) {
  std::vector<Route> routes;
  std::ifstream in(file);
  std::string line;
  for (std::size_t i = 0; i < kRoutesMax && std::getline(in, line); ++i) {
    if (auto route = parse(line)) routes.push_back(std::move(*route));
  }
  std::ranges::stable_sort(routes, {}, &Route::metric);
  return routes;
}

// Which address the kernel would send from. Connecting a UDP socket sends nothing.
std::optional<IpAddress> source_towards(const Address& to) {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  SocketAddress address{};
  const socklen_t size = to_socket_address(to, address);
  if (!socket || ::connect(socket.number(), &address.base, size) != 0) return std::nullopt;
  return local_address_of(socket.number()).ip;
}

void add(std::vector<Gateway>& gateways, const Gateway& gateway) {
  if (gateways.size() == kGatewaysMax) return;
  if (std::ranges::find(gateways, gateway) == gateways.end()) gateways.push_back(gateway);
}

std::uint32_t index_of(const std::vector<InterfaceAddress>& own, const std::string& name) {
  const auto found = std::ranges::find(own, name, &InterfaceAddress::interface_name);
  return found == own.end() ? 0 : found->interface_index;
}

}  // namespace

std::vector<Gateway> default_gateways() {
  const std::vector<InterfaceAddress> own = list_interface_addresses();
  std::vector<Gateway> gateways;
  for (const Route& route : read_routes("/proc/net/route", parse_v4)) {
    const auto local = source_towards({route.gateway, 5'351});
    if (local) add(gateways, {route.gateway, index_of(own, route.interface_name), *local});
  }
  for (const Route& route : read_routes("/proc/net/ipv6_route", parse_v6)) {
    std::size_t count = 0;
    for (const InterfaceAddress& address : own) {
      const bool is_there = address.interface_name == route.interface_name && address.ip.is_v6();
      if (!is_there || !is_host_candidate(address) || count++ >= kOwnV6Max) continue;
      add(gateways, {route.gateway, address.interface_index, address.ip});
    }
  }
  return gateways;
}

}  // namespace openp2p::net
