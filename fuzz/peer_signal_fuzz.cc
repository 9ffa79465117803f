// Law: whatever body a peer of ours signs is refused, or within every limit of what it is read as,
// and writing what was read gives a signal that reads the same. Unsigned bytes are never read.
#include "agent/peer_signal.h"

#include <algorithm>

#include "agent/test_party.h"
#include "base/check.h"
#include "peer.pb.h"

using namespace openp2p;
using namespace openp2p::agent;

namespace {

constexpr std::size_t kReasonBytesMax = 200;

Bytes sign(ByteView body, const IdentityKey& key) {
  peer::SignedSignal message;
  message.set_body(body.data(), body.size());
  const auto signature = key.sign(as_bytes("openp2p signal 1" + message.body()));
  message.set_signature(signature.data(), signature.size());
  return to_bytes(as_bytes(message.SerializeAsString()));
}

bool is_same(const path::Candidate& a, const path::Candidate& b) {
  return a.type == b.type && a.address == b.address && a.transport == b.transport;
}

void check_same(const PeerSignal& a, const PeerSignal& b) {
  CHECK(a.from == b.from && a.to == b.to && a.attempt == b.attempt && a.kind == b.kind);
  CHECK(a.agreement_key == b.agreement_key && a.tag == b.tag);
  CHECK(a.reason == b.reason || a.reason.size() > kReasonBytesMax);  // Cut again.
  CHECK(a.incarnation == b.incarnation && a.sequence == b.sequence && a.echo == b.echo);
  CHECK(a.server_rtt == b.server_rtt && a.round == b.round);
  CHECK(a.profile == b.profile || a.kind >= PeerSignal::Kind::kRefusal);
  CHECK(std::ranges::equal(a.candidates, b.candidates, is_same));
}

}  // namespace

/// The first byte tells whether the rest is a signed message as it is, or a body that gets the ends
/// filled in and a good signature, which no fuzzer would guess.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Party kAlice(1), kBob(2);
  if (size == 0) return 0;
  const ByteView input = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] == 0) {
    (void)decode_signal(input, kAlice.id(), kBob.id());
    return 0;
  }
  peer::SignalBody body;
  if (!body.ParseFromArray(input.data(), static_cast<int>(input.size()))) return 0;
  body.set_from(kAlice.id().key.data(), NodeId::kSize);
  body.set_to(kBob.id().key.data(), NodeId::kSize);
  if (data[0] == 1) body.set_attempt(std::string(AttemptId().size(), 'a'));
  const Bytes bytes = sign(as_bytes(body.SerializeAsString()), kAlice.key());
  const auto signal = decode_signal(bytes, kAlice.id(), kBob.id());
  CHECK(!decode_signal(bytes, kBob.id(), kAlice.id()));
  if (!signal) return 0;
  CHECK(bytes.size() <= PeerSignal::kBytesMax);
  CHECK(signal->candidates.size() <= PeerSignal::kCandidatesMax);
  CHECK(printable(signal->reason, 300) == signal->reason);
  for (const path::Candidate& candidate : signal->candidates) CHECK(candidate.address.port != 0);

  const auto again = decode_signal(encode_signal(*signal, kAlice.key()), kAlice.id(), kBob.id());
  CHECK(again);
  check_same(*signal, *again);
  return 0;
}
