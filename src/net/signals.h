#pragma once

#include <functional>
#include <memory>

#include "net/io_context.h"

namespace openp2p::net {

/// Calls once, from the loop, when the program is asked to end (SIGTERM, SIGINT). A second request
/// meets the system's default action, so that a program that hangs in its shutdown can be ended.
///
/// The loop counts a waiting object as work: destroy it to let io_context::run() return.
class EndRequest {
 public:
  EndRequest(IoContext& io, std::function<void()> on_end);
  ~EndRequest();
  EndRequest(const EndRequest&) = delete;
  EndRequest& operator=(const EndRequest&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;  // Owned by this object and by the wait.
};

}  // namespace openp2p::net
