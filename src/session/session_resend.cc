#include <algorithm>
#include <utility>

#include "session/session_impl.h"

/// What went down with a path is sent over the next one at once.
namespace openp2p::session {
namespace {

using namespace std::chrono_literals;

/// The peer may come to the new path a little later, and until then answers over the old one; and
/// one of them may be lost. Each costs two datagrams, and doubles QUIC's own time to the next,
/// which cannot be told to be far ahead: so there are few, and they are spread over the second or
/// so that a peer takes to follow.
constexpr int kResendsMax = 5;
/// Between the first two. A round trip has passed by then, and what both systems take.
constexpr Duration kResendGapMin = 60ms;
constexpr Duration kResendGapLater = 300ms;  ///< After that; it doubles.

}  // namespace

void SessionImpl::begin_resending(TimePoint now) {
  if (!connection_) return;
  resends_left_ = kResendsMax;
  resend_at_ = now;
  acknowledged_before_ = connection_->traffic().bytes_acknowledged;
  resend(now);
}

/// Its own timer has backed off while there was no path, and would go on waiting.
void SessionImpl::resend(TimePoint now) {
  if (resends_left_ == 0 || now < resend_at_) return;
  const bool has_passed = connection_->traffic().bytes_acknowledged > acknowledged_before_;
  if (!selected_ || has_passed || !connection_->probe_now(now)) {
    resends_left_ = 0;
    return;
  }
  const int made = kResendsMax - resends_left_--;
  const Duration rtt = finder_->selected_rtt().value_or(kResendGapMin);
  const Duration gap = made == 0 ? kResendGapMin : kResendGapLater * (1 << (made - 1));
  resend_at_ = now + std::max(gap, rtt * 3 / 2);
}

/// Nothing goes out before, and QUIC's timers wait: what they would send is what is kept back.
std::optional<TimePoint> SessionImpl::silent_until(TimePoint now) const {
  const auto to = finder_ && !is_closed_ ? path() : std::nullopt;
  return to ? finder_->closed_until(*to, now) : std::nullopt;
}

/// What was on its way when the network changed is lost.
void SessionImpl::watch_silence(TimePoint now) {
  const bool is_silent = silent_until(now).has_value();
  const bool is_over = std::exchange(was_silent_, is_silent) && !is_silent;
  if (is_over && selected_) begin_resending(now);
}

}  // namespace openp2p::session
