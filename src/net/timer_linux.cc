#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/descriptor.h"
#include "net/clock.h"
#include "net/readiness.h"
#include "net/timer.h"

// A timerfd of our own: Asio's timers cancel and queue again on each change of the deadline, while
// here a change is one timerfd_settime() or nothing. A timerfd also has no timer slack.
namespace openp2p::net {
namespace {

// The old deadline of a timer that is wanted later wakes the loop for nothing. On an idle node such
// wake-ups are half of all, so the kernel is told; but only where there is something to gain, and a
// few times between two expiries: a busy session moves its deadline with every batch, to and fro.
constexpr Duration kMoveMin = std::chrono::milliseconds(10);
constexpr int kMovesMax = 4;

Descriptor make_timer_descriptor() {
  Descriptor descriptor(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!descriptor) throw std::system_error(errno, std::system_category(), "timerfd_create");
  return descriptor;
}

}  // namespace

struct Timer::State {
  explicit State(Callback callback)
      : on_deadline(std::move(callback)), descriptor(make_timer_descriptor()) {}

  void set(TimePoint at) {
    // Zero would mean "off" to the kernel.
    const std::int64_t ns = std::max<std::int64_t>(1, at.time_since_epoch().count());
    itimerspec setting{};
    setting.it_value.tv_sec = ns / 1'000'000'000;
    setting.it_value.tv_nsec = ns % 1'000'000'000;
    CHECK(::timerfd_settime(descriptor.number(), TFD_TIMER_ABSTIME, &setting, nullptr) == 0);
    armed_at = at;
  }

  void on_expired() {
    std::uint64_t expirations;
    if (::read(descriptor.number(), &expirations, sizeof expirations) < 0) return;
    armed_at.reset();
    moves = 0;
    if (!deadline) return;
    const TimePoint now = monotonic_now();
    if (now < *deadline) return set(*deadline);
    deadline.reset();
    on_deadline(now);
  }

  bool is_worth_moving(TimePoint at) const {
    return moves < kMovesMax && at - *armed_at >= kMoveMin;
  }

  Callback on_deadline;
  int moves = 0;                      // To a later deadline, since the last expiry.
  std::optional<TimePoint> deadline;  // What the owner wants.
  std::optional<TimePoint> armed_at;  // What the kernel was told: never later than the deadline.
  Descriptor descriptor;
  std::optional<Readiness> readiness;
};

Timer::Timer(IoContext& io, Callback on_deadline)
    : state_(std::make_shared<State>(std::move(on_deadline))) {
  // Holding it while the callback runs lets the callback destroy the timer.
  auto expired = [held = std::weak_ptr<State>(state_)] {
    if (const auto state = held.lock()) state->on_expired();
  };
  state_->readiness.emplace(io, state_->descriptor.number(),
                            Readiness::Callbacks{std::move(expired), {}, {}});
  state_->readiness->want_read(true);
}

Timer::~Timer() { state_->readiness.reset(); }

void Timer::arm(std::optional<TimePoint> deadline) {
  State& state = *state_;
  state.deadline = deadline;
  if (!deadline) return;
  if (state.armed_at && *state.armed_at <= *deadline) {
    if (!state.is_worth_moving(*deadline)) return;
    ++state.moves;
  }
  state.set(*deadline);
}

}  // namespace openp2p::net
