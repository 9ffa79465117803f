#include "net/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "net/clock.h"
#include "net/socket_address.h"
#include "net/timer.h"

namespace openp2p::net {
namespace {

struct FreeList {
  void operator()(ifaddrs* list) const { ::freeifaddrs(list); }
};

bool has_ip(const ifaddrs& entry) {
  if (entry.ifa_addr == nullptr) return false;
  return entry.ifa_addr->sa_family == AF_INET || entry.ifa_addr->sa_family == AF_INET6;
}

InterfaceAddress to_interface_address(const ifaddrs& entry) {
  SocketAddress address{};
  const bool is_v4 = entry.ifa_addr->sa_family == AF_INET;
  std::memcpy(&address, entry.ifa_addr, is_v4 ? sizeof address.v4 : sizeof address.v6);
  const auto has = [&entry](unsigned int flag) { return (entry.ifa_flags & flag) != 0; };
  return {.ip = from_socket_address(address).ip,
          .interface_index = ::if_nametoindex(entry.ifa_name),
          .interface_name = entry.ifa_name,
          .is_up = has(IFF_UP) && has(IFF_RUNNING),
          .is_loopback = has(IFF_LOOPBACK),
          .is_point_to_point = has(IFF_POINTOPOINT)};
}

class PollingWatch final : public InterfaceWatch {
 public:
  PollingWatch(IoContext& io, Duration interval, Callback on_change)
      : interval_(interval),
        on_change_(std::move(on_change)),
        known_(list_interface_addresses()),
        timer_(io, [this](TimePoint now) { look(now); }) {
    timer_.arm(monotonic_now() + interval_);
  }

 private:
  void look(TimePoint now) {
    timer_.arm(now + interval_);
    auto found = list_interface_addresses();
    if (found == known_) return;
    known_ = std::move(found);
    on_change_(now);
  }

  Duration interval_;
  Callback on_change_;
  std::vector<InterfaceAddress> known_;
  Timer timer_;
};

}  // namespace

std::vector<InterfaceAddress> list_interface_addresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, FreeList> list(first);
  std::vector<InterfaceAddress> found;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (found.size() == kInterfaceAddressesMax) break;
    if (has_ip(*entry)) found.push_back(to_interface_address(*entry));
  }
  std::ranges::sort(found);
  return found;
}

bool is_host_candidate(const InterfaceAddress& address) {
  return address.is_up && !address.is_loopback && !address.ip.is_loopback() &&
         !address.ip.is_link_local() && !address.ip.is_unspecified() && !address.ip.is_multicast();
}

std::unique_ptr<InterfaceWatch> make_polling_interface_watch(IoContext& io, Duration interval,
                                                             InterfaceWatch::Callback on_change) {
  return std::make_unique<PollingWatch>(io, interval, std::move(on_change));
}

}  // namespace openp2p::net
