#include "agent/offer_guard.h"

#include <cstring>

namespace openp2p::agent {
namespace {

/// A challenge is good until the end of the next period: longer than an attempt takes.
constexpr Duration kPeriod = std::chrono::seconds(30);

/// New at each start, as the incarnation is.
Digest make_secret(const NodeContext& context) {
  Bytes input = to_bytes(as_bytes("openp2p offer guard 1"));
  const auto incarnation = std::as_bytes(std::span(&context.incarnation, 1));
  input.insert(input.end(), incarnation.begin(), incarnation.end());
  return hmac_sha256(context.identity.seed(), input);
}

}  // namespace

OfferGuard::OfferGuard(NodeContext& context) : context_(context), secret_(make_secret(context)) {}

std::int64_t OfferGuard::period() const { return context_.now.time_since_epoch() / kPeriod; }

std::uint64_t OfferGuard::echo_of(const PeerSignal& offer, ByteView place,
                                  std::int64_t period) const {
  Bytes input = to_bytes(offer.from.key);
  input.insert(input.end(), offer.attempt.begin(), offer.attempt.end());
  const auto number = std::as_bytes(std::span(&period, 1));
  input.insert(input.end(), number.begin(), number.end());
  input.insert(input.end(), place.begin(), place.end());
  const Digest digest = hmac_sha256(secret_, input);
  std::uint64_t echo = 0;
  std::memcpy(&echo, digest.data(), sizeof echo);
  return echo | 1;  // 0 is what offers have that answer no challenge.
}

bool OfferGuard::is_fresh(const PeerSignal& offer, ByteView place) const {
  const auto is_echo_of = [&](std::int64_t period) {
    const std::uint64_t wanted = echo_of(offer, place, period);
    return equal_constant_time(std::as_bytes(std::span(&wanted, 1)),
                               std::as_bytes(std::span(&offer.echo, 1)));
  };
  return is_echo_of(period()) || is_echo_of(period() - 1);
}

Bytes OfferGuard::challenge(const PeerSignal& offer, ByteView place) const {
  PeerSignal signal;
  signal.from = context_.identity.id();
  signal.to = offer.from;
  signal.attempt = offer.attempt;
  signal.kind = PeerSignal::Kind::kChallenge;
  signal.incarnation = context_.incarnation;
  signal.echo = echo_of(offer, place, period());
  return encode_signal(signal, context_.identity);
}

}  // namespace openp2p::agent
