#pragma once

#include <functional>
#include <string>

#include "agent/platform.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "session/endpoint.h"

namespace openp2p::agent {

/// What the parts of a node share. `now` is the time of the input that is being handled.
/// Threading: one owner, the Node.
struct NodeContext {
  const IdentityKey& identity;
  Platform& platform;
  SecretSource& secrets;
  Log log;
  Random random;
  std::uint64_t incarnation;  ///< Random at each start.
  /// To be called after input that did not come through the Node (a platform's callback): timers
  /// may have changed, or there is something to send.
  std::function<void()> wake;
  session::Endpoint* endpoint = nullptr;  ///< Set once, before anything runs.
  TimePoint now{};
};

}  // namespace openp2p::agent
