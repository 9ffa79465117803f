#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/result.h"
#include "path/candidate.h"
#include "path/finder_tag.h"
#include "path/method.h"

/// What two nodes tell each other before they have a session (proto/peer.proto), through the server
/// or, while it is away, as signal_ways.h says. Signed with the sender's identity key: who carries
/// it can delay or drop, but not read keys from, forge or redirect it.
namespace openp2p::agent {

enum class SignalError { kMalformed = 1, kBadSignature, kNotForUs };
std::error_code make_error_code(SignalError error);

using AttemptId = std::array<std::byte, 16>;

struct PeerSignal {
  static constexpr std::size_t kBytesMax = 8'192;
  static constexpr std::size_t kCandidatesMax = 32;
  enum class Kind {
    kOffer = 1,
    kAnswer = 2,
    kCandidates = 3,
    kRefusal = 4,
    kChallenge = 5,  ///< OfferGuard's.
    kNews = 6,       ///< Candidates, of no attempt.
  };

  NodeId from;
  NodeId to;
  AttemptId attempt{};
  Kind kind = Kind::kOffer;
  AgreementKey::PublicKey agreement_key{};  ///< Offer and answer.
  path::FinderTag tag;                      ///< Offer and answer.
  std::vector<path::Candidate> candidates;
  path::SideProfile profile;  ///< All but refusals: what the sender knows of its NATs.
  /// The sender's round-trip time to the server; zero: not known.
  Duration server_rtt = Duration::zero();
  unsigned round = 0;  ///< Offer: how many attempts failed before this one.
  std::string reason;  ///< Refusal; printable().
  std::uint64_t incarnation = 0;
  std::uint64_t sequence = 0;
  /// Of a challenge; of an offer that answers one. An offer that came through the server needs
  /// none.
  std::uint64_t echo = 0;
};

Bytes encode_signal(const PeerSignal& signal, const IdentityKey& key);
/// `from` is who the server says sent it; the signature must be that node's, over a body that names
/// both ends.
Result<PeerSignal> decode_signal(ByteView bytes, const NodeId& from, const NodeId& to);

/// The key of both sides' connectivity checks (ARCHITECTURE, trust).
std::array<std::byte, 32> derive_check_key(const SharedSecret& shared, const AttemptId& attempt,
                                           const NodeId& offerer, const NodeId& answerer);

}  // namespace openp2p::agent

template <>
struct std::is_error_code_enum<openp2p::agent::SignalError> : std::true_type {};
