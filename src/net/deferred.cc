#include "net/deferred.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "net/clock.h"
#include "net/handler_memory.h"

namespace openp2p::net {
namespace asio = boost::asio;

struct Deferred::State {
  State(IoContext& loop, Callback function) : io(loop), callback(std::move(function)) {}

  IoContext& io;
  Callback callback;
  HandlerMemory memory;
  bool is_queued = false;
  bool is_closed = false;
};

struct Deferred::Run {
  using allocator_type = HandlerAllocator<Run>;
  allocator_type get_allocator() const noexcept { return allocator_type(state->memory); }

  void operator()() {
    state->is_queued = false;
    if (!state->is_closed) state->callback(monotonic_now());
  }

  std::shared_ptr<State> state;
};

Deferred::Deferred(IoContext& io, Callback callback)
    : state_(std::make_shared<State>(io, std::move(callback))) {}

Deferred::~Deferred() { state_->is_closed = true; }

void Deferred::request() {
  if (state_->is_queued) return;
  state_->is_queued = true;
  asio::post(state_->io, Run{state_});
}

}  // namespace openp2p::net
