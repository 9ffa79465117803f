#pragma once

#include <functional>
#include <memory>

#include "net/io_context.h"

namespace openp2p::net {

/// Tells when a descriptor can be read or written.
///
/// Level-triggered: while something is wanted and possible, its callback runs once a turn of the
/// loop, after those of other descriptors that became ready in the same turn. So a callback does a
/// bounded piece of work and returns, and no busy descriptor starves another. Withdrawing a wish
/// costs nothing, and at most one wake-up that calls nobody.
///
/// Cost per wake-up: one epoll_ctl() to wait again; no allocation.
///
/// Threading: the loop's thread. The descriptor is not owned: it must be non-blocking and outlive
/// this object, as must the loop. A callback may destroy this object.
class Readiness {
 public:
  using Callback = std::function<void()>;
  struct Callbacks {
    Callback on_readable;
    Callback on_writable;
    /// The descriptor has an error, or hung up.
    Callback on_error;
  };

  Readiness(IoContext& io, int descriptor, Callbacks callbacks);
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  void want_read(bool wanted);
  void want_write(bool wanted);
  void want_error();  ///< Told once; then it has to be wanted again.

 private:
  struct State;
  struct Wait;
  // Owned by this object and by each pending wait: the loop hands a cancelled wait back only later.
  std::shared_ptr<State> state_;
};

}  // namespace openp2p::net
