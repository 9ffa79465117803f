#include "server/credit_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "relay/receipt.h"

namespace openp2p::server {
namespace {

constexpr std::uint64_t kStepsMax = CreditLedger::kTicketAgeMax / relay::kTicketStep;

}  // namespace

CreditLedger::Taken CreditLedger::on_receipt(const NodeId& sender, const SignedReceipt& receipt,
                                             WallTime server_time, TimePoint now) {
  now_ = now;
  ReceiptClaim claim;
  Taken taken;
  taken.relay = sender;
  taken.outcome = check(sender, receipt, relay::ticket_step(server_time), claim, taken.end);
  switch (taken.outcome) {
    case Outcome::kTaken:
      ++counters_.taken;
      merge(claim);
      if (!batch_at_) batch_at_ = now + kBatchInterval;
      break;
    case Outcome::kTooOld:
      ++counters_.too_old;
      break;
    case Outcome::kBusy:
      ++counters_.busy;
      break;
    case Outcome::kMalformed:
    case Outcome::kNotTheRelay:
    case Outcome::kForged:
    case Outcome::kImpossible:
      ++counters_.refused;
      break;
  }
  return taken;
}

/// Cheap questions first: a signature costs as much as all others together, a hundred times.
CreditLedger::Outcome CreditLedger::check(const NodeId& sender, const SignedReceipt& receipt,
                                          std::uint64_t step, ReceiptClaim& claim, NodeId& end) {
  const auto said = relay::decode_receipt(receipt.body);
  if (!said || said->end == said->peer) return Outcome::kMalformed;
  if (said->relay != sender) return Outcome::kNotTheRelay;
  const relay::Ticket& ticket = said->ticket;
  if (ticket.kind != relay::TicketKind::kShared) return Outcome::kMalformed;
  const std::uint64_t age = step > ticket.step ? step - ticket.step : 0;
  if (age > kStepsMax) return Outcome::kTooOld;
  if (said->bytes > (age + 2 * relay::kTicketStepsMax) * kBytesPerStepMax) {
    return Outcome::kImpossible;
  }
  const relay::TicketScope scope{.relay = said->relay, .one = said->end, .other = said->peer};
  if (!relay::is_genuine(secrets_.of(said->relay), scope, ticket)) return Outcome::kForged;
  if (pending_.size() >= kPendingMax && !pending_.contains(ticket.allocation)) {
    return Outcome::kBusy;
  }
  if (!verifies_.take(now_)) return Outcome::kBusy;
  if (!relay::check_receipt(receipt.body, receipt.signature)) return Outcome::kForged;
  end = said->end;
  const bool is_lower = said->end < said->peer;
  claim = {.allocation = ticket.allocation,
           .relay = said->relay,
           .lower = std::min(said->end, said->peer),
           .higher = std::max(said->end, said->peer),
           .claims = {.step = ticket.step,
                      .lower_bytes = is_lower ? said->bytes : 0,
                      .higher_bytes = is_lower ? 0 : said->bytes}};
  return Outcome::kTaken;
}

void CreditLedger::merge(const ReceiptClaim& claim) {
  AllocationClaims& known = pending_.try_emplace(claim.allocation, claim).first->second.claims;
  known.lower_bytes = std::max(known.lower_bytes, claim.claims.lower_bytes);
  known.higher_bytes = std::max(known.higher_bytes, claim.claims.higher_bytes);
}

std::vector<ReceiptClaim> CreditLedger::take_batch(TimePoint now, bool is_last) {
  const bool is_due = is_last || (batch_at_ && now >= *batch_at_);
  if (is_recording_ || pending_.empty() || !is_due) return {};
  const std::size_t most = is_last ? kPendingMax : kBatchMax;
  std::vector<ReceiptClaim> batch;
  while (!pending_.empty() && batch.size() < most) {
    batch.push_back(pending_.begin()->second);
    pending_.erase(pending_.begin());
  }
  is_recording_ = true;
  batch_at_.reset();
  if (!pending_.empty()) batch_at_ = now;
  return batch;
}

void CreditLedger::on_recorded(const std::map<NetworkId, CreditAccount>& changed) {
  is_recording_ = false;
  for (const auto& [network, account] : changed) {
    const auto found = accounts_.find(network);
    if (found != accounts_.end()) found->second = account;
  }
}

void CreditLedger::on_failed(const std::vector<ReceiptClaim>& batch, TimePoint now) {
  is_recording_ = false;
  for (const ReceiptClaim& claim : batch) merge(claim);
  batch_at_ = now + kBatchInterval;
}

std::optional<TimePoint> CreditLedger::next_timeout() const {
  return is_recording_ ? std::nullopt : batch_at_;
}

void CreditLedger::set_account(const NetworkId& network, const CreditAccount& account) {
  accounts_[network] = account;
}

const CreditAccount* CreditLedger::account(const NetworkId& network) const {
  const auto found = accounts_.find(network);
  return found == accounts_.end() ? nullptr : &found->second;
}

CreditTerms CreditLedger::terms(WallTime now, std::uint64_t step) const {
  return {.allowance_bytes = allowance_bytes_,
          .month = month_of(now),
          .oldest_step = step > kStepsMax + 1 ? step - kStepsMax - 1 : 0};
}

Borrowable CreditLedger::borrowable_by(const NetworkId& network, WallTime now) const {
  const CreditAccount* known = account(network);
  return borrowable(known == nullptr ? CreditAccount{} : *known, terms(now, /*step=*/0));
}

bool CreditLedger::is_spent(const NetworkId& network, WallTime now) const {
  const Borrowable left = borrowable_by(network, now);
  return left.owed_bytes >= left.allowance_bytes + kDebtMaxBytes;
}

std::string byte_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1'024 && unit + 1 < kUnits.size(); ++unit) value /= 1'024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace openp2p::server
