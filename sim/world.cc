#include "sim/world.h"

#include <algorithm>

namespace openp2p::sim {

EventId World::at(TimePoint time, Task task) {
  return events_.push(std::max(time, now_), std::move(task));
}

bool World::step() {
  CHECK(!is_running_);  // An event that runs the world would see time pass under its caller.
  const auto next = events_.next_at();
  if (!next) return false;
  events_this_instant_ = *next > now_ ? 0 : events_this_instant_ + 1;
  CHECK(events_this_instant_ < kEventsPerInstantMax);
  now_ = *next;
  ++events_run_;
  Task task = events_.pop();
  is_running_ = true;
  task();
  is_running_ = false;
  return true;
}

void World::run_until(TimePoint deadline) {
  run_until([] { return false; }, deadline);
}

void World::trace(std::uint64_t kind, std::uint64_t value) {
  const auto mix = [this](std::uint64_t word) {
    trace_hash_ = (trace_hash_ ^ word) * 0x9e3779b97f4a7c15;
    trace_hash_ ^= trace_hash_ >> 32;
  };
  mix(static_cast<std::uint64_t>(elapsed().count()));
  mix(kind);
  mix(value);
}

void Timer::arm(std::optional<TimePoint> deadline) {
  deadline_ = deadline;
  if (!deadline_) return;
  if (world_.is_pending(event_) && event_at_ <= *deadline_) return;
  world_.cancel(event_);
  schedule();
}

void Timer::schedule() {
  event_at_ = std::max(*deadline_, world_.now());
  event_ = world_.at(event_at_, [this] { on_event(); });
}

void Timer::on_event() {
  if (!deadline_) return;
  if (*deadline_ > world_.now()) return schedule();
  deadline_.reset();
  on_expiry_();
}

}  // namespace openp2p::sim
