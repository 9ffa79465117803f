#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/time.h"

/// How a party at a known place is dialled: its addresses one after another, kAttemptDelay apart,
/// first over UDP, then over TCP as well; what was begun goes on, and the first to answer is used
/// (Happy Eyeballs, RFC 8305). Between nodes there is more to know: they check all candidates at
/// once (path/path_finder.h).
namespace openp2p::session {

inline constexpr Duration kAttemptDelay = std::chrono::milliseconds(250);  ///< RFC 8305 section 5.
/// TCP costs more, on both sides and under way, so UDP gets some round trips first.
inline constexpr Duration kStreamDelay = std::chrono::seconds(1);
/// A name may have any number of addresses; so many have all been tried after 4 s.
inline constexpr std::size_t kDialAddressesMax = 16;

/// What the caller knows of the network that it is in.
struct DialHints {
  /// Whether there is a way to the IPv6 internet: then IPv6 goes first, else last.
  bool has_v6 = true;
  /// What won the last time, here.
  std::optional<Address> last = {};
  /// Where UDP is known not to pass, TCP need not wait for it: 0.
  Duration stream_delay = kStreamDelay;
};

/// In the order to be tried (RFC 8305 section 4): what won last, then the families in turn, each in
/// the order that the resolver or the person gave. Repeated ones once. Those that `has_socket` says
/// cannot be reached over UDP come last, for TCP.
std::vector<Address> dial_order(const std::vector<Address>& addresses, const DialHints& hints,
                                const std::function<bool(const Address&)>& has_socket);

}  // namespace openp2p::session
