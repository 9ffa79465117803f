#include "agent/relay_loss.h"

#include <algorithm>

namespace openp2p::agent {

void RelayLoss::begin(const Count& total, TimePoint now) {
  window_begin_ = total;
  window_began_at_ = now;
}

void RelayLoss::on_sample(const quic::Traffic& traffic, const session::SealedArrivals& arrivals,
                          bool is_in_use, TimePoint now) {
  const Count total{
      .sent = traffic.packets_sent + arrivals.sent,
      .lost = traffic.packets_lost + arrivals.sent - std::min(arrivals.came, arrivals.sent)};
  const Count last = last_;
  last_ = total;
  // Counts that fall are another session's, or what was missing was only late.
  const bool is_new = total.sent < last.sent || !was_in_use_;
  was_in_use_ = is_in_use;
  if (!is_in_use || is_new) {
    bad_windows_ = 0;
    settled_at_ = now + kSettle;
    return begin(total, now);
  }
  if (now < settled_at_) return begin(total, now);
  untold_.sent += total.sent - last.sent;
  untold_.lost += total.lost - std::min(last.lost, total.lost);
  const Count window{.sent = total.sent - window_begin_.sent,
                     .lost = total.lost - std::min(window_begin_.lost, total.lost)};
  if (now - window_began_at_ < kWindow || window.sent < kWindowPackets) return;
  window_ = window;
  bad_windows_ = permille(window) >= kLossPermilleMax ? bad_windows_ + 1 : 0;
  begin(total, now);
}

unsigned RelayLoss::permille(const Count& count) {
  if (count.sent == 0) return 0;
  return static_cast<unsigned>(std::min<std::uint64_t>(count.lost * 1'000 / count.sent, 1'000));
}

unsigned RelayLoss::take_permille() {
  const Count count = is_bad() ? window_ : untold_;
  untold_ = {};
  return permille(count);
}

}  // namespace openp2p::agent
