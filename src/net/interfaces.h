#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "net/io_context.h"

namespace openp2p::net {

/// One address of this machine.
struct InterfaceAddress {
  IpAddress ip;
  std::uint32_t interface_index = 0;
  std::string interface_name;
  bool is_up = false;  ///< The interface is switched on, and has a carrier.
  bool is_loopback = false;
  bool is_point_to_point = false;  ///< A tunnel or a modem, mostly.
  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

/// All addresses of this machine, sorted; at most kInterfaceAddressesMax. Empty where the system
/// does not tell.
std::vector<InterfaceAddress> list_interface_addresses();
constexpr std::size_t kInterfaceAddressesMax = 256;  // A large server has tens.

/// Whether a peer could reach us there: RFC 8445 section 5.1.1.1 leaves out loopback addresses, and
/// link-local ones need a scope that only this machine knows.
bool is_host_candidate(const InterfaceAddress& address);

/// Tells that addresses, interfaces or default routes changed, or that the machine was suspended:
/// the first change at once, and what follows within 100 ms together. What changed is for the owner
/// to look up: many events come together when a machine moves to another network.
///
/// Costs no wake-up while nothing changes (netlink), or where the system tells nothing, a look at
/// the list every 15 seconds. Threading: the loop's thread; `io` outlives it.
class InterfaceWatch {
 public:
  using Callback = std::function<void(TimePoint now)>;
  virtual ~InterfaceWatch() = default;
};

/// The best that this system has.
std::unique_ptr<InterfaceWatch> make_interface_watch(IoContext& io,
                                                     InterfaceWatch::Callback on_change);
/// Compares lists every `interval`; also what the other falls back to.
std::unique_ptr<InterfaceWatch> make_polling_interface_watch(IoContext& io, Duration interval,
                                                             InterfaceWatch::Callback on_change);

}  // namespace openp2p::net
