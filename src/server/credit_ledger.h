#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "path/token_bucket.h"
#include "server/credit.h"
#include "server/relay_messages.h"
#include "server/relay_secrets.h"

namespace openp2p::server {

/// Takes receipts, checks them, and gathers them into batches for the store; knows what each
/// network that is online may borrow.
///
/// A receipt carries its ticket, so that no grant has to be remembered to judge it. Batches that
/// fail are tried again: claims only grow, so nothing counts twice, and what a crash loses the next
/// receipt brings again.
/// Sans-I/O. Threading: one owner.
class CreditLedger {
 public:
  /// One write for all receipts of this time: about as long as a person waits to see a number move.
  static constexpr Duration kBatchInterval = std::chrono::seconds(10);
  static constexpr std::size_t kBatchMax = 1'000;
  /// Allocations with receipts that wait for the store; beyond, receipts are dropped, and the next
  /// ones say as much.
  static constexpr std::size_t kPendingMax = 20'000;
  /// Signatures looked at in a second, of all relays: a fifth of a core. Beyond, likewise.
  static constexpr int kVerifiesMax = 2'000;
  static constexpr Duration kVerifyInterval = std::chrono::microseconds(500);
  /// Receipts with an older ticket count no more, so that their allocations can be forgotten.
  static constexpr Duration kTicketAgeMax = std::chrono::hours(24 * 30);
  /// Faster than any relay: who claims more than this since its ticket was made lies.
  static constexpr std::uint64_t kBytesPerStepMax = 10'000'000'000ULL / 8 * 30;

  CreditLedger(const RelaySecrets& secrets, std::uint64_t allowance_bytes)
      : secrets_(secrets), allowance_bytes_(allowance_bytes) {}

  enum class Outcome {
    kTaken,
    kMalformed,
    kNotTheRelay,  ///< Sent by another than the relay that it names.
    kForged,       ///< No ticket of this server, or not signed by the end.
    kTooOld,
    kImpossible,  ///< More bytes than time allows.
    kBusy,
  };
  struct Taken {
    Outcome outcome = Outcome::kMalformed;
    NodeId relay;  ///< Where it was taken: it is in use.
    NodeId end;
  };
  Taken on_receipt(const NodeId& sender, const SignedReceipt& receipt, WallTime server_time,
                   TimePoint now);

  /// What is to be recorded now; empty: nothing, or a batch is under way. `is_last`: whatever
  /// waits.
  std::vector<ReceiptClaim> take_batch(TimePoint now, bool is_last = false);
  void on_recorded(const std::map<NetworkId, CreditAccount>& changed);
  void on_failed(const std::vector<ReceiptClaim>& batch, TimePoint now);
  std::optional<TimePoint> next_timeout() const;

  /// Of networks with somebody online.
  void set_account(const NetworkId& network, const CreditAccount& account);
  void forget_account(const NetworkId& network) { accounts_.erase(network); }
  Borrowable borrowable_by(const NetworkId& network, WallTime now) const;
  /// It owes so much that relays are credited with nothing more of what it borrows.
  bool is_spent(const NetworkId& network, WallTime now) const;
  const CreditAccount* account(const NetworkId& network) const;
  CreditTerms terms(WallTime now, std::uint64_t step) const;
  std::uint64_t allowance_bytes() const { return allowance_bytes_; }

  struct Counters {
    std::uint64_t taken = 0;
    std::uint64_t refused = 0;  ///< Forged, malformed, impossible, of others.
    std::uint64_t too_old = 0;
    std::uint64_t busy = 0;
  };
  const Counters& counters() const { return counters_; }
  std::size_t pending_count() const { return pending_.size(); }

 private:
  Outcome check(const NodeId& sender, const SignedReceipt& receipt, std::uint64_t step,
                ReceiptClaim& claim, NodeId& end);
  void merge(const ReceiptClaim& claim);

  const RelaySecrets& secrets_;
  const std::uint64_t allowance_bytes_;
  std::map<relay::AllocationId, ReceiptClaim> pending_;
  std::optional<TimePoint> batch_at_;
  bool is_recording_ = false;
  path::TokenBucket verifies_{kVerifiesMax, kVerifyInterval};
  TimePoint now_;
  std::map<NetworkId, CreditAccount> accounts_;
  Counters counters_;
};

/// "1.5 GiB", for people.
std::string byte_text(std::uint64_t bytes);

}  // namespace openp2p::server
