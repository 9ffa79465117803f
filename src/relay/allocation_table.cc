#include "relay/allocation_table.h"

#include <utility>

#include "base/check.h"

namespace openp2p::relay {

AllocationTable::WaitingKey AllocationTable::waiting_key(const std::optional<Ticket>& ticket,
                                                         const NodeId& first,
                                                         const NodeId& second) {
  return {ticket ? ticket->allocation : AllocationId{}, first, second};
}

Allocation& AllocationTable::add(const NodeId& first, const NodeId& other,
                                 const std::optional<Ticket>& ticket, TimePoint now) {
  CHECK(size_ < kPlacesMax);
  if (free_places_.empty()) {
    free_places_.push_back(static_cast<std::uint32_t>(places_.size()));
    places_.emplace_back();
  }
  const std::uint32_t index = free_places_.back();
  free_places_.pop_back();
  Place& place = places_[index];
  place.allocation = std::make_unique<Allocation>();
  Allocation& allocation = *place.allocation;
  allocation.sides[0].node = first;
  allocation.sides[1].node = other;
  allocation.ticket = ticket;
  allocation.channel = (place.uses++ << kPlaceBits | index) & kChannelMax;
  allocation.made_at = allocation.used_at = now;
  waiting_[waiting_key(ticket, first, other)] = &allocation;
  ++size_;
  return allocation;
}

void AllocationTable::on_joined(const Allocation& allocation) {
  const auto found = waiting_.find(
      waiting_key(allocation.ticket, allocation.sides[0].node, allocation.sides[1].node));
  if (found != waiting_.end() && found->second == &allocation) waiting_.erase(found);
}

std::unique_ptr<Allocation> AllocationTable::take_out(const Allocation& allocation) {
  on_joined(allocation);
  const std::uint32_t index = place_of(allocation.channel);
  CHECK(places_[index].allocation.get() == &allocation);
  free_places_.push_back(index);
  --size_;
  return std::move(places_[index].allocation);
}

Allocation* AllocationTable::find_waiting(const std::optional<Ticket>& ticket, const NodeId& second,
                                          const NodeId& first) const {
  const auto found = waiting_.find(waiting_key(ticket, first, second));
  return found == waiting_.end() ? nullptr : found->second;
}

void AllocationTable::for_each(const std::function<void(Allocation&)>& visit) const {
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].allocation) visit(*places_[i].allocation);
  }
}

}  // namespace openp2p::relay
