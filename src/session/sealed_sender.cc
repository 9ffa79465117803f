#include "session/sealed_sender.h"

#include "base/check.h"

namespace openp2p::session {

SealedSender::SealedSender(SealedId id, const SealedRatchet& ratchet, const SealedLimits& limits)
    : limits_(limits), id_(id), ratchet_(ratchet), key_(ratchet_.make_key()) {
  CHECK(limits.datagrams_per_key_max > 0);
}

bool SealedSender::is_spent(TimePoint now) const {
  return counter_ >= limits_.datagrams_per_key_max ||
         (counter_ > 0 && now - first_used_ >= limits_.key_age_max);
}

void SealedSender::seal(ByteView payload, MutableByteView out, TimePoint now) {
  CHECK(out.size() == payload.size() + kSealedOverhead);
  if (is_spent(now)) {
    ratchet_.advance();
    key_ = ratchet_.make_key();
    counter_ = 0;
  }
  if (counter_ == 0) first_used_ = now;
  const auto header = out.first<kSealedHeaderSize>();
  const auto epoch_bits = static_cast<std::uint8_t>(epoch() % kSealedEpochsTold);
  write_sealed_header({epoch_bits, id_, counter_}, header);
  key_->seal(counter_, header, payload, out.subspan(kSealedHeaderSize));
  ++counter_;
}

}  // namespace openp2p::session
