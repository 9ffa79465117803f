#include <sys/timerfd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

#include "base/descriptor.h"
#include "net/clock.h"
#include "net/readiness.h"
#include "net/suspend_watch.h"

namespace openp2p::net {
namespace {

/// Waits for a moment that never comes, on a clock that is set at the end of each suspension: the
/// wait is cancelled then (timerfd_create(2)).
Descriptor wait_for_a_set_clock() {
  Descriptor timer(::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) return {};
  constexpr std::time_t kYear2200 = 7'258'118'400;  // The kernel counts until 2262.
  itimerspec never{};
  never.it_value.tv_sec = kYear2200;
  const int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
  if (::timerfd_settime(timer.number(), flags, &never, nullptr) != 0) return {};
  return timer;
}

class TimerSuspendWatch final : public SuspendWatch {
 public:
  TimerSuspendWatch(IoContext& io, Descriptor timer, Callback on_resume)
      : timer_(std::move(timer)),
        gauge_(suspended_so_far()),
        on_resume_(std::move(on_resume)),
        readiness_(io, timer_.number(), {[this] { on_clock_set(); }, {}, {}}) {
    readiness_.want_read(true);
  }

 private:
  void on_clock_set() {
    std::uint64_t expirations;
    const ssize_t bytes = ::read(timer_.number(), &expirations, sizeof expirations);
    // A clock that was set past the year 2200 makes the wait end for good.
    if (bytes > 0) readiness_.want_read(false);
    if (gauge_.has_slept(suspended_so_far())) on_resume_();
  }

  Descriptor timer_;
  SuspendGauge gauge_;
  Callback on_resume_;
  Readiness readiness_;
};

}  // namespace

std::unique_ptr<SuspendWatch> make_suspend_watch(IoContext& io, SuspendWatch::Callback on_resume) {
  Descriptor timer = wait_for_a_set_clock();
  if (!timer) return nullptr;
  return std::make_unique<TimerSuspendWatch>(io, std::move(timer), std::move(on_resume));
}

}  // namespace openp2p::net
