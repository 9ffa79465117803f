#include <utility>

#include "net/light_timer.h"
#include "net/timer.h"

// For systems without timerfd.
namespace openp2p::net {

struct Timer::State {
  State(IoContext& io, Callback on_deadline) : timer(io, std::move(on_deadline)) {}
  LightTimer timer;
};

Timer::Timer(IoContext& io, Callback on_deadline)
    : state_(std::make_shared<State>(io, std::move(on_deadline))) {}

Timer::~Timer() = default;

void Timer::arm(std::optional<TimePoint> deadline) { state_->timer.arm(deadline); }

}  // namespace openp2p::net
