#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/time.h"
#include "net/io_context.h"

namespace openp2p::net {

/// The one timer of a driver, armed at its machine's next_timeout() after every input.
///
/// arm() is made to be called often: an unchanged or later deadline costs nothing as a rule (the
/// timer then wakes once at the old one and is armed again), an earlier one costs one system call,
/// and so does a later one that saves an idle node a wake-up. None allocates. It never fires early,
/// and late only by what the machine's scheduler adds (measured: 23 us), because pacing and
/// acknowledgements ask for less than a millisecond.
///
/// Takes a descriptor, and throws std::system_error at start-up if there is none: objects that come
/// and go use LightTimer.
///
/// Threading: the loop's thread. The callback may arm, and may destroy this object.
class Timer {
 public:
  using Callback = std::function<void(TimePoint now)>;

  Timer(IoContext& io, Callback on_deadline);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// nullopt: no timer wanted. A deadline in the past fires on the next turn of the loop. After it
  /// fired the timer is off until it is armed again.
  void arm(std::optional<TimePoint> deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;  // Owned by this object, and by a callback while it runs.
};

}  // namespace openp2p::net
