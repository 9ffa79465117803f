#include "net/suspend_watch.h"

namespace openp2p::net {

std::unique_ptr<SuspendWatch> make_suspend_watch(IoContext&, SuspendWatch::Callback) {
  return nullptr;
}

}  // namespace openp2p::net
