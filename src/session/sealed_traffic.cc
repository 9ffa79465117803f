#include "session/sealed_traffic.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/crypto.h"
#include "quic/key_schedule.h"

namespace openp2p::session {
namespace {

/// Of HKDF-Expand-Label: purpose, use and direction.
std::string label(std::string_view purpose, SealedUse use, bool is_dialers) {
  std::string label(purpose);
  label += static_cast<char>('0' + static_cast<int>(use));
  label += is_dialers ? " dialer" : " acceptor";
  return label;
}

}  // namespace

SealedTraffic::~SealedTraffic() { wipe(agreement_.secret); }

SealedTraffic::Ids SealedTraffic::start(const Agreement& agreement) {
  CHECK(!is_running_);
  agreement_ = agreement;
  is_running_ = true;
  Ids ids;
  for (std::size_t i = 0; i < kSealedUses; ++i) {
    ids[i] = id_of(static_cast<SealedUse>(i), !agreement.is_dialer);
  }
  return ids;
}

void SealedTraffic::stop() {
  is_running_ = false;
  outbox_.clear();
}

SealedId SealedTraffic::id_of(SealedUse use, bool is_dialers) const {
  std::array<std::byte, sizeof(SealedId)> bytes;
  quic::expand_label(agreement_.algorithm, agreement_.secret, label("sealed id ", use, is_dialers),
                     bytes);
  SealedId id = 0;
  for (const std::byte b : bytes) id = id << 8 | std::to_integer<SealedId>(b);
  return id;
}

SealedRatchet SealedTraffic::ratchet_of(SealedUse use, bool is_dialers) const {
  std::array<std::byte, kSealedSecretSize> secret;
  quic::expand_label(agreement_.algorithm, agreement_.secret, label("sealed use ", use, is_dialers),
                     secret);
  SealedRatchet ratchet(*agreement_.protection, agreement_.algorithm, secret);
  wipe(secret);
  return ratchet;
}

SealedSender& SealedTraffic::sender_of(SealedUse use) {
  std::unique_ptr<SealedSender>& sender = at(use).sender;
  const bool is_dialers = agreement_.is_dialer;
  if (sender == nullptr) {
    sender = std::make_unique<SealedSender>(id_of(use, is_dialers), ratchet_of(use, is_dialers));
  }
  return *sender;
}

SealedReceiver& SealedTraffic::receiver_of(SealedUse use) {
  std::unique_ptr<SealedReceiver>& receiver = at(use).receiver;
  if (receiver == nullptr) {
    receiver = std::make_unique<SealedReceiver>(ratchet_of(use, !agreement_.is_dialer));
  }
  return *receiver;
}

void SealedTraffic::note(SealedReceiver::Verdict verdict) {
  switch (verdict) {
    case SealedReceiver::Verdict::kOpened:
      ++shared_.counters.received;
      return;
    case SealedReceiver::Verdict::kReplayed:
      ++shared_.counters.replayed;
      return;
    case SealedReceiver::Verdict::kStale:
      ++shared_.counters.stale;
      return;
    case SealedReceiver::Verdict::kMalformed:
    case SealedReceiver::Verdict::kForged:
      ++shared_.counters.forged;
      return;
  }
}

std::size_t SealedTraffic::on_datagrams(Session& session, SealedUse use, ByteView datagrams,
                                        std::size_t segment_bytes, TimePoint now) {
  if (!is_running_ || shared_.depth == SealedShared::kNestingMax) return 0;
  MutableByteView buffer = shared_.opened[shared_.depth++];
  std::size_t opened = 0;
  while (!datagrams.empty()) {
    const ByteView datagram = datagrams.first(std::min(segment_bytes, datagrams.size()));
    datagrams = datagrams.subspan(datagram.size());
    // The handler may take itself off, or close the session, from inside a call.
    SealedHandler* const handler = at(use).handler;
    if (!is_running_ || handler == nullptr) {
      ++shared_.counters.unheard;
      continue;
    }
    if (datagram.size() < kSealedOverhead || datagram.size() > kSealedBytesMax) {
      note(SealedReceiver::Verdict::kMalformed);
      continue;
    }
    const MutableByteView payload = buffer.first(datagram.size() - kSealedOverhead);
    const auto verdict = receiver_of(use).open(datagram, payload, now);
    note(verdict);
    if (verdict != SealedReceiver::Verdict::kOpened) continue;
    ++opened;
    handler->on_sealed(session, use, payload, now);
  }
  --shared_.depth;
  return opened;
}

SealedArrivals SealedTraffic::arrivals() const {
  SealedArrivals all;
  for (const Use& use : uses_) {
    if (use.receiver != nullptr) all += use.receiver->arrivals();
  }
  return all;
}

MutableByteView SealedTraffic::room(SealedUse use, std::size_t bytes) {
  const MutableByteView room = is_running_ ? outbox_.room(use, bytes) : MutableByteView();
  if (room.empty()) note_dropped();
  return room;
}

void SealedTraffic::drop_waiting() {
  while (!outbox_.empty()) {
    outbox_.pop();
    note_dropped();
  }
}

/// One shorter datagram may end a burst (UDP_SEGMENT); a longer one begins the next.
quic::Burst SealedTraffic::poll_burst(MutableByteView out, std::size_t datagram_bytes,
                                      TimePoint now) {
  quic::Burst burst;
  while (!outbox_.empty()) {
    const SealedOutbox::Waiting waiting = outbox_.front();
    const std::size_t bytes = waiting.payload.size() + kSealedOverhead;
    if (bytes > datagram_bytes) {  // The path became narrower, or another.
      outbox_.pop();
      note_dropped();
      continue;
    }
    if (burst.bytes == 0) burst.segment_bytes = bytes;
    if (bytes > burst.segment_bytes || bytes > out.size() - burst.bytes) break;
    sender_of(waiting.use).seal(waiting.payload, out.subspan(burst.bytes, bytes), now);
    outbox_.pop();
    ++shared_.counters.sent;
    burst.bytes += bytes;
    if (bytes < burst.segment_bytes) break;
  }
  return burst;
}

}  // namespace openp2p::session
