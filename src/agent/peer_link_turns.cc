// What routers may yet be asked is one for all peers: what is told to one of them is kept for it,
// and the others' searches wait for their turn.

#include "agent/peer_link.h"
#include "path/probe_budget.h"

namespace openp2p::agent {

/// For a search for this peer: what one that goes on has reserved serves the next.
unsigned PeerLink::entries_left() const {
  const path::PathFinder* paths = this->paths();
  const unsigned held = paths == nullptr ? 0 : paths->search_entries_held(context_.now);
  const IpAddress& external = attempt_->peer_profile.udp.external;
  return context_.endpoint->search_budget().left(external, context_.now) + held;
}

/// What an offer says is kept for its answer: by then others may have begun. After that, what the
/// plan takes is reserved as soon as both are known.
unsigned PeerLink::entries_to_tell() {
  path::ProbeBudget& budget = context_.endpoint->search_budget();
  const bool is_offered = session_ == nullptr;
  attempt_->told_entries =
      is_offered ? budget.promise(attempt_->local_tag, context_.now) : entries_left();
  return *attempt_->told_entries;
}

/// What would be searched if the peer knew that so much is left.
path::Plan PeerLink::plan_with(unsigned entries_left) const {
  path::SideProfile own = handler_.profile();
  own.entries_left = entries_left;
  const path::SideProfile& peer = attempt_->peer_profile;
  const auto role = is_asking() ? path::IceRole::kControlling : path::IceRole::kControlled;
  path::Plan plan = path::make_plan(own, peer, role, attempt_->round);
  plan.fit(own, peer);
  return plan;
}

/// By what the peer was told there was no room for a search, and now there is.
bool PeerLink::is_turn() const {
  if (!attempt_->told_entries || *attempt_->told_entries >= entries_left()) return false;
  return plan_with(*attempt_->told_entries).steps.empty() &&
         !plan_with(entries_left()).steps.empty();
}

/// Both know both. Where what the offer said does not hold any more, the peer begins by a plan that
/// is not this side's: it is told, and stops what it began as in a new round.
void PeerLink::on_met() {
  context_.endpoint->search_budget().settle(attempt_->local_tag);
  const auto& told = attempt_->told_entries;
  if (!told || plan_with(*told) == plan_with(entries_left())) {
    return set_profiles(context_.now + kGoMargin);
  }
  if (*told > entries_left()) ++attempt_->round;
  tell_news();
}

}  // namespace openp2p::agent
