#include "net/readiness.h"

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <utility>

#include "net/handler_memory.h"

namespace openp2p::net {
namespace asio = boost::asio;

namespace {

enum Side : std::size_t { kRead, kWrite, kError, kSides };

// Without type erasure: completing goes straight to the handler.
using WatchedDescriptor = asio::posix::basic_stream_descriptor<IoContext::executor_type>;

WatchedDescriptor::wait_type wait_type(Side side) {
  if (side == kRead) return WatchedDescriptor::wait_read;
  if (side == kWrite) return WatchedDescriptor::wait_write;
  return WatchedDescriptor::wait_error;
}

}  // namespace

struct Readiness::State {
  State(IoContext& io, int number, Callbacks calls)
      : descriptor(io, number),
        callbacks{std::move(calls.on_readable), std::move(calls.on_writable),
                  std::move(calls.on_error)} {}

  WatchedDescriptor descriptor;
  std::array<Callback, kSides> callbacks;
  std::array<HandlerMemory, kSides> memory;
  std::array<bool, kSides> is_wanted{};
  std::array<bool, kSides> is_waiting{};
  bool is_closed = false;
};

struct Readiness::Wait {
  using allocator_type = HandlerAllocator<Wait>;
  allocator_type get_allocator() const noexcept { return allocator_type(state->memory[side]); }

  static void start(const std::shared_ptr<State>& state, Side side) {
    if (state->is_waiting[side]) return;
    state->is_waiting[side] = true;
    state->descriptor.async_wait(wait_type(side), Wait{state, side});
  }

  void operator()(const boost::system::error_code& error) {
    state->is_waiting[side] = false;
    if (state->is_closed || error == asio::error::operation_aborted) return;
    if (!state->is_wanted[side]) return;
    if (side == kError) state->is_wanted[kError] = false;  // An error lasts.
    state->callbacks[side]();
    if (!state->is_closed && state->is_wanted[side]) start(state, side);
  }

  std::shared_ptr<State> state;
  Side side;
};

Readiness::Readiness(IoContext& io, int descriptor, Callbacks callbacks)
    : state_(std::make_shared<State>(io, descriptor, std::move(callbacks))) {}

Readiness::~Readiness() {
  state_->is_closed = true;
  state_->descriptor.release();  // Leaves the poll set, and keeps the descriptor open.
}

void Readiness::want_read(bool wanted) {
  state_->is_wanted[kRead] = wanted;
  if (wanted) Wait::start(state_, kRead);
}

void Readiness::want_write(bool wanted) {
  state_->is_wanted[kWrite] = wanted;
  if (wanted) Wait::start(state_, kWrite);
}

void Readiness::want_error() {
  state_->is_wanted[kError] = true;
  Wait::start(state_, kError);
}

}  // namespace openp2p::net
