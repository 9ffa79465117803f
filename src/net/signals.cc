#include "net/signals.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <utility>

namespace openp2p::net {

struct EndRequest::State {
  State(IoContext& io, std::function<void()> callback)
      : signals(io, SIGTERM, SIGINT), on_end(std::move(callback)) {}
  boost::asio::signal_set signals;
  std::function<void()> on_end;
  bool is_closed = false;
};

EndRequest::EndRequest(IoContext& io, std::function<void()> on_end)
    : state_(std::make_shared<State>(io, std::move(on_end))) {
  state_->signals.async_wait([state = state_](const boost::system::error_code& error, int) {
    if (error || state->is_closed) return;
    state->signals.clear();  // Back to the default actions.
    state->on_end();
  });
}

EndRequest::~EndRequest() {
  state_->is_closed = true;
  state_->signals.cancel();
  state_->signals.clear();
}

}  // namespace openp2p::net
