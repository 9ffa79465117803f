#pragma once

#include <cstdint>
#include <optional>

#include "base/time.h"

/// When a relay asks one end of an allocation for a receipt, and when it carries no more since
/// receipts lack or lie. Both in bytes that were handed on to that end, and in time.
namespace openp2p::relay {

class ReceiptWatch {
 public:
  /// A receipt each so many bytes, or after so much time of use; but not for a few checks that keep
  /// an idle path warm.
  static constexpr std::uint64_t kAskBytes = 4 << 20;
  static constexpr Duration kAskTime = std::chrono::seconds(60);
  static constexpr std::uint64_t kWorthBytes = 64 << 10;
  static constexpr Duration kAskGap = std::chrono::seconds(2);  ///< At any rate.
  /// Unproven: more than this for longer than an answer takes, or anything for this long.
  static constexpr std::uint64_t kUnprovenBytesMax = 16 << 20;
  static constexpr Duration kAnswerTime = std::chrono::seconds(10);
  static constexpr Duration kUnprovenTimeMax = std::chrono::minutes(3);
  /// What may be lost between relay and end: a fifth, and what is on its way.
  static constexpr std::uint64_t kLossDivisor = 5;
  static constexpr std::uint64_t kSlackBytes = 1 << 20;

  enum class Verdict {
    kTaken,     ///< More than before: of use to the server.
    kRepeated,  ///< As much as before.
    kFallen,    ///< Less than before: a copy of an old one.
    kTooHigh,   ///< More than was handed on.
    kTooLow,    ///< Less than loss explains: the allocation is to end.
  };

  std::uint64_t delivered() const { return delivered_; }
  std::uint64_t proven() const { return proven_; }
  /// Counts what was handed on; true: ask now (then asked() is to be called).
  bool on_delivered(std::uint64_t bytes, TimePoint now);
  bool is_wanted(TimePoint now) const;  ///< By time; to be looked at each few seconds.
  void asked(TimePoint now);
  /// Whether the end may be carried for no longer.
  bool is_overdue(TimePoint now) const;
  Verdict on_receipt(std::uint64_t bytes);

 private:
  bool may_ask(TimePoint now) const;

  std::uint64_t delivered_ = 0;
  std::uint64_t proven_ = 0;   ///< By the last receipt.
  std::uint64_t covered_ = 0;  ///< Handed on when the last answered question was asked.
  std::uint64_t asked_ = 0;    ///< Handed on when the last question was asked.
  std::optional<TimePoint> asked_at_;
  std::optional<TimePoint> unanswered_since_;  ///< The question that waits for an answer.
  std::optional<TimePoint> used_since_;        ///< The first byte that no question covers.
};

}  // namespace openp2p::relay
