#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"

/// Where a server listens, and where nodes are told to find it.
namespace openp2p::server {

constexpr std::uint16_t kSessionPort = 27183;
constexpr std::uint16_t kStunPort = 27182;

/// One UDP socket to be bound; STUN is served on all of them, sessions too.
struct ListenSocket {
  Address address;
  bool is_alternate_ip = false;    ///< RFC 5780: the second address of its family.
  bool is_alternate_port = false;  ///< The port that is STUN's own.
  bool is_optional = false;  ///< Not asked for by name: left out where the machine has no such
                             ///< family.
};

/// "ADDR:PORT", "[V6]:PORT", "ADDR" (with kSessionPort) or ":PORT" (both families). Empty:
/// malformed.
std::vector<Address> parse_listen(std::string_view text);

struct ListenPlan {
  std::vector<ListenSocket> sockets;
  std::string problem;  ///< Not empty: why it cannot be, for people.
};
/// `listens`: none means both families at kSessionPort. At most two addresses a family, all with
/// one port, which is not `stun_port`. stun_port 0: no second port.
ListenPlan plan_listening(const std::vector<Address>& listens, std::uint16_t stun_port);

/// "host:port" under which nodes elsewhere may reach a server that listens so: the addresses
/// listened on, and for those that mean "all", this machine's own (`own`), public ones first.
std::vector<std::string> reachable_addresses(const std::vector<ListenSocket>& sockets,
                                             const std::vector<IpAddress>& own);
/// `addresses`, and behind them where only TCP is listened for: ports of addresses that are named,
/// and where all are listened on, of the hosts of `addresses`. As many as a token holds.
std::vector<std::string> with_tcp(std::vector<std::string> addresses,
                                  const std::vector<Address>& also_tcp);
std::vector<IpAddress> own_addresses();  ///< Of interfaces that are up; asks the system.
bool is_public(const IpAddress& ip);

}  // namespace openp2p::server
