#include "session/admission.h"

#include <algorithm>

namespace openp2p::session {
namespace {

constexpr unsigned kStrangerAnswersPerSecondMax = 100;

}  // namespace

IpAddress prefix_of(const IpAddress& ip) {
  if (ip.is_v4()) return ip;
  auto bytes = ip.bytes();
  std::fill(bytes.begin() + 8, bytes.end(), std::uint8_t{0});
  return IpAddress::v6(bytes);
}

Admission::Verdict Admission::judge(const IpAddress& from) const {
  if (handshakes_ >= limits_.handshakes_max || guests_.size() >= limits_.sessions_max) {
    return Verdict::kRefuse;
  }
  const auto found = per_prefix_.find(prefix_of(from));
  const std::size_t from_here = found == per_prefix_.end() ? 0 : found->second;
  if (from_here >= limits_.sessions_per_address_max) return Verdict::kRefuse;
  return handshakes_ >= limits_.handshakes_before_retry ? Verdict::kAcceptWithToken
                                                        : Verdict::kAccept;
}

void Admission::on_handshake(Serial session, const IpAddress& from) {
  const IpAddress prefix = prefix_of(from);
  if (!guests_.emplace(session, Guest{prefix}).second) return;
  ++per_prefix_[prefix];
  ++handshakes_;
}

void Admission::on_handshake_end(Serial session) {
  const auto found = guests_.find(session);
  if (found == guests_.end() || !found->second.is_in_handshake) return;
  found->second.is_in_handshake = false;
  --handshakes_;
}

void Admission::on_session_end(Serial session) {
  on_handshake_end(session);
  const auto found = guests_.find(session);
  if (found == guests_.end()) return;
  const auto count = per_prefix_.find(found->second.prefix);
  if (--count->second == 0) per_prefix_.erase(count);
  guests_.erase(found);
}

bool Admission::may_answer_stranger(TimePoint now) {
  if (now - answers_since_ >= std::chrono::seconds(1)) {
    answers_since_ = now;
    answers_ = 0;
  }
  return answers_++ < kStrangerAnswersPerSecondMax;
}

}  // namespace openp2p::session
