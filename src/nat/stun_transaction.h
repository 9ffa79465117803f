#pragma once

#include <cstdint>
#include <optional>

#include "base/address.h"
#include "base/bytes.h"
#include "base/crypto.h"
#include "base/time.h"
#include "nat/stun_message.h"

namespace openp2p::nat {

/// When a request is sent again (RFC 8489 section 6.2.1): after `first`, then after twice that, ..;
/// `sends_max` times in all, and given up `last_wait` after the last.
struct RetransmitSchedule {
  static constexpr unsigned kSendsMax = 16;  ///< 2^15 times `first`: nobody waits longer.

  Duration first = std::chrono::milliseconds(500);           ///< RTO
  unsigned sends_max = 7;                                    ///< Rc, at most kSendsMax
  Duration last_wait = std::chrono::milliseconds(500) * 16;  ///< Rm * RTO
};

/// A new id: `tag` in front, 64 random bits behind, which nobody off the path can guess.
TransactionId make_transaction_id(std::uint32_t tag, SecretSource& secrets);
std::uint32_t tag_of(const TransactionId& id);

/// One request until its answer or until it is given up.
/// Sans-I/O, no allocation. Threading: one owner.
class StunTransaction {
 public:
  StunTransaction(const StunMessage& request, const Address& to, const RetransmitSchedule& schedule,
                  TimePoint now);

  /// True if this ends the transaction: an answer, success or error, to this very request. Whether
  /// it may come from an address other than to() is for the caller to know.
  bool on_answer(const StunMessage& answer, const Address& from, TimePoint now);
  void on_timeout(TimePoint now);
  /// Cancels: nothing more is sent, and it counts as given up.
  void give_up();
  std::size_t poll_datagram(MutableByteView out, TimePoint now);  ///< 0: nothing to send.
  std::optional<TimePoint> next_timeout() const;

  bool is_answered() const { return answer_.has_value(); }
  bool is_given_up() const { return is_given_up_; }
  bool is_over() const { return is_answered() || is_given_up_; }
  const TransactionId& id() const { return request_.transaction; }
  const Address& to() const { return to_; }
  unsigned sends() const { return sends_; }
  const StunMessage& answer() const;  ///< Requires is_answered().
  const Address& answered_from() const { return answered_from_; }
  /// Only of requests that were sent once: of others nobody knows which copy was answered.
  std::optional<Duration> rtt() const { return rtt_; }

 private:
  StunMessage request_;
  Address to_;
  RetransmitSchedule schedule_;
  Duration wait_;
  TimePoint due_at_;  ///< Of the next copy, or of giving up.
  TimePoint sent_at_{};
  unsigned sends_ = 0;
  bool is_due_ = true;
  bool is_given_up_ = false;
  std::optional<StunMessage> answer_;
  Address answered_from_;
  std::optional<Duration> rtt_;
};

}  // namespace openp2p::nat
