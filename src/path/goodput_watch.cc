#include "path/goodput_watch.h"

#include <algorithm>

namespace openp2p::path {
namespace {

std::uint64_t rate_of(const GoodputWatch::Interval& window) {
  const double seconds = std::chrono::duration<double>(window.span).count();
  return static_cast<std::uint64_t>(static_cast<double>(window.bytes_arrived) / seconds);
}

/// 1.5 times: less may be chance, and is not worth a change of path.
bool is_clearly_more(std::uint64_t a, std::uint64_t b) { return a * 2 > b * 3; }

}  // namespace

void GoodputWatch::on_interval(const Interval& interval, TimePoint now) {
  on_timeout(now);
  if (is_stream_ != interval.is_stream) on_transport(interval.is_stream, now);
  if (!interval.has_demand || interval.span > kIntervalMax || now < settled_at_) return;
  window_.span += interval.span;
  window_.bytes_arrived += interval.bytes_arrived;
  window_.packets_sent += interval.packets_sent;
  window_.packets_lost += interval.packets_lost;
  window_.has_queue |= interval.has_queue;
  if (window_.span < kWindow) return;
  if (!interval.is_stream && window_.packets_sent < kWindowPackets) return;
  interval.is_stream ? judge_stream(now) : judge_udp(now);
  window_ = {};
}

/// The owner's path changed, by our wish or for its own reasons.
void GoodputWatch::on_transport(bool is_stream, TimePoint now) {
  is_stream_ = is_stream;
  settled_at_ = now + kSettle;
  window_ = {};
  bad_windows_ = 0;
  suspicious_windows_ = 0;
  if (is_stream && state_ == State::kAsked) return begin_trial(now);
  if (is_stream) return;
  if (state_ == State::kTrial) return give_up(now);
  if (state_ == State::kStreams) return ask(now);  // Its connection was lost.
}

void GoodputWatch::judge_udp(TimePoint now) {
  const std::uint64_t rate = rate_of(window_);
  const bool is_bad = is_udp_bad(rate);
  best_rate_ = std::max(best_rate_, rate);
  udp_rate_ = is_bad && bad_windows_ > 0 ? std::max(udp_rate_, rate) : rate;
  bad_windows_ = is_bad ? bad_windows_ + 1 : 0;
  if (!is_bad) is_udp_tried_ = false;
  const bool is_suspected = is_suspicious(rate, now);
  if (state_ != State::kUdp || now < udp_kept_until_) return;
  if (bad_windows_ >= kBadWindows || is_suspected) ask(now);
}

bool GoodputWatch::loses(std::uint64_t permille) const {
  return window_.packets_lost * 1'000 >= window_.packets_sent * permille;
}

std::uint64_t GoodputWatch::suspicious_permille() const {
  return view_ == View::kSender ? kSuspiciousLossPermille : kSuspiciousMissingPermille;
}

/// A rate that fell proves nothing to a receiver: perhaps less was sent. Unless some of it is lost.
bool GoodputWatch::is_udp_bad(std::uint64_t rate) const {
  const bool is_rate_telling = view_ == View::kSender || loses(suspicious_permille());
  if (is_udp_tried_) return is_rate_telling && is_clearly_more(stream_rate_, rate);
  return loses(kLossPercentMax * 10) || (is_rate_telling && rate < best_rate_ / kBestPart);
}

/// True at most once each suspicion_rest_, which doubles: what is suspected wrongly once will be
/// again.
bool GoodputWatch::is_suspicious(std::uint64_t rate, TimePoint now) {
  suspicious_low_ = suspicious_windows_ == 0 ? rate : std::min(suspicious_low_, rate);
  suspicious_high_ = suspicious_windows_ == 0 ? rate : std::max(suspicious_high_, rate);
  const bool is_steady = suspicious_high_ * 4 <= suspicious_low_ * 5;
  if (!is_steady || window_.has_queue || !loses(suspicious_permille())) {
    suspicious_windows_ = 0;
    return false;
  }
  if (++suspicious_windows_ < kSuspiciousWindows || now < unsuspected_until_) return false;
  if (state_ != State::kUdp || now < udp_kept_until_) return false;
  suspicious_windows_ = 0;
  unsuspected_until_ = now + suspicion_rest_;
  suspicion_rest_ = std::min(2 * suspicion_rest_, kSuspicionRestMax);
  return true;
}

void GoodputWatch::judge_stream(TimePoint now) {
  const std::uint64_t rate = rate_of(window_);
  best_rate_ = std::max(best_rate_, rate);
  stream_rate_ = rate;
  if (state_ == State::kTrial) {
    if (is_clearly_more(rate, udp_rate_)) return keep_streams(now);
    if (++trial_windows_ < kTrialWindows) return;
    best_rate_ = std::max(udp_rate_, rate);  // There is no more to be had now.
    give_up(now);
  } else if (state_ == State::kStreams) {
    const bool is_worse = view_ == View::kSender && is_clearly_more(udp_rate_, rate);
    bad_windows_ = is_worse ? bad_windows_ + 1 : 0;
    if (bad_windows_ >= kBadWindows) try_udp();
  }
}

void GoodputWatch::ask(TimePoint now) {
  state_ = State::kAsked;
  deadline_ = now + kOpenPatience;
}

void GoodputWatch::begin_trial(TimePoint now) {
  state_ = State::kTrial;
  trial_windows_ = 0;
  deadline_ = now + kTrialPatience;
}

void GoodputWatch::keep_streams(TimePoint now) {
  state_ = State::kStreams;
  deadline_ = now + next_rest(now);
}

void GoodputWatch::give_up(TimePoint now) {
  state_ = State::kUdp;
  deadline_.reset();
  is_udp_tried_ = false;
  bad_windows_ = 0;
  udp_kept_until_ = now + next_rest(now);
}

void GoodputWatch::try_udp() {
  state_ = State::kUdp;
  deadline_.reset();
  is_udp_tried_ = true;
  bad_windows_ = 0;
}

Duration GoodputWatch::next_rest(TimePoint now) {
  const bool is_first = !rested_at_ || now - *rested_at_ > kRestForgiven;
  rest_ = is_first ? kRestFirst : std::min(2 * rest_, kRestMax);
  rested_at_ = now;
  return rest_;
}

void GoodputWatch::on_timeout(TimePoint now) {
  if (!deadline_ || now < *deadline_) return;
  if (state_ == State::kAsked) return give_up(now);
  if (state_ == State::kStreams) return try_udp();
  state_ = State::kUdp;  // Too little was sent to tell: that is held against neither.
  deadline_.reset();
}

void GoodputWatch::on_network_changed() {
  state_ = State::kUdp;
  deadline_.reset();
  is_stream_.reset();
  window_ = {};
  bad_windows_ = 0;
  best_rate_ = 0;
  is_udp_tried_ = false;
  udp_kept_until_ = TimePoint::min();
  suspicious_windows_ = 0;
  unsuspected_until_ = TimePoint::min();
  suspicion_rest_ = kSuspicionRestFirst;
}

}  // namespace openp2p::path
