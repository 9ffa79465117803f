// A relay carries the session: rounds of looking for a direct path, which both sides begin
// together.

#include <algorithm>

#include "agent/peer_link.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRoundFirst = 5s;  ///< The first search has failed by then, or is about to.
constexpr Duration kRoundMax = 5min;  ///< Routers and people change things; more often costs them.
constexpr unsigned kDoublingsMax = 6;
constexpr Duration kRoundPatience = 12s;  ///< As long as an attempt.
constexpr Duration kRoundGapMin = 1s;     ///< Between rounds of the peer's that are answered.

}  // namespace

bool PeerLink::is_round_open() const { return context_.now < round_ends_at_; }

/// Only who asked begins rounds by the clock, or two would cross; a changed network is news from
/// either side.
void PeerLink::watch_upgrade() {
  if (!is_relayed()) {
    next_round_at_.reset();
    if (has_path()) upgrades_ = 0;
    return;
  }
  if (next_round_at_ || !is_asking()) return;
  const Duration gap = kRoundFirst * (1 << std::min(upgrades_, kDoublingsMax));
  next_round_at_ = context_.now + std::min<Duration>(gap, kRoundMax);
}

void PeerLink::on_upgrade_timeout() {
  if (!next_round_at_ || context_.now < *next_round_at_) return;
  next_round_at_.reset();
  if (!is_relayed()) return;
  ++upgrades_;
  start_round();
}

/// What was tried is varied, as in a new attempt, while the session goes on.
void PeerLink::start_round() {
  if (!attempt_) return;
  ++attempt_->round;
  round_ends_at_ = context_.now + kRoundPatience;
  handler_.doubt_profile();
  update_tcp();
  watch_upgrade();
  if (attempt_->profile_patience) return;  // Signals wait for it already.
  wait_for_profile();
}

/// What failed from there may work from here.
void PeerLink::start_anew() {
  upgrades_ = 0;
  next_round_at_.reset();
  start_round();
}

/// Where this node is, as far as it matters for what can work. A NAT whose mappings depend on
/// endpoints shows each of them, and each measurement, another port: that is nothing new. TCP's
/// addresses come and go with the rounds themselves.
std::vector<path::Candidate> PeerLink::own_places() const {
  std::vector<path::Candidate> places = handler_.local_candidates();
  std::erase_if(places, [](const path::Candidate& place) {
    return place.transport == path::Transport::kTcp;
  });
  if (!handler_.profile().udp.is_symmetric()) return places;
  for (path::Candidate& place : places) {
    if (place.type == path::CandidateType::kServerReflexive) place.address.port = 0;
  }
  return places;
}

/// A node that is elsewhere begins anew; what was measured more exactly counts in the round that
/// goes on, and otherwise in the next.
void PeerLink::on_relayed_news() {
  if (!attempt_) return;
  if (own_places() != attempt_->told_places) return start_anew();
  if (is_round_open()) tell_news();
}

/// The peer began a round: this side tells what it knows now, and goes along. One that begins them
/// without end gets no answers for it.
bool PeerLink::take_round(const PeerSignal& signal) {
  if (signal.round <= attempt_->round) return false;
  attempt_->round = signal.round;
  const TimePoint ends_at = context_.now + kRoundPatience;
  const bool is_soon = ends_at - round_ends_at_ < kRoundGapMin;
  if (is_soon || state_ != State::kConnected) return false;
  round_ends_at_ = ends_at;
  handler_.doubt_profile();
  update_tcp();
  if (!attempt_->profile_patience) wait_for_profile();
  return true;
}

}  // namespace openp2p::agent
