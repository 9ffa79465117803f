#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "base/ids.h"
#include "base/time.h"

/// Who lent and borrowed how much: the rules, without the disk. Records keep the rows.
///
/// A network may borrow what its nodes have lent, and an allowance each month, which is used first.
/// What counts is what both ends of an allocation have signed to have received; the relay's network
/// is credited with it, the ends' network pays. Relaying for one's own network is worth nothing.
namespace openp2p::server {

using NetworkId = std::array<std::byte, 16>;

/// A network that goes on using its relays beyond what it may borrow gets no new ones, but owes.
/// Relays are credited up to this debt; beyond it a user who made a second account would mint
/// credit.
constexpr std::uint64_t kDebtMaxBytes = 256 << 20;
/// Totals end here instead of overflowing: an exbibyte.
constexpr std::uint64_t kCreditBytesMax = std::uint64_t{1} << 60;

/// Of one network, since it exists.
struct CreditAccount {
  std::uint64_t lent_bytes = 0;
  std::uint64_t borrowed_bytes = 0;
  std::uint64_t paid_bytes = 0;  ///< Of the borrowed ones, those beyond the allowances.
  std::uint64_t free_bytes = 0;  ///< Of the borrowed ones, those of the allowance of `month`.
  int month = 0;                 ///< month_of().
  friend bool operator==(const CreditAccount&, const CreditAccount&) = default;
};

/// Months since year 0, in UTC. A clock that jumps gives another month, and an allowance too many
/// at worst.
int month_of(WallTime time);

struct CreditTerms {
  std::uint64_t allowance_bytes = 0;
  int month = 0;
  std::uint64_t oldest_step = 0;  ///< Allocations with a ticket before it are forgotten.
};

struct Borrowable {
  std::uint64_t allowance_bytes = 0;  ///< Left of this month's.
  std::uint64_t earned_bytes = 0;     ///< Lent and not borrowed back yet.
  std::uint64_t owed_bytes = 0;       ///< If more was borrowed than that.
  /// What is owed is taken from the allowance.
  std::uint64_t total() const {
    const std::uint64_t all = allowance_bytes + earned_bytes;
    return all > owed_bytes ? all - owed_bytes : 0;
  }
};
Borrowable borrowable(const CreditAccount& account, const CreditTerms& terms);

/// What one allocation's receipts have shown so far.
struct AllocationClaims {
  std::uint64_t step = 0;  ///< Of its ticket.
  std::uint64_t lower_bytes = 0;
  std::uint64_t higher_bytes = 0;
};

/// Receipts of one allocation, checked: genuine ticket, good signatures. 0 bytes: that end said
/// nothing (new).
struct ReceiptClaim {
  std::array<std::byte, 16> allocation{};
  NodeId relay;
  NodeId lower;  ///< The end with the smaller id.
  NodeId higher;
  AllocationClaims claims;
};

/// The rows that settle() works on. Not thread-safe; inside one transaction.
class CreditRows {
 public:
  virtual ~CreditRows() = default;
  virtual std::optional<AllocationClaims> find_claims(
      const std::array<std::byte, 16>& allocation) = 0;
  virtual void put_claims(const std::array<std::byte, 16>& allocation,
                          const AllocationClaims& claims) = 0;
  /// Also of a removed node: what it did before still counts.
  virtual std::optional<NetworkId> network_of(const NodeId& node) = 0;
  virtual CreditAccount account(const NetworkId& network) = 0;
  virtual void put_account(const NetworkId& network, const CreditAccount& account) = 0;
  virtual void add_lent(const NodeId& node, std::uint64_t bytes) = 0;
};

/// Credits what the claims show beyond what was shown before. In any order, any number of times:
/// claims only grow, so old and repeated ones do nothing. Gives the accounts that changed.
std::map<NetworkId, CreditAccount> settle(CreditRows& rows, std::span<const ReceiptClaim> claims,
                                          const CreditTerms& terms);

}  // namespace openp2p::server
