#include "sim/event_queue.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::sim {

EventId EventQueue::push(TimePoint at, Task task) {
  CHECK(task);
  std::uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  const EventId id{slot, ++sequence_};
  slots_[slot].task = std::move(task);
  slots_[slot].sequence = id.sequence;
  heap_.push_back({at, id.sequence, slot});
  std::push_heap(heap_.begin(), heap_.end(), later);
  ++live_;
  return id;
}

bool EventQueue::is_pending(EventId id) const {
  return id.sequence != 0 && id.slot < slots_.size() && slots_[id.slot].sequence == id.sequence &&
         slots_[id.slot].task;
}

void EventQueue::cancel(EventId id) {
  if (!is_pending(id)) return;
  const Task cancelled = std::move(slots_[id.slot].task);  // May itself call back when it dies.
  --live_;
}

void EventQueue::drop_front() {
  std::pop_heap(heap_.begin(), heap_.end(), later);
  const std::uint32_t slot = heap_.back().slot;
  heap_.pop_back();
  slots_[slot].sequence = 0;
  free_.push_back(slot);
}

std::optional<TimePoint> EventQueue::next_at() {
  while (!heap_.empty() && !slots_[heap_.front().slot].task) drop_front();
  if (heap_.empty()) return std::nullopt;
  return heap_.front().at;
}

Task EventQueue::pop() {
  CHECK(next_at().has_value());
  Task task = std::move(slots_[heap_.front().slot].task);
  drop_front();
  --live_;
  return task;
}

void EventQueue::clear() {
  heap_.clear();
  free_.clear();
  live_ = 0;
  const std::vector<Slot> dying = std::move(slots_);
  slots_.clear();
}

}  // namespace openp2p::sim
