#include "nat/stun_transaction.h"

#include <algorithm>

#include "base/check.h"
#include "wire/codec.h"

namespace openp2p::nat {

TransactionId make_transaction_id(std::uint32_t tag, SecretSource& secrets) {
  TransactionId id;
  Writer(id.bytes).u32(tag);
  secrets.fill(MutableByteView(id.bytes).subspan(sizeof tag));
  return id;
}

std::uint32_t tag_of(const TransactionId& id) { return *Reader(id.bytes).u32(); }

StunTransaction::StunTransaction(const StunMessage& request, const Address& to,
                                 const RetransmitSchedule& schedule, TimePoint now)
    : request_(request), to_(to), schedule_(schedule), wait_(schedule.first), due_at_(now) {
  CHECK(schedule.first > Duration::zero() && schedule.sends_max > 0);
  CHECK(schedule.sends_max <= RetransmitSchedule::kSendsMax);
}

bool StunTransaction::on_answer(const StunMessage& answer, const Address& from, TimePoint now) {
  if (is_over() || sends_ == 0 || answer.transaction != request_.transaction) return false;
  if (answer.message_class != StunClass::kSuccess && answer.message_class != StunClass::kError) {
    return false;
  }
  answer_ = answer;
  answered_from_ = from;
  if (sends_ == 1) rtt_ = now - sent_at_;
  return true;
}

void StunTransaction::on_timeout(TimePoint now) {
  if (is_over() || is_due_ || now < due_at_) return;
  if (sends_ == schedule_.sends_max) {
    is_given_up_ = true;
    return;
  }
  is_due_ = true;
}

void StunTransaction::give_up() { is_given_up_ = !is_answered(); }

std::size_t StunTransaction::poll_datagram(MutableByteView out, TimePoint now) {
  if (is_over() || !is_due_) return 0;
  const std::size_t size = encode_stun(request_, {}, out);
  CHECK(size != 0);
  is_due_ = false;
  ++sends_;
  sent_at_ = now;
  due_at_ = now + (sends_ == schedule_.sends_max ? schedule_.last_wait : wait_);
  wait_ *= 2;
  return size;
}

std::optional<TimePoint> StunTransaction::next_timeout() const {
  if (is_over()) return std::nullopt;
  return due_at_;
}

const StunMessage& StunTransaction::answer() const {
  CHECK(is_answered());
  return *answer_;
}

}  // namespace openp2p::nat
