#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace openp2p::sim {

/// Why a packet went no further.
enum class DropReason {
  kLoss,         ///< A link's random loss.
  kQueueFull,    ///< A link's rate was exceeded for longer than its queue is deep.
  kTooBig,       ///< Larger than a link's MTU.
  kDown,         ///< A link that is switched off, also while the packet was on it.
  kBlackhole,    ///< A link that swallows everything without a sign.
  kNoRoute,      ///< No network on the way knows the destination.
  kHops,         ///< Its hop limit ended: a low one, or a routing loop.
  kUnsolicited,  ///< A NAT or firewall lets it not in.
  kNoHairpin,  ///< Sent to the NAT's own external address from inside, which this NAT does not do.
  kNoPort,     ///< A NAT ran out of ports or of table entries.
  kBlocked,    ///< A firewall that lets no UDP pass.
  kClosed,     ///< No socket on that port, or the interface has left the network.
};
inline constexpr std::size_t kDropReasons = 12;
std::string_view drop_reason_text(DropReason reason);

/// What a world saw. A packet that crosses several networks is sent and delivered once.
struct Counters {
  std::uint64_t sent = 0;       ///< Datagrams that sockets sent.
  std::uint64_t delivered = 0;  ///< Datagrams that sockets received; duplicates count.
  std::uint64_t bytes_delivered = 0;
  std::uint64_t segments_sent = 0;       ///< TCP, by hosts; not among the datagrams.
  std::uint64_t segments_delivered = 0;  ///< To hosts.
  std::uint64_t errors_delivered = 0;    ///< ICMP-like errors that reached a socket.
  std::array<std::uint64_t, kDropReasons> dropped{};

  std::uint64_t& drops(DropReason reason) { return dropped[static_cast<std::size_t>(reason)]; }
  std::uint64_t drops(DropReason reason) const { return dropped[static_cast<std::size_t>(reason)]; }
  std::uint64_t dropped_total() const;
};

}  // namespace openp2p::sim
