#include "agent/peer_signal.h"

#include <algorithm>
#include <cstring>

#include "peer.pb.h"

namespace openp2p::agent {
namespace {

constexpr std::string_view kSignatureContext = "openp2p signal 1";

const char* words(SignalError error) {
  switch (error) {
    case SignalError::kMalformed:
      return "the signalling message is malformed";
    case SignalError::kBadSignature:
      return "the signalling message is not signed by its sender";
    case SignalError::kNotForUs:
      return "the signalling message is for another node";
  }
  return "unknown signalling error";
}

Bytes to_be_signed(std::string_view body) {
  std::string text(kSignatureContext);
  text += body;
  return to_bytes(as_bytes(text));
}

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

template <std::size_t size>
bool take(std::string_view from, std::array<std::byte, size>& to) {
  if (from.size() != size) return false;
  std::memcpy(to.data(), from.data(), size);
  return true;
}

std::optional<path::Candidate> to_candidate(const peer::Candidate& message) {
  if (message.port() == 0 || message.port() > 65'535) return std::nullopt;
  std::array<std::uint8_t, 16> ip{};
  const std::string& bytes = message.ip();
  path::Candidate candidate;
  candidate.address.port = static_cast<std::uint16_t>(message.port());
  if (bytes.size() == 4) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    candidate.address.ip = IpAddress::v4(at(0), at(1), at(2), at(3));
  } else if (bytes.size() == 16) {
    std::memcpy(ip.data(), bytes.data(), ip.size());
    candidate.address.ip = IpAddress::v6(ip);
  } else {
    return std::nullopt;
  }
  switch (message.type()) {
    case peer::Candidate::HOST:
      candidate.type = path::CandidateType::kHost;
      break;
    case peer::Candidate::SERVER_REFLEXIVE:
      candidate.type = path::CandidateType::kServerReflexive;
      break;
    case peer::Candidate::MAPPED:
      candidate.type = path::CandidateType::kMapped;
      break;
    default:
      return std::nullopt;  // Not announced by this version, or not to be: skip it.
  }
  return candidate;
}

void add_candidate(peer::SignalBody& body, const path::Candidate& candidate) {
  peer::Candidate& message = *body.add_candidates();
  const ByteView ip = std::as_bytes(std::span(candidate.address.ip.bytes()));
  message.set_ip(to_string(candidate.address.ip.is_v4() ? ip.last(4) : ip));
  message.set_port(candidate.address.port);
  switch (candidate.type) {
    case path::CandidateType::kHost:
      message.set_type(peer::Candidate::HOST);
      break;
    case path::CandidateType::kServerReflexive:
      message.set_type(peer::Candidate::SERVER_REFLEXIVE);
      break;
    case path::CandidateType::kPeerReflexive:
      message.set_type(peer::Candidate::PEER_REFLEXIVE);
      break;
    case path::CandidateType::kMapped:
      message.set_type(peer::Candidate::MAPPED);
      break;
    case path::CandidateType::kRelayed:
      message.set_type(peer::Candidate::RELAYED);
      break;
  }
}

}  // namespace

std::error_code make_error_code(SignalError error) {
  static const ErrorCategory<SignalError> kCategory("signal", words);
  return {static_cast<int>(error), kCategory};
}

Bytes encode_signal(const PeerSignal& signal, const IdentityKey& key) {
  peer::SignalBody body;
  body.set_from(to_string(signal.from.key));
  body.set_to(to_string(signal.to.key));
  body.set_attempt(to_string(signal.attempt));
  body.set_kind(static_cast<peer::SignalBody::Kind>(signal.kind));
  body.set_agreement_key(to_string(signal.agreement_key));
  body.set_tag(signal.tag.value());
  const std::size_t count = std::min(signal.candidates.size(), PeerSignal::kCandidatesMax);
  for (std::size_t i = 0; i < count; ++i) add_candidate(body, signal.candidates[i]);
  body.set_reason(signal.reason);
  body.set_incarnation(signal.incarnation);
  body.set_sequence(signal.sequence);

  peer::SignedSignal message;
  message.set_body(body.SerializeAsString());
  message.set_signature(to_string(key.sign(to_be_signed(message.body()))));
  return to_bytes(as_bytes(message.SerializeAsString()));
}

Result<PeerSignal> decode_signal(ByteView bytes, const NodeId& from, const NodeId& to) {
  peer::SignedSignal message;
  if (bytes.size() > PeerSignal::kBytesMax ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return make_error_code(SignalError::kMalformed);
  }
  if (!verify_signature(from, to_be_signed(message.body()), as_bytes(message.signature()))) {
    return make_error_code(SignalError::kBadSignature);
  }
  peer::SignalBody body;
  if (!body.ParseFromString(message.body())) return make_error_code(SignalError::kMalformed);
  PeerSignal signal;
  if (!take(body.from(), signal.from.key) || !take(body.to(), signal.to.key) ||
      !take(body.attempt(), signal.attempt) || body.kind() < 1 || body.kind() > 4) {
    return make_error_code(SignalError::kMalformed);
  }
  if (signal.from != from || signal.to != to) return make_error_code(SignalError::kNotForUs);
  signal.kind = static_cast<PeerSignal::Kind>(body.kind());
  const bool has_key = take(body.agreement_key(), signal.agreement_key);
  const bool needs_key =
      signal.kind == PeerSignal::Kind::kOffer || signal.kind == PeerSignal::Kind::kAnswer;
  if (needs_key && (!has_key || body.tag() == 0)) return make_error_code(SignalError::kMalformed);
  signal.tag = path::FinderTag(body.tag());
  for (const peer::Candidate& candidate : body.candidates()) {
    if (signal.candidates.size() == PeerSignal::kCandidatesMax) break;
    if (auto known = to_candidate(candidate)) signal.candidates.push_back(*known);
  }
  signal.reason = printable(body.reason());
  signal.incarnation = body.incarnation();
  signal.sequence = body.sequence();
  return signal;
}

std::array<std::byte, 32> derive_check_key(const SharedSecret& shared, const AttemptId& attempt,
                                           const NodeId& offerer, const NodeId& answerer) {
  Bytes info = to_bytes(as_bytes("openp2p check key"));
  info.insert(info.end(), offerer.key.begin(), offerer.key.end());
  info.insert(info.end(), answerer.key.begin(), answerer.key.end());
  std::array<std::byte, 32> key;
  hkdf_sha256(shared, attempt, info, key);
  return key;
}

}  // namespace openp2p::agent
