#include "path/probe_budget.h"

#include <algorithm>
#include <numeric>

namespace openp2p::path {
namespace {

constexpr Duration kSlot = ProbeBudget::kEntryLifetime / 12;

std::int64_t slot_of(TimePoint now) {
  return std::max<std::int64_t>(now.time_since_epoch() / kSlot, 0);
}

}  // namespace

void ProbeBudget::Sum::advance(TimePoint now) {
  const std::int64_t slot = slot_of(now);
  if (slot - newest >= static_cast<std::int64_t>(kSlots)) slots.fill(0);
  for (; newest < slot && slot - newest < static_cast<std::int64_t>(kSlots);) {
    slots[index(++newest)] = 0;
  }
  newest = std::max(newest, slot);
}

unsigned ProbeBudget::Sum::total() const { return std::accumulate(slots.begin(), slots.end(), 0U); }

void ProbeBudget::Sum::remove(unsigned count) {
  for (std::int64_t slot = newest; count > 0 && slot >= 0; --slot) {
    if (newest - slot >= static_cast<std::int64_t>(kSlots)) return;
    std::uint16_t& held = slots[index(slot)];
    const unsigned part = std::min<unsigned>(held, count);
    held = static_cast<std::uint16_t>(held - part);
    count -= part;
  }
}

unsigned ProbeBudget::left(const IpAddress& remote, TimePoint now) {
  own_.advance(now);
  for (auto it = remotes_.begin(); it != remotes_.end();) {
    it->second.advance(now);
    it = it->second.total() == 0 ? remotes_.erase(it) : std::next(it);
  }
  const auto known = remotes_.find(remote);
  if (known == remotes_.end() && remotes_.size() == kRemotesMax) return 0;
  const unsigned there = known == remotes_.end() ? 0 : known->second.total();
  return std::min(kEntriesMax - std::min(kEntriesMax, there), left(now));
}

unsigned ProbeBudget::left(TimePoint now) {
  own_.advance(now);
  const bool is_promised = promise_ && now < promise_->until;
  const unsigned taken = own_.total() + (is_promised ? promise_->count : 0);
  return kEntriesMax - std::min(kEntriesMax, taken);
}

unsigned ProbeBudget::promise(FinderTag to, TimePoint now) {
  const bool is_again = promise_ && promise_->to == to;
  const TimePoint until = is_again ? promise_->until : now + kPromiseMax;
  settle(to);
  const unsigned count = left(now);
  if (count > 0) promise_ = {to, count, until};
  return count;
}

void ProbeBudget::settle(FinderTag to) {
  if (promise_ && promise_->to == to) promise_.reset();
}

unsigned ProbeBudget::expect(unsigned count, TimePoint now) {
  const unsigned counted = std::min(count, left(now));
  own_.add(counted);
  return counted;
}

unsigned ProbeBudget::reserve(const IpAddress& remote, unsigned count, TimePoint now) {
  const unsigned granted = std::min(count, left(remote, now));
  if (granted == 0) return 0;
  own_.add(granted);
  Sum& there = remotes_[remote];
  there.advance(now);
  there.add(granted);
  return granted;
}

void ProbeBudget::refund(const IpAddress& remote, unsigned count) {
  own_.remove(count);
  const auto known = remotes_.find(remote);
  if (known != remotes_.end()) known->second.remove(count);
}

}  // namespace openp2p::path
