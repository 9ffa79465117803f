#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/platform.h"

namespace openp2p::agent {

/// The addresses of the STUN services that a server named as "address:port" or "name:port", in its
/// order. Names are asked one after the other. Threading: the owner's thread; destroying cancels.
class StunLookup {
 public:
  using Done = std::function<void(std::vector<Address> found, TimePoint now)>;

  StunLookup(Platform& platform, std::vector<std::string> names, Done done);
  /// `done` may come from inside.
  void start(TimePoint now);

 private:
  void next(TimePoint now);

  Platform& platform_;
  std::vector<std::string> names_;
  Done done_;
  std::size_t asked_ = 0;
  std::vector<Address> found_;
  std::unique_ptr<Platform::Pending> pending_;
};

}  // namespace openp2p::agent
