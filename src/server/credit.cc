#include "server/credit.h"

#include <algorithm>
#include <chrono>

namespace openp2p::server {
namespace {

std::uint64_t sum(std::uint64_t a, std::uint64_t b) {
  return std::min(std::min(a, kCreditBytesMax) + std::min(b, kCreditBytesMax), kCreditBytesMax);
}

std::uint64_t beyond(std::uint64_t bytes, std::uint64_t limit) {
  return bytes > limit ? bytes - limit : 0;
}

/// Both directions, once both ends have signed: their own words, so nobody else can add to them.
/// (The smaller of the two would count a download as its acknowledgements.)
std::uint64_t proven(const AllocationClaims& claims) {
  if (claims.lower_bytes == 0 || claims.higher_bytes == 0) return 0;
  return sum(claims.lower_bytes, claims.higher_bytes);
}

void begin_month(CreditAccount& account, int month) {
  if (account.month == month) return;
  account.month = month;
  account.free_bytes = 0;
}

/// Gives what of it the relay is credited with.
std::uint64_t borrow(CreditAccount& account, std::uint64_t bytes, const CreditTerms& terms) {
  begin_month(account, terms.month);
  const Borrowable before = borrowable(account, terms);
  const std::uint64_t debt = beyond(before.owed_bytes, before.allowance_bytes);
  const std::uint64_t covered = sum(before.total(), beyond(kDebtMaxBytes, debt));
  const std::uint64_t free = std::min(bytes, beyond(terms.allowance_bytes, account.free_bytes));
  account.free_bytes = sum(account.free_bytes, free);
  account.paid_bytes = sum(account.paid_bytes, bytes - free);
  account.borrowed_bytes = sum(account.borrowed_bytes, bytes);
  return std::min(bytes, covered);
}

}  // namespace

int month_of(WallTime time) {
  using std::chrono::floor;
  const std::chrono::sys_time<std::chrono::microseconds> at{std::chrono::microseconds(time.us)};
  const std::chrono::year_month_day day(floor<std::chrono::days>(at));
  return static_cast<int>(day.year()) * 12 + static_cast<int>(static_cast<unsigned>(day.month())) -
         1;
}

Borrowable borrowable(const CreditAccount& account, const CreditTerms& terms) {
  const std::uint64_t used = account.month == terms.month ? account.free_bytes : 0;
  return {.allowance_bytes = beyond(terms.allowance_bytes, used),
          .earned_bytes = beyond(account.lent_bytes, account.paid_bytes),
          .owed_bytes = beyond(account.paid_bytes, account.lent_bytes)};
}

std::map<NetworkId, CreditAccount> settle(CreditRows& rows, std::span<const ReceiptClaim> claims,
                                          const CreditTerms& terms) {
  std::map<NetworkId, CreditAccount> changed;
  const auto account = [&](const NetworkId& network) -> CreditAccount& {
    const auto [found, is_new] = changed.try_emplace(network);
    if (is_new) found->second = rows.account(network);
    return found->second;
  };
  for (const ReceiptClaim& claim : claims) {
    const auto lender = rows.network_of(claim.relay);
    const auto payer = rows.network_of(claim.lower);
    if (!lender || !payer || lender == payer || payer != rows.network_of(claim.higher)) continue;
    AllocationClaims known = rows.find_claims(claim.allocation).value_or(AllocationClaims{});
    const std::uint64_t before = proven(known);
    known.step = claim.claims.step;
    known.lower_bytes = std::max(known.lower_bytes, claim.claims.lower_bytes);
    known.higher_bytes = std::max(known.higher_bytes, claim.claims.higher_bytes);
    rows.put_claims(claim.allocation, known);
    const std::uint64_t fresh = proven(known) - before;
    if (fresh == 0) continue;
    const std::uint64_t credited = borrow(account(*payer), fresh, terms);
    CreditAccount& lent = account(*lender);
    lent.lent_bytes = sum(lent.lent_bytes, credited);
    rows.add_lent(claim.relay, credited);
  }
  for (const auto& [network, state] : changed) rows.put_account(network, state);
  return changed;
}

}  // namespace openp2p::server
