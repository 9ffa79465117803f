#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.h"
#include "sim/task.h"

namespace openp2p::sim {

/// Names one event that was scheduled; never reused within a world.
struct EventId {
  std::uint32_t slot = 0;
  std::uint64_t sequence = 0;  ///< 0: no event.
  friend auto operator<=>(const EventId&, const EventId&) = default;
};

/// Events in order of time; equal times run in the order in which they were scheduled, so that a
/// run depends on nothing but its inputs.
///
/// A binary heap of small keys over slots that hold the tasks: tasks move twice in their life. A
/// cancelled event leaves its key in the heap until its time comes.
class EventQueue {
 public:
  EventId push(TimePoint at, Task task);
  void cancel(EventId id);  ///< An event that ran or was cancelled before is ignored.
  bool is_pending(EventId id) const;

  std::optional<TimePoint> next_at();  ///< nullopt: nothing is scheduled.
  Task pop();                          ///< Requires next_at().
  std::size_t size() const { return live_; }
  void clear();

 private:
  struct Key {
    TimePoint at;
    std::uint64_t sequence;
    std::uint32_t slot;
  };
  struct Slot {
    Task task;  // Empty: cancelled.
    std::uint64_t sequence = 0;
  };
  static bool later(const Key& a, const Key& b) {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }
  void drop_front();

  std::vector<Key> heap_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint64_t sequence_ = 0;
  std::size_t live_ = 0;
};

}  // namespace openp2p::sim
