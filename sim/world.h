#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "base/time.h"
#include "sim/buffer_pool.h"
#include "sim/counters.h"
#include "sim/event_queue.h"

namespace openp2p::sim {

/// A world in virtual time, which starts at TimePoint{} and jumps from event to event.
///
/// One seed decides everything: equal seeds and equal calls give equal runs, which trace_hash()
/// shows. Declare the world first: links, networks, hosts and drivers are used by its events, and
/// are destroyed before it without harm as long as it is not run any more.
/// Threading: one thread a world; worlds share nothing.
class World {
 public:
  /// Events without the clock moving. More is a loop that would never end, so a bug.
  static constexpr std::uint64_t kEventsPerInstantMax = 10'000'000;

  explicit World(std::uint64_t seed) : seed_(seed), random_(seed) {}
  ~World() { events_.clear(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  TimePoint now() const { return now_; }
  Duration elapsed() const { return now_.time_since_epoch(); }
  std::uint64_t seed() const { return seed_; }
  Random& random() { return random_; }
  BufferPool& buffers() { return buffers_; }
  Counters& counters() { return counters_; }
  const Counters& counters() const { return counters_; }

  EventId at(TimePoint time, Task task);  ///< A time in the past means now.
  EventId after(Duration delay, Task task) { return at(now_ + delay, std::move(task)); }
  void cancel(EventId id) { events_.cancel(id); }
  bool is_pending(EventId id) const { return events_.is_pending(id); }

  bool step();  ///< Runs the next event; false when there is none.
  void run_until(TimePoint deadline);
  void run_for(Duration duration) { run_until(now_ + duration); }
  /// Runs until `done()` holds, which is asked after every event, at most until the deadline.
  /// Returns whether it held.
  template <class Predicate>
  bool run_until(Predicate&& done, TimePoint deadline) {
    while (!done()) {
      const auto next = events_.next_at();
      if (!next || *next > deadline) {
        now_ = std::max(now_, deadline);
        return done();
      }
      step();
    }
    return true;
  }

  /// Mixes what happened, and when, into the trace hash. Sizes, addresses and times belong here;
  /// payloads do not, since TLS draws its keys elsewhere.
  void trace(std::uint64_t kind, std::uint64_t value);
  std::uint64_t trace_hash() const { return trace_hash_; }
  std::uint64_t events_run() const { return events_run_; }

 private:
  const std::uint64_t seed_;
  Random random_;
  TimePoint now_{};
  BufferPool buffers_;
  EventQueue events_;
  Counters counters_;
  std::uint64_t trace_hash_ = 0xcbf29ce484222325;
  std::uint64_t events_run_ = 0;
  std::uint64_t events_this_instant_ = 0;
  bool is_running_ = false;
};

/// One timer of one owner, re-armed cheaply: an earlier deadline schedules an event, a later one
/// lets the scheduled event fire and go on from there.
class Timer {
 public:
  Timer(World& world, Task on_expiry) : world_(world), on_expiry_(std::move(on_expiry)) {}
  ~Timer() { world_.cancel(event_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(std::optional<TimePoint> deadline);  ///< nullopt disarms. The past means now.
  std::optional<TimePoint> deadline() const { return deadline_; }

 private:
  void schedule();
  void on_event();

  World& world_;
  Task on_expiry_;
  std::optional<TimePoint> deadline_;
  TimePoint event_at_{};
  EventId event_;
};

}  // namespace openp2p::sim
