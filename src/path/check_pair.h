#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/address.h"
#include "base/time.h"
#include "nat/stun_message.h"
#include "path/candidate.h"
#include "path/method.h"
#include "path/mtu_search.h"
#include "path/token_bucket.h"

namespace openp2p::path {

/// A candidate of the peer, and how much may be sent to it before it has answered.
///
/// Whoever names an address to us can make us send there. So an address gets kBurstChecks at once
/// and one more every kTrickle; only an authenticated answer from it fills the budget again. One
/// check has about 100 bytes: a victim sees 2.4 KB, then 20 bytes a second.
struct RemoteCandidate {
  /// One whole burst of kBurstSteps, and room for triggered checks.
  static constexpr int kBurstChecks = 24;
  static constexpr Duration kTrickle = std::chrono::seconds(5);
  /// An answer is no larger than the request, so more of them are harmless.
  static constexpr int kBurstAnswers = 64;
  static constexpr Duration kAnswerTrickle = std::chrono::seconds(1);

  Candidate candidate;
  TimePoint added_at;
  TimePoint named_at = TimePoint::min();  ///< By the peer, most recently.
  bool has_answered = false;
  TokenBucket checks{kBurstChecks, kTrickle};
  TokenBucket answers{kBurstAnswers, kAnswerTrickle};
};

/// One path under test: RFC 8445's candidate pair, reduced to its base and the remote address.
///
/// Every check is a transaction of its own and is never retransmitted, so each answer gives an
/// exact round-trip time. Holds the schedule of the pair alone; who is selected is decided
/// elsewhere.
class CheckPair {
 public:
  static constexpr TimePoint kNever = TimePoint::max();
  /// Checks in a burst: two quick ones, then every two first gaps: 3 s of punching by default.
  static constexpr int kBurstSteps = 16;
  /// Transactions that may still be answered: those of one burst.
  static constexpr std::size_t kTransactionsMax = 16;

  CheckPair(const Path& path, RemoteCandidate& remote, Duration first_gap, TimePoint now);
  CheckPair(const CheckPair&) = delete;
  CheckPair& operator=(const CheckPair&) = delete;

  const Path& path() const { return path_; }
  RemoteCandidate& remote() { return *remote_; }
  const RemoteCandidate& remote() const { return *remote_; }

  TimePoint appeared_at() const { return appeared_at_; }
  void restart(TimePoint now);  ///< Begins a burst: the path is wanted or doubted.
  void check_by(TimePoint at);  ///< The next check is not later than this.
  void set_due(TimePoint at) { due_at_ = at; }
  TimePoint due_at() const { return due_at_; }
  bool is_bursting() const { return steps_ < kBurstSteps; }
  int steps() const { return steps_; }  ///< Checks since the last restart or answer.

  void on_sent(const nat::TransactionId& id, bool is_nomination, TimePoint now);
  /// True if `id` is of a check still unanswered; the pair is valid from then on.
  bool on_answer(const nat::TransactionId& id, TimePoint now);
  /// A check of this path that was sent at that time, before there was a pair, was answered.
  void on_answer_to(TimePoint sent_at, TimePoint now);
  /// A padded check. Its loss says nothing about the path, only about the size.
  void on_probe_sent(const nat::TransactionId& id, std::size_t bytes, TimePoint now);
  bool knows(const nat::TransactionId& id) const;
  void on_authentic(TimePoint now) { authentic_at_ = now; }
  void set_proven(TimePoint now);
  void set_invalid();

  bool is_narrow(TimePoint now) const { return now < narrow_until; }
  bool is_valid() const { return is_valid_; }
  /// Valid, and no check since the last answer is missing its own.
  bool is_settled() const { return is_valid_ && unanswered_ == 0; }
  int unanswered() const { return unanswered_; }
  TimePoint unanswered_since() const { return unanswered_since_; }
  TimePoint answered_at() const { return answered_at_; }
  TimePoint heard_at() const { return std::max(answered_at_, authentic_at_); }

  std::optional<Duration> rtt() const { return rtt_; }
  int rtt_samples() const { return rtt_samples_; }
  unsigned checks_sent() const { return checks_sent_; }
  bool is_nomination_known() const { return is_nomination_known_; }
  /// The peer has to hear of it again: answers to what was sent before say nothing.
  void renew_nomination();

  std::uint64_t priority = 0;  ///< RFC 8445 section 6.1.2.3.
  Candidate local;
  MtuSearch mtu;            ///< Runs while the pair is selected.
  unsigned relay_rank = 0;  ///< Of relayed ones: 0 is the most welcome.
  bool is_stream() const { return local.transport == Transport::kTcp; }
  // Set by the owner before the first check: which method this pair is a part of, whether it may be
  // used, and until when only an opener may be sent (Plan::opener_hops; 0: it was, or none is due).
  std::optional<Method> method;
  bool is_prepared = false;
  bool is_barred = false;
  /// From where this side is now, both NATs have seen something that opens them: a check was sent
  /// that goes all the way, or one came.
  bool is_opened = false;
  std::uint8_t opener_hops = 0;
  TimePoint hold_until = TimePoint::min();
  TimePoint narrow_until = TimePoint::min();  ///< Full-size datagrams were lost on it.
  bool is_triggered = false;                  ///< RFC 8445 section 7.3.1.4: goes before all others.

 private:
  struct Transaction {
    nat::TransactionId id;
    TimePoint sent_at;
    bool is_nomination = false;
    std::size_t probe_bytes = 0;  // 0: not a probe.
    bool is_open = false;
  };

  Transaction& open_transaction(const nat::TransactionId& id, TimePoint now);
  Duration gap_after_check() const;
  void add_rtt(Duration sample);

  Path path_;
  RemoteCandidate* remote_;  // Outlives the pair: CheckList erases pairs first.
  Duration first_gap_;
  TimePoint appeared_at_;
  TimePoint due_at_;
  int steps_ = 0;
  bool is_rapid_ = true;
  bool is_valid_ = false;
  bool is_nomination_known_ = false;
  int unanswered_ = 0;
  TimePoint unanswered_since_;
  TimePoint answered_at_ = TimePoint::min();
  TimePoint authentic_at_ = TimePoint::min();
  std::optional<Duration> rtt_;
  int rtt_samples_ = 0;
  unsigned checks_sent_ = 0;
  std::array<Transaction, kTransactionsMax> transactions_{};
};

}  // namespace openp2p::path
