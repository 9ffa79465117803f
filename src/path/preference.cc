#include "path/preference.h"

#include <algorithm>

namespace openp2p::path {
namespace {

/// Higher is better: relayed, internet IPv4, internet IPv6, local network.
int kind_rank(const CheckPair& pair) {
  const IpAddress& ip = pair.path().remote.ip;
  if (pair.remote().candidate.type == CandidateType::kRelayed) return 0;
  if (ip.is_private() || ip.is_link_local()) return 3;
  return ip.is_v6() ? 2 : 1;
}

Duration rtt_of(const CheckPair& pair) { return pair.rtt().value_or(Duration::max() / 16); }

/// One of the two is TCP. UDP goes first, since TCP lets everything wait for a lost segment.
bool is_better_transport(const CheckPair& a, const CheckPair& b) {
  if (b.is_stream()) return rtt_of(a) <= kStreamFactor * rtt_of(b) + kStreamSlack;
  if (std::min(a.rtt_samples(), b.rtt_samples()) < kRttSamplesMin) return false;
  return rtt_of(b) > 2 * kStreamFactor * rtt_of(a) + 2 * kStreamSlack;
}

/// Both are relayed, and one relay is more welcome: it is used unless it is much slower.
bool is_better_relay(const CheckPair& a, const CheckPair& b) {
  if (a.relay_rank < b.relay_rank) {
    return rtt_of(a) <= kRelayFactor * rtt_of(b) + kRelaySlack;
  }
  if (std::min(a.rtt_samples(), b.rtt_samples()) < kRttSamplesMin) return false;
  return rtt_of(b) > 2 * kRelayFactor * rtt_of(a) + 2 * kRelaySlack;
}

}  // namespace

bool is_clearly_better(const CheckPair& a, const CheckPair& b, Favour favour) {
  if (!a.rtt()) return false;
  const bool is_relay_between = (kind_rank(a) == 0) != (kind_rank(b) == 0);
  const bool are_relayed = kind_rank(a) == 0 && kind_rank(b) == 0;
  if (are_relayed && a.relay_rank != b.relay_rank) return is_better_relay(a, b);
  if (a.is_stream() != b.is_stream() && !is_relay_between) {
    return favour == Favour::kStreams ? a.is_stream() : is_better_transport(a, b);
  }
  if (kind_rank(a) > kind_rank(b) && rtt_of(a) <= rtt_of(b) + kPreferredSlack) return true;
  if (kind_rank(a) > 0 && kind_rank(b) == 0) return true;  // A relay costs somebody bandwidth.
  if (kind_rank(a) == 0 && kind_rank(b) > 0) return false;
  if (std::min(a.rtt_samples(), b.rtt_samples()) < kRttSamplesMin) return false;
  const Duration gain = std::max(kRttGainMin, rtt_of(b) * kRttGainPercent / 100);
  return rtt_of(a) + gain < rtt_of(b);
}

bool goes_before(const CheckPair& a, const CheckPair& b, Favour favour) {
  if (is_clearly_better(a, b, favour)) return true;
  if (is_clearly_better(b, a, favour)) return false;
  return a.priority > b.priority;
}

}  // namespace openp2p::path
