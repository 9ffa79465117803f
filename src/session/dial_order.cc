#include "session/dial_order.h"

#include <algorithm>
#include <utility>

namespace openp2p::session {
namespace {

void take(std::vector<Address>& from, std::vector<Address>& to) {
  to.push_back(from.front());
  from.erase(from.begin());
}

}  // namespace

std::vector<Address> dial_order(const std::vector<Address>& addresses, const DialHints& hints,
                                const std::function<bool(const Address&)>& has_socket) {
  std::vector<Address> order;
  std::vector<Address> v6;
  std::vector<Address> v4;
  for (const Address& address : addresses) {
    if (address == hints.last) {
      order.assign(1, address);
      continue;
    }
    std::vector<Address>& family = address.ip.is_v4() ? v4 : v6;
    if (std::ranges::find(family, address) == family.end()) family.push_back(address);
  }
  bool is_v6_next = hints.has_v6 && (order.empty() || order.front().ip.is_v4());
  while (!v6.empty() || !v4.empty()) {
    const bool is_v6 = v4.empty() || (is_v6_next && !v6.empty());
    take(is_v6 ? v6 : v4, order);
    is_v6_next = hints.has_v6 && !is_v6;
  }
  std::stable_partition(order.begin(), order.end(), has_socket);
  if (order.size() > kDialAddressesMax) order.resize(kDialAddressesMax);
  return order;
}

}  // namespace openp2p::session
