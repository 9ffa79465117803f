#include "path/path_finder_impl.h"

/// TCP connections that carry the session's datagrams (RFC 6544, framed as in RFC 4571).
namespace openp2p::path {

void PathFinder::Impl::add_connection(const Path& path, const Address& local, TimePoint now) {
  if (list_.find(path) != nullptr || list_.add_connection(path, local, now) == nullptr) return;
  log_.debug(now, "path.connection remote={}", path.remote.text());
  is_failed_ = false;
}

bool PathFinder::Impl::is_proof(const nat::StunMessage& message, ByteView raw) const {
  if (message.message_class != nat::StunClass::kRequest || !is_addressed_to_us(message)) {
    return false;
  }
  const auto number = is_controlling() ? message.ice_controlled : message.ice_controlling;
  return number && replays_.is_fresh(*number) && nat::verify_integrity(raw, config_.check_key);
}

}  // namespace openp2p::path
