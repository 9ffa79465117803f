// Who is let in: tickets, room, ends that join, that release; letters between own nodes.

#include "base/check.h"
#include "relay/relay_service_impl.h"

namespace openp2p::relay {

void RelayService::Impl::on_end_message(RelayEnd& end, EndMessage message) {
  std::visit([&](const auto& known) { on_message(end, known); }, message);
}

std::optional<RelayService::Impl::Refusal> RelayService::Impl::check_room(
    const RelayEnd& end, const AllocateMessage& wish) const {
  if (end.allocations.size() >= options_.per_end_max) {
    return Refusal{RefusalCode::kFull, "this end has as many allocations as one may"};
  }
  if (allocations_.size() >= options_.allocations_max) {
    return Refusal{RefusalCode::kFull, "the relay has as many allocations as it may"};
  }
  const bool is_lent = wish.ticket && wish.ticket->kind != TicketKind::kOwn;
  if (is_lent && lent_ >= options_.lent_max) {
    return Refusal{RefusalCode::kFull, "the relay carries for as many strangers as it may"};
  }
  return std::nullopt;
}

/// Of one network by this relay's own knowledge, whatever a ticket says: the server alone cannot
/// make a node carry for strangers without a cap.
std::optional<RelayService::Impl::Refusal> RelayService::Impl::check_lending(
    RelayEnd& end, const AllocateMessage& wish) const {
  const RelayHost& host = *options_.host;
  const bool is_own = host.is_own_node(end.node()) && host.is_own_node(wish.peer);
  if (!wish.ticket && !is_own) {
    return Refusal{RefusalCode::kTicketInvalid,
                   "without a ticket, this relay carries for nodes of its own network only"};
  }
  if (wish.ticket && wish.ticket->kind == TicketKind::kOwn && !is_own) {
    return Refusal{RefusalCode::kTicketInvalid, "the two nodes are not of the relay's network"};
  }
  if (wish.ticket && wish.ticket->kind != TicketKind::kOwn && cap_ == kLendNothing) {
    return Refusal{RefusalCode::kNotSharing, "this node does not relay for others"};
  }
  return std::nullopt;
}

std::optional<RelayService::Impl::Refusal> RelayService::Impl::check_code(
    RelayEnd& end, const AllocateMessage& wish, TimePoint now) {
  const auto server_time = clock_.at(now);
  if (!secret_ || !server_time) {
    return Refusal{RefusalCode::kNotSharing,
                   "the relay has not heard from its server yet, and cannot check tickets"};
  }
  const TicketScope scope{options_.self, end.node(), wish.peer};
  const Status good = check_ticket(*secret_, scope, *wish.ticket, *server_time);
  if (good) return std::nullopt;
  if (good.error() == TicketError::kOld) {
    ++counters_.tickets_old;
    return Refusal{RefusalCode::kTicketOld,
                   "the ticket is too old, or the server's clock was changed: ask for a new one"};
  }
  ++counters_.tickets_forged;
  HopState& state = hops_[&end.hop()];
  if (state.guesses.take(now) && state.guesses.has_token(now)) {
    return Refusal{RefusalCode::kTicketInvalid,
                   "the ticket is not one for this relay and these two nodes"};
  }
  return Refusal{RefusalCode::kTooManyGuesses,
                 "too many tickets that are not genuine: come again in some minutes"};
}

std::optional<RelayService::Impl::Refusal> RelayService::Impl::check_right(
    RelayEnd& end, const AllocateMessage& wish, TimePoint now) {
  if (wish.peer == end.node() || wish.peer == options_.self) {
    return Refusal{RefusalCode::kTicketInvalid, "an allocation is for two nodes and a third"};
  }
  if (end.hop().is_relayed()) return Refusal{RefusalCode::kRelayedHop, kRelayedText};
  if (auto refusal = check_lending(end, wish)) return refusal;
  if (wish.ticket) {
    if (auto refusal = check_code(end, wish, now)) return refusal;
  }
  if (auto refusal = check_room(end, wish)) return refusal;  // Before the ticket is spent.
  if (!wish.ticket) return std::nullopt;
  switch (spent_.spend(*wish.ticket, end.node(), ticket_step(*clock_.at(now)), now)) {
    case SpentTickets::Outcome::kFresh:
      return std::nullopt;
    case SpentTickets::Outcome::kSpent:
      ++counters_.tickets_spent;
      return Refusal{RefusalCode::kTicketSpent, "the ticket was used before: ask for a new one"};
    case SpentTickets::Outcome::kFull:
      return Refusal{RefusalCode::kFull, "the relay remembers as many tickets as it can"};
  }
  CHECK(false);
  return std::nullopt;
}

void RelayService::Impl::on_message(RelayEnd& end, const AllocateMessage& wish) {
  const TimePoint at = now();
  const auto refusal = check_right(end, wish, at);
  if (!refusal) return admit(end, wish, at);
  ++counters_.refused;
  options_.log.debug(at, "relay.refused end={} peer={} why=\"{}\"", end.node().brief(),
                     wish.peer.brief(), refusal->text);
  end.send(RefusedMessage{wish.number, refusal->code, std::string(refusal->text)});
  if (refusal->code != RefusalCode::kTooManyGuesses) return;
  ++counters_.guessers_cut;
  end.cut(MessageStream::kRefusedCode);
}

/// The second end joins the first one's. Without a ticket, an end that asks again starts anew.
Allocation& RelayService::Impl::find_or_add(RelayEnd& end, const AllocateMessage& wish,
                                            TimePoint now) {
  if (Allocation* waiting = allocations_.find_waiting(wish.ticket, end.node(), wish.peer)) {
    waiting->sides[1].end = &end;
    allocations_.on_joined(*waiting);
    return *waiting;
  }
  if (Allocation* stale = allocations_.find_waiting(wish.ticket, wish.peer, end.node())) {
    end_allocation(*stale, "this end asked again");
  }
  Allocation& made = allocations_.add(end.node(), wish.peer, wish.ticket, now);
  made.sides[0].end = &end;
  ++counters_.allocations;
  if (made.is_lent()) ++lent_;
  add_flows(made);
  return made;
}

void RelayService::Impl::admit(RelayEnd& end, const AllocateMessage& wish, TimePoint now) {
  Allocation& allocation = find_or_add(end, wish, now);
  end.allocations.push_back(&allocation);
  allocation.used_at = now;
  if (!look_at_) look_at_ = now + kLookInterval;
  if (allocation.is_lent() && !rate_at_) rate_at_ = now + kRateInterval;
  const Channel channel = allocation.channel;
  const std::uint64_t cap = is_shaped(allocation) ? cap_ : 0;
  RelayEnd* first = allocation.is_joined() ? allocation.sides[0].end : nullptr;
  options_.log.debug(now, "relay.allocated end={} peer={} channel={} joined={}", end.node().brief(),
                     wish.peer.brief(), channel, first != nullptr);
  options_.host->on_allocations_changed();
  // Last: who does not read is cut off by being told, and with it the allocation.
  end.send(AllocatedMessage{wish.number, channel, cap, first != nullptr});
  if (first != nullptr && allocations_.find(channel) != nullptr) {
    first->send(JoinedMessage{channel});
  }
}

void RelayService::Impl::on_message(RelayEnd& end, const ReleaseMessage& release) {
  Allocation* allocation = allocations_.find(release.channel);
  if (allocation == nullptr) return;  // It ended here at the same moment.
  for (const Allocation::Side& side : allocation->sides) {
    if (side.end == &end) return end_allocation(*allocation, "the other end let it go", &end);
  }
  ++counters_.wrong_channel;
}

RelayEnd* RelayService::Impl::find_end(const NodeId& node) const {
  const auto found = ends_by_node_.find(node);
  return found == ends_by_node_.end() ? nullptr : found->second;
}

void RelayService::Impl::on_message(RelayEnd& end, const LetterMessage& letter) {
  const RelayHost& host = *options_.host;
  const bool is_own = host.is_own_node(end.node()) && host.is_own_node(letter.node);
  RelayEnd* to = is_own ? find_end(letter.node) : nullptr;
  if (to == nullptr || to == &end || !end.may_send_letter(now())) {
    ++counters_.letters_failed;
    return end.send(LetterFailedMessage{letter.node});
  }
  ++counters_.letters;
  to->send(LetterMessage{end.node(), letter.body});
}

}  // namespace openp2p::relay
