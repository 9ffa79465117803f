#pragma once

#include <functional>
#include <memory>

#include "base/time.h"
#include "net/io_context.h"

namespace openp2p::net {

/// Runs a function once at the end of a turn of the loop, however often it was asked for: after all
/// sockets that were ready in this turn gave their input, one pass polls the machine for output.
/// That makes the batches bigger and costs no delay.
///
/// Allocates nothing after construction. Threading: the loop's thread, which must outlive this
/// object. The function may request again, and may destroy this object.
class Deferred {
 public:
  using Callback = std::function<void(TimePoint now)>;

  Deferred(IoContext& io, Callback callback);
  ~Deferred();
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  void request();

 private:
  struct State;
  struct Run;
  std::shared_ptr<State> state_;  // Owned by this object and by a queued run.
};

}  // namespace openp2p::net
