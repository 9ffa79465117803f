#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>

#include "net/clock.h"
#include "net/timer.h"

/// For tests of this folder and of the drivers above it.
namespace openp2p::net {

/// Runs the loop until `is_done`, and says whether that came to be within `patience`. No sleeping:
/// a test ends as soon as what it waits for happened.
inline bool run_until(IoContext& io, const std::function<bool()>& is_done,
                      Duration patience = std::chrono::seconds(10)) {
  bool is_late = false;
  Timer timer(io, [&is_late](TimePoint) { is_late = true; });
  timer.arm(monotonic_now() + patience);
  io.restart();
  while (!is_late && !is_done()) io.run_one();
  return is_done();
}

}  // namespace openp2p::net
