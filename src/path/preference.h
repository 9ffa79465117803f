#pragma once

#include "path/check_pair.h"

namespace openp2p::path {

/// A switch must gain this much, or the paths are equals: measured times vary by that much anyway.
inline constexpr Duration kRttGainMin = std::chrono::milliseconds(3);
/// And at least this part of the time.
inline constexpr int kRttGainPercent = 10;
/// What a path of the preferred kind may be slower by.
inline constexpr Duration kPreferredSlack = std::chrono::milliseconds(1);
/// UDP may be slower than TCP by this factor and this much. Twice both, and TCP is better.
inline constexpr int kStreamFactor = 2;
inline constexpr Duration kStreamSlack = std::chrono::milliseconds(100);
/// A more welcome relay may be slower than another by this factor and this much.
inline constexpr int kRelayFactor = 2;
inline constexpr Duration kRelaySlack = std::chrono::milliseconds(30);
/// Samples without which a time proves nothing against another path.
inline constexpr int kRttSamplesMin = 3;

/// Which transport goes first among direct paths.
enum class Favour { kUdp, kStreams };

/// True if `a` is worth a switch away from `b`; both are valid. A local network goes before all,
/// IPv6 before IPv4 (RFC 8421), UDP before TCP and direct before relayed, unless clearly slower.
/// With Favour::kStreams any direct TCP goes before any UDP, since round trips do not show what is
/// wrong with UDP then. There is no pair for which both a over b and b over a hold, and a gap
/// between them: that is the hysteresis.
bool is_clearly_better(const CheckPair& a, const CheckPair& b, Favour favour = Favour::kUdp);

/// Any order for choosing among paths when one is needed at once.
bool goes_before(const CheckPair& a, const CheckPair& b, Favour favour = Favour::kUdp);

}  // namespace openp2p::path
