#pragma once

#include <cstdint>
#include <deque>
#include <set>

#include "base/ids.h"
#include "base/time.h"
#include "relay/ticket.h"

/// Tickets that were used, so that each opens one allocation once to each of its ends. Remembered
/// until their step is too old for them to be taken anyway, and an hour at least: the server's
/// clock may be set back, and would make an old ticket good again.
namespace openp2p::relay {

class SpentTickets {
 public:
  /// 400 a second for as long as a ticket is good; some 10 MB. Only genuine tickets get here, which
  /// the server draws. When it is full of good ones, no ticket is taken until they are too old:
  /// forgetting would let one in twice.
  static constexpr std::size_t kEntriesMax = 65'536;
  static constexpr Duration kRememberedFor = std::chrono::hours(1);

  enum class Outcome { kFresh, kSpent, kFull };
  /// Marks it as used by this end. Requires check_ticket() to have passed at `step_now`.
  Outcome spend(const Ticket& ticket, const NodeId& end, std::uint64_t step_now, TimePoint now);
  std::size_t size() const { return spent_.size(); }

 private:
  struct Entry {
    AllocationId allocation;
    NodeId end;
    friend auto operator<=>(const Entry&, const Entry&) = default;
  };
  struct Use {
    std::set<Entry>::const_iterator entry;
    std::uint64_t step;
    TimePoint at;
  };
  void forget_old(std::uint64_t step_now, TimePoint now);

  std::set<Entry> spent_;
  std::deque<Use> uses_;  ///< Oldest first.
};

}  // namespace openp2p::relay
