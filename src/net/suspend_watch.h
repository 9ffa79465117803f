#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/time.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Notices by the time spent suspended, which only grows, that the machine slept.
class SuspendGauge {
 public:
  /// Less is no sleep: reading two clocks one after the other gives some microseconds.
  static constexpr Duration kSleepMin = std::chrono::milliseconds(100);

  explicit SuspendGauge(Duration suspended) : suspended_(suspended) {}
  /// True once for each sleep. `suspended`: suspended_so_far() of clock.h.
  bool has_slept(Duration suspended) {
    if (suspended - suspended_ < kSleepMin) return false;
    suspended_ = suspended;
    return true;
  }

 private:
  Duration suspended_;
};

/// Tells when the machine comes back from suspension: other networks may be around it then, and
/// NATs have forgotten it, though no address changed. No wake-up until then: the system sets its
/// clock when it resumes, which ends a wait on that clock. Clocks are also set for other reasons;
/// those are not told.
///
/// Threading: the loop's thread; `io` outlives it.
class SuspendWatch {
 public:
  using Callback = std::function<void()>;
  virtual ~SuspendWatch() = default;
};
/// nullptr where the system has no such thing.
std::unique_ptr<SuspendWatch> make_suspend_watch(IoContext& io, SuspendWatch::Callback on_resume);

}  // namespace openp2p::net
