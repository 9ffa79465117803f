#include "server/relay_schedule.h"

#include <algorithm>
#include <cmath>

namespace openp2p::server {
namespace {

/// QUIC's datagrams inside a relayed path, and its initial window (RFC 9002 section 7.2).
constexpr double kDatagramBytes = 1'200;
constexpr double kInitialWindowBytes = 10 * kDatagramBytes;
/// Below this the model divides by next to nothing.
constexpr double kRttMinSeconds = 0.001;
constexpr double kRateMinBits = 1'000;
constexpr double kLossMin = 1e-5;  // Of lines that are taken for clean.

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

/// Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance
/// algorithm" (1997): the rate that loss leaves.
double lossy_bits(double rtt, double loss) {
  return kDatagramBytes * 8 * 1.22 / (rtt * std::sqrt(std::max(loss, kLossMin)));
}

/// How long the transfer takes: each round trip of slow start doubles what is under way, until it
/// fills the path; the rest goes at `bytes_per_second`.
double transfer_seconds(double rtt, double bytes_per_second) {
  double sent = 0;
  double time = rtt;  // The request.
  double window = kInitialWindowBytes;
  const double full = bytes_per_second * rtt;
  while (window < full && sent + window < kTransferBytes) {
    sent += window;
    time += rtt;
    window *= 2;
  }
  return time + (kTransferBytes - sent) / bytes_per_second;
}

double stay_chance(const RelayCandidate& candidate) {
  const double departures = std::max(candidate.departures, 0.0) + kDeparturesAssumed;
  const double hours = std::max(candidate.served_hours, 0.0) + kServedHoursAssumed;
  const double stay = std::chrono::duration<double, std::ratio<3600>>(kStay).count();
  return std::exp(-departures / hours * stay);
}

}  // namespace

/// What is left, or a fair part of the whole where others use it already.
double promised_bits(const RelayCandidate& candidate) {
  if (candidate.bits_per_second == 0) return kUncappedBits;
  const auto cap = static_cast<double>(candidate.bits_per_second);
  const auto own = static_cast<double>(candidate.own_bits_per_second);
  const auto used = static_cast<double>(candidate.used_bits_per_second);
  const double lent = std::max(cap - own, cap / 20);  // A relay lends that much in any case.
  const double granted = candidate.granted;
  const double fair = lent / (candidate.allocations + granted + 1);
  return std::min(std::max((lent - used) / (granted + 1), fair), kPairBitsMax);
}

double relay_score(const RelayCandidate& candidate) {
  const double rtt =
      std::max(seconds(candidate.rtt_one) + seconds(candidate.rtt_other), kRttMinSeconds);
  const double kept = std::clamp(candidate.kept, 0.0, 1.0);
  const double loss = std::clamp(candidate.loss, 0.0, 1.0);
  double bits = std::min(promised_bits(candidate) * kept, lossy_bits(rtt, loss));
  bits = std::max(bits, kRateMinBits);
  const double goodput = kTransferBytes * 8 / transfer_seconds(rtt, bits / 8);
  const double reached = candidate.is_reachable ? 1.0 : kReachedBehindNat;
  return goodput * stay_chance(candidate) * reached;
}

std::vector<std::size_t> rank_relays(std::span<const RelayCandidate> candidates,
                                     std::size_t count) {
  struct Entry {
    RelayKind kind;
    double score;
    std::size_t place;
  };
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    entries.push_back({candidates[i].kind, relay_score(candidates[i]), i});
  }
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    if (a.kind != b.kind) return a.kind < b.kind;
    if (a.score != b.score) return a.score > b.score;
    return a.place < b.place;
  });
  if (entries.size() > count && count > 1) {
    const RelayKind first = entries.front().kind;
    const auto last = entries.begin() + static_cast<std::ptrdiff_t>(count - 1);
    const auto other =
        std::find_if(last, entries.end(), [&](const Entry& e) { return e.kind != first; });
    if (last->kind == first && other != entries.end()) *last = *other;
  }
  std::vector<std::size_t> ranked;
  for (std::size_t i = 0; i < std::min(count, entries.size()); ++i) {
    ranked.push_back(entries[i].place);
  }
  return ranked;
}

Duration estimate_rtt(Duration one_to_server, Duration other_to_server) {
  const double one = seconds(one_to_server);
  const double other = seconds(other_to_server);
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::sqrt(one * one + other * other)));
}

}  // namespace openp2p::server
