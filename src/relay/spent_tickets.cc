#include "relay/spent_tickets.h"

namespace openp2p::relay {

SpentTickets::Outcome SpentTickets::spend(const Ticket& ticket, const NodeId& end,
                                          std::uint64_t step_now, TimePoint now) {
  forget_old(step_now, now);
  const Entry entry{ticket.allocation, end};
  if (spent_.contains(entry)) return Outcome::kSpent;
  if (spent_.size() >= kEntriesMax) return Outcome::kFull;
  uses_.push_back({spent_.insert(entry).first, ticket.step, now});
  return Outcome::kFresh;
}

void SpentTickets::forget_old(std::uint64_t step_now, TimePoint now) {
  while (!uses_.empty()) {
    const Use& oldest = uses_.front();
    const bool is_good = steps_apart(oldest.step, step_now) <= kTicketStepsMax;
    const bool is_recent = now < oldest.at + kRememberedFor && spent_.size() < kEntriesMax;
    if (is_good || is_recent) return;
    spent_.erase(oldest.entry);
    uses_.pop_front();
  }
}

}  // namespace openp2p::relay
