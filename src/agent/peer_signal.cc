#include "agent/peer_signal.h"

#include <algorithm>
#include <cstring>

#include "peer.pb.h"

namespace openp2p::agent {
namespace {

constexpr std::string_view kSignatureContext = "openp2p signal 1";
constexpr int kStepMax = 1'024;  // No allocator that anybody saw skips more ports.
constexpr Duration kRttMax = std::chrono::seconds(2);
constexpr std::uint32_t kRoundMax = 1'000'000;

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

std::uint32_t to_microseconds(Duration duration) {
  const auto limited = std::clamp(duration, Duration::zero(), kRttMax);
  return static_cast<std::uint32_t>(limited / std::chrono::microseconds(1));
}

std::string to_string(ByteView bytes) { return std::string(as_text(bytes)); }

template <std::size_t size>
bool take(std::string_view from, std::array<std::byte, size>& to) {
  if (from.size() != size) return false;
  std::memcpy(to.data(), from.data(), size);
  return true;
}

std::optional<IpAddress> to_ip(const std::string& bytes) {
  if (bytes.size() == 4) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    return IpAddress::v4(at(0), at(1), at(2), at(3));
  }
  std::array<std::uint8_t, 16> ip{};
  if (bytes.size() != ip.size()) return std::nullopt;
  std::memcpy(ip.data(), bytes.data(), ip.size());
  return IpAddress::v6(ip);
}

std::string ip_bytes(const IpAddress& ip) {
  const ByteView bytes = std::as_bytes(std::span(ip.bytes()));
  return to_string(ip.is_v4() ? bytes.last(4) : bytes);
}

std::optional<path::Candidate> to_candidate(const peer::Candidate& message) {
  if (message.port() == 0 || message.port() > 65'535) return std::nullopt;
  const auto ip = to_ip(message.ip());
  if (!ip) return std::nullopt;
  path::Candidate candidate;
  candidate.address = {*ip, static_cast<std::uint16_t>(message.port())};
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
  if (message.transport() == peer::Candidate::TCP) {
    candidate.transport = path::Transport::kTcp;
  } else if (message.transport() != peer::Candidate::UDP) {
    return std::nullopt;
  }
  return candidate;
}

void add_candidate(peer::SignalBody& body, const path::Candidate& candidate) {
  peer::Candidate& message = *body.add_candidates();
  message.set_ip(ip_bytes(candidate.address.ip));
  message.set_port(candidate.address.port);
  message.set_transport(candidate.transport == path::Transport::kTcp ? peer::Candidate::TCP
                                                                     : peer::Candidate::UDP);
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

static_assert(static_cast<int>(nat::Dependence::kAddressAndPortDependent) ==
              peer::NatProfile::ADDRESS_AND_PORT_DEPENDENT);
static_assert(static_cast<int>(nat::PortAllocation::kNoPattern) == peer::NatProfile::NO_PATTERN);

/// Enumerators of later versions are unknown here, and unknown is what is made of them.
template <class Enum>
Enum known_or_unknown(int value, Enum last) {
  return value >= 0 && value <= static_cast<int>(last) ? static_cast<Enum>(value) : Enum::kUnknown;
}

std::uint16_t to_port(std::uint32_t number) {
  return number <= 65'535 ? static_cast<std::uint16_t>(number) : std::uint16_t{0};
}

nat::NatProfile to_profile(const peer::NatProfile& message) {
  nat::NatProfile profile;
  profile.mapping = known_or_unknown(message.mapping(), nat::Dependence::kAddressAndPortDependent);
  profile.filtering =
      known_or_unknown(message.filtering(), nat::Dependence::kAddressAndPortDependent);
  profile.allocation = known_or_unknown(message.allocation(), nat::PortAllocation::kNoPattern);
  if (auto ip = to_ip(message.external_ip()); ip && ip->is_v4()) profile.external = *ip;
  profile.last_port = to_port(message.last_port());
  profile.step = std::clamp(message.step(), -kStepMax, kStepMax);
  profile.block = {to_port(message.block_first()), to_port(message.block_last())};
  if (profile.block.first > profile.block.last) profile.block = {};
  profile.is_translated = !message.not_translated();
  profile.is_blocked = message.blocked();
  profile.is_spoilt_by_unsolicited = message.spoilt_by_unsolicited();
  return profile;
}

void fill_profile(peer::NatProfile& message, const nat::NatProfile& profile) {
  message.set_mapping(static_cast<peer::NatProfile::Dependence>(profile.mapping));
  message.set_filtering(static_cast<peer::NatProfile::Dependence>(profile.filtering));
  message.set_allocation(static_cast<peer::NatProfile::Allocation>(profile.allocation));
  if (!profile.external.is_unspecified()) message.set_external_ip(ip_bytes(profile.external));
  message.set_last_port(profile.last_port);
  message.set_step(profile.step);
  message.set_block_first(profile.block.first);
  message.set_block_last(profile.block.last);
  message.set_not_translated(!profile.is_translated);
  message.set_blocked(profile.is_blocked);
  message.set_spoilt_by_unsolicited(profile.is_spoilt_by_unsolicited);
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
  const bool is_brief = signal.kind >= PeerSignal::Kind::kRefusal;
  if (!is_brief || signal.agreement_key != AgreementKey::PublicKey{}) {
    body.set_agreement_key(to_string(signal.agreement_key));
  }
  body.set_tag(signal.tag.value());
  const std::size_t count = std::min(signal.candidates.size(), PeerSignal::kCandidatesMax);
  for (std::size_t i = 0; i < count; ++i) add_candidate(body, signal.candidates[i]);
  if (!is_brief) {
    fill_profile(*body.mutable_udp(), signal.profile.udp);
    fill_profile(*body.mutable_tcp(), signal.profile.tcp);
    if (signal.profile.entries_left) body.set_entries_left(*signal.profile.entries_left);
  }
  body.set_methods(signal.profile.methods.bits());
  body.set_server_rtt_us(to_microseconds(signal.server_rtt));
  body.set_round(signal.round);
  body.set_reason(signal.reason);
  body.set_incarnation(signal.incarnation);
  body.set_sequence(signal.sequence);
  body.set_echo(signal.echo);

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
      !take(body.attempt(), signal.attempt) || body.kind() < 1 || body.kind() > 6) {
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
  signal.profile = {to_profile(body.udp()), to_profile(body.tcp()),
                    path::MethodSet::from_bits(body.methods())};
  if (body.has_entries_left()) signal.profile.entries_left = body.entries_left();
  signal.server_rtt = std::min<Duration>(std::chrono::microseconds(body.server_rtt_us()), kRttMax);
  signal.round = std::min(body.round(), kRoundMax);
  signal.reason = printable(body.reason());
  signal.incarnation = body.incarnation();
  signal.sequence = body.sequence();
  signal.echo = body.echo();
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
