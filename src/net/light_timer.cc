#include "net/light_timer.h"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <utility>

#include "net/clock.h"

namespace openp2p::net {
namespace asio = boost::asio;

namespace {
using Clock = std::chrono::steady_clock;  // What monotonic_now() reads.
using AsioTimer =
    asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, IoContext::executor_type>;
}  // namespace

struct LightTimer::State {
  State(IoContext& io, Callback callback) : on_deadline(std::move(callback)), timer(io) {}

  static void set(const std::shared_ptr<State>& state, TimePoint at);
  static void on_expired(const std::shared_ptr<State>& state);

  Callback on_deadline;
  std::optional<TimePoint> deadline;
  std::optional<TimePoint> armed_at;  // Never later than the deadline.
  AsioTimer timer;
  // A wait that was cancelled by an earlier deadline is still queued when the next one starts.
  std::uint64_t generation = 0;
};

namespace {

template <class State>
struct Expiry {
  void operator()(const boost::system::error_code& error) {
    if (!error && state->generation == generation) State::on_expired(state);
  }
  std::shared_ptr<State> state;
  std::uint64_t generation;
};

}  // namespace

void LightTimer::State::set(const std::shared_ptr<State>& state, TimePoint at) {
  state->armed_at = at;
  state->timer.expires_at(Clock::time_point(at.time_since_epoch()));
  state->timer.async_wait(Expiry<State>{state, ++state->generation});
}

void LightTimer::State::on_expired(const std::shared_ptr<State>& state) {
  state->armed_at.reset();
  if (!state->deadline) return;
  const TimePoint now = monotonic_now();
  if (now < *state->deadline) return set(state, *state->deadline);
  state->deadline.reset();
  state->on_deadline(now);
}

LightTimer::LightTimer(IoContext& io, Callback on_deadline)
    : state_(std::make_shared<State>(io, std::move(on_deadline))) {}

LightTimer::~LightTimer() {
  ++state_->generation;
  state_->timer.cancel();
}

void LightTimer::arm(std::optional<TimePoint> deadline) {
  state_->deadline = deadline;
  if (!deadline || (state_->armed_at && *state_->armed_at <= *deadline)) return;
  State::set(state_, *deadline);
}

}  // namespace openp2p::net
