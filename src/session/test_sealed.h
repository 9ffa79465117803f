#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "base/random.h"

#include "session/session.h"

/// What tests send and receive as sealed datagrams.
namespace openp2p::session {

/// Keeps what comes.
class SealedEar final : public SealedHandler {
 public:
  void on_sealed(Session& session, SealedUse use, MutableByteView payload, TimePoint now) override {
    heard[use].push_back(to_bytes(payload));
    last_at = now;
    if (on_heard) on_heard(session, use, payload);
  }
  std::size_t count(SealedUse use) const {
    const auto found = heard.find(use);
    return found == heard.end() ? 0 : found->second.size();
  }

  std::map<SealedUse, std::vector<Bytes>> heard;
  TimePoint last_at;
  std::function<void(Session&, SealedUse, MutableByteView)> on_heard;
};

/// A payload that its number decides, so that whoever gets it can tell.
inline Bytes numbered_payload(std::uint32_t number, std::size_t bytes = 100) {
  Bytes payload(bytes);
  Random(number).fill(payload);
  for (std::size_t i = 0; i < 4; ++i) payload[i] = static_cast<std::byte>(number >> (8 * i));
  return payload;
}
inline std::uint32_t number_of(ByteView payload) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number |= std::to_integer<std::uint32_t>(payload[i]) << (8 * i);
  }
  return number;
}

inline bool send_sealed(Session& session, SealedUse use, ByteView payload) {
  const MutableByteView room = session.sealed_room(use, payload.size());
  if (room.empty()) return false;
  std::copy(payload.begin(), payload.end(), room.begin());
  session.commit_sealed();
  return true;
}

}  // namespace openp2p::session
