#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/time.h"
#include "net/io_context.h"

namespace openp2p::net {

/// A timer that costs no descriptor: for objects of which there are many, such as dials. To arm it
/// for an earlier deadline allocates, and queues the old wait's end; otherwise it is as Timer.
///
/// Threading: the loop's thread. The callback may arm, and may destroy this object.
class LightTimer {
 public:
  using Callback = std::function<void(TimePoint now)>;

  LightTimer(IoContext& io, Callback on_deadline);
  ~LightTimer();
  LightTimer(const LightTimer&) = delete;
  LightTimer& operator=(const LightTimer&) = delete;

  /// nullopt: no timer wanted. A deadline in the past fires on the next turn of the loop. After it
  /// fired the timer is off until it is armed again.
  void arm(std::optional<TimePoint> deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;  // Owned by this object and by the waits under way.
};

}  // namespace openp2p::net
