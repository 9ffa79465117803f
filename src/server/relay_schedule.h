#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "server/relay_messages.h"

/// Which relays a pair is told of: the model of docs/relay.md, "Which relay". Pure functions.
///
/// A candidate's score is the goodput, in bits per second, that a pair may expect of it:
///
///   rate  = min(kPairBitsMax, max(free / (granted + 1), lent / (pairs + 1)) * kept, Mathis(rtt,
///   loss)) time  = slow start of the transfer at this rtt and rate, then the rest at `rate` score
///   = kTransferBytes / time * P(still there after kStay) * P(reached at all)
///
/// so bandwidth, load, round trip, loss and stability weigh as much as they cost the pair, and no
/// weights have to be invented.
namespace openp2p::server {

/// What one pair is assumed to use at most: the uplink of a good home. A relay with more to give
/// has no advantage by it, so that the largest claim does not draw all pairs.
inline constexpr double kPairBitsMax = 50e6;
/// What an own node without a cap or report is assumed to carry: the uplink of a usual home.
inline constexpr double kUncappedBits = 20e6;
/// The transfer that is judged by: some seconds at home rates, so that both the first round trips
/// and the rate afterwards count.
inline constexpr double kTransferBytes = 4 << 20;
/// How long a relay should stay: the length of a sitting at a remote desktop.
inline constexpr Duration kStay = std::chrono::hours(1);
/// Where nothing is known yet, a relay is taken for one that leaves once in four hours.
inline constexpr double kDeparturesAssumed = 1.0;
inline constexpr double kServedHoursAssumed = 4.0;
/// A relay behind a NAT is reached by most ends, and at once by few.
inline constexpr double kReachedBehindNat = 0.7;

struct RelayCandidate {
  NodeId node;
  RelayKind kind = RelayKind::kShared;
  std::uint64_t bits_per_second = 0;       ///< The cap of what it lends; 0: none.
  std::uint64_t used_bits_per_second = 0;  ///< By other pairs, now.
  std::uint64_t own_bits_per_second = 0;   ///< Its own traffic, which goes first.
  std::uint32_t allocations = 0;           ///< Of which `used_bits_per_second` tells.
  std::uint32_t granted = 0;               ///< To come: named to pairs since.
  Duration rtt_one{};                      ///< Between relay and either end: measured or estimated.
  Duration rtt_other{};
  double loss = 0;            ///< 0 to 1, as reported.
  double kept = 1;            ///< Of what it promised, the part that reports confirm: 0 to 1.
  double departures = 0;      ///< Unplanned ones within `served_hours`.
  double served_hours = 0;    ///< Online so far; old hours count less, as old departures do.
  bool is_reachable = false;  ///< Without help of the other side.
};

/// What a new pair could have of its bandwidth, by its own words.
double promised_bits(const RelayCandidate& candidate);
/// The expected goodput of a transfer through it, bits per second. Never negative, always finite.
double relay_score(const RelayCandidate& candidate);

/// The best candidates, best first, as their places in `candidates`: own nodes, then strangers,
/// then the server; of each kind by score. At most `count`; the last place goes to another kind
/// than the first where there is one, so that not all of them fail for one reason. Ties are broken
/// by place.
std::vector<std::size_t> rank_relays(std::span<const RelayCandidate> candidates, std::size_t count);

/// The round trip between two parties of whom only those to the server are known: the third side of
/// a triangle whose angle may be any (law of cosines; the mean of its square).
Duration estimate_rtt(Duration one_to_server, Duration other_to_server);

}  // namespace openp2p::server
