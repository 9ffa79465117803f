#include "agent/stun_lookup.h"

#include <utility>

namespace openp2p::agent {

StunLookup::StunLookup(Platform& platform, std::vector<std::string> names, Done done)
    : platform_(platform), names_(std::move(names)), done_(std::move(done)) {}

void StunLookup::start(TimePoint now) { next(now); }

void StunLookup::next(TimePoint now) {
  pending_.reset();
  while (asked_ < names_.size()) {
    const std::string& name = names_[asked_++];
    if (const auto address = Address::parse(name)) {
      found_.push_back(*address);
      continue;
    }
    pending_ = platform_.resolve(name, [this](std::vector<Address> found, TimePoint at) {
      found_.insert(found_.end(), found.begin(), found.end());
      next(at);
    });
    return;
  }
  done_(std::move(found_), now);
}

}  // namespace openp2p::agent
