#include "session/sealed_receiver.h"

#include <utility>

#include "base/check.h"

namespace openp2p::session {

SealedReceiver::SealedReceiver(const SealedRatchet& ratchet, const SealedLimits& limits)
    : limits_(limits), ratchet_(ratchet) {
  current_ = std::make_unique<Epoch>(ratchet_);
  prepare_next();
}

void SealedReceiver::prepare_next() {
  ratchet_.advance();
  next_ = std::make_unique<Epoch>(ratchet_);
}

SealedReceiver::Verdict SealedReceiver::open(ByteView datagram, MutableByteView out,
                                             TimePoint now) {
  SealedHeader header;
  if (!read_sealed_header(datagram, header)) return Verdict::kMalformed;
  CHECK(out.size() + kSealedOverhead == datagram.size());
  const std::uint64_t ahead =
      (header.epoch_bits + kSealedEpochsTold - current_->number % kSealedEpochsTold) %
      kSealedEpochsTold;
  if (ahead == 0) return open_with(*current_, header, datagram, out);
  if (ahead == 1) {
    const Verdict verdict = open_with(*next_, header, datagram, out);
    if (verdict == Verdict::kOpened) step(now);
    return verdict;
  }
  if (ahead < kSealedEpochsTold - 1) return open_far(ahead, header, datagram, out, now);
  if (previous_ != nullptr && now >= previous_until_) previous_.reset();
  if (previous_ == nullptr) return Verdict::kStale;
  return open_with(*previous_, header, datagram, out);
}

/// The window is asked first: a replay costs no AEAD.
SealedReceiver::Verdict SealedReceiver::open_with(Epoch& epoch, const SealedHeader& header,
                                                  ByteView datagram, MutableByteView out) {
  if (!epoch.seen.is_fresh(header.counter)) return Verdict::kReplayed;
  if (epoch.forged >= limits_.forged_per_key_max) return Verdict::kForged;
  const ByteView front = datagram.first(kSealedHeaderSize);
  if (!epoch.key->open(header.counter, front, datagram.subspan(kSealedHeaderSize), out)) {
    ++epoch.forged;
    return Verdict::kForged;
  }
  epoch.seen.mark(header.counter);
  ++arrivals_.came;
  arrivals_.payload_bytes += out.size();
  if (header.counter >= epoch.counted) {
    arrivals_.sent += header.counter + 1 - epoch.counted;
    epoch.counted = header.counter + 1;
  }
  return Verdict::kOpened;
}

/// Epochs in between were lost as a whole; what comes late of them is stale.
SealedReceiver::Verdict SealedReceiver::open_far(std::uint64_t ahead, const SealedHeader& header,
                                                 ByteView datagram, MutableByteView out,
                                                 TimePoint now) {
  if (now < far_at_) return Verdict::kStale;
  far_at_ = now + kFarGap;
  SealedRatchet ratchet = ratchet_;
  for (std::uint64_t i = 1; i < ahead; ++i) ratchet.advance();
  auto epoch = std::make_unique<Epoch>(ratchet);
  const Verdict verdict = open_with(*epoch, header, datagram, out);
  if (verdict != Verdict::kOpened) return verdict;
  previous_.reset();
  current_ = std::move(epoch);
  ratchet_ = ratchet;
  prepare_next();
  return verdict;
}

void SealedReceiver::step(TimePoint now) {
  previous_ = std::exchange(current_, std::move(next_));
  previous_until_ = now + kPreviousKept;
  prepare_next();
}

}  // namespace openp2p::session
