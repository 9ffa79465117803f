#include "relay/relay_service.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "relay/relay_service_impl.h"

namespace openp2p::relay {

RelayService::Impl::Impl(const Options& options) : options_(options) {
  CHECK(options_.host != nullptr);
  CHECK(options_.allocations_max <= AllocationTable::kPlacesMax);
}

RelayService::Impl::~Impl() {
  for (const auto& end : ends_) {
    if (!end->is_gone()) end->cut(MessageStream::kRefusedCode);
  }
  if (secret_) wipe(*secret_);
}

void RelayService::Impl::set_cap(std::uint64_t bits_per_second, TimePoint now) {
  if (cap_ == bits_per_second) return;
  allocations_.for_each([&](Allocation& allocation) {
    if (is_shaped(allocation)) {
      for (const std::uint32_t side : {0U, 1U}) {
        shaper_.remove(AllocationTable::place_of(allocation.channel) * 2 + side);
      }
    }
  });
  cap_ = bits_per_second;
  update_rate(now);
  allocations_.for_each([&](Allocation& allocation) { add_flows(allocation); });
  if (cap_ != kLendNothing) return;
  allocations_.for_each([&](Allocation& allocation) {
    if (allocation.is_lent()) end_allocation(allocation, "this relay lends nothing any more");
  });
}

void RelayService::Impl::set_own_rate(std::uint64_t bits_per_second, TimePoint now) {
  own_rate_ = bits_per_second;
  update_rate(now);
}

/// Own traffic goes first: that of this node, and what it carries for its own network.
void RelayService::Impl::update_rate(TimePoint now) {
  if (cap_ == kLendNothing || cap_ == kNoCap) return;
  const std::uint64_t own = own_rate_ + own_meter_.bits_per_second(now);
  const std::uint64_t left = own < cap_ ? cap_ - own : 0;
  shaper_.set_rate(std::max({left, cap_ / kRateDivisor, std::uint64_t{1}}), now);
}

void RelayService::Impl::on_account_spent(const Account& account) {
  allocations_.for_each([&](Allocation& allocation) {
    if (!allocation.is_lent() || allocation.ticket->account != account) return;
    end_allocation(allocation, "this network has borrowed more than it may: it is to lend first");
  });
}

void RelayService::Impl::on_network_changed() {
  const auto is_own = [&](const Allocation::Side& side) {
    return options_.host->is_own_node(side.node);
  };
  allocations_.for_each([&](Allocation& allocation) {
    if (allocation.is_lent() || std::ranges::all_of(allocation.sides, is_own)) return;
    end_allocation(allocation, "one of the nodes is not of the relay's network any more");
  });
}

forward::StreamUser* RelayService::Impl::on_stream(Hop& hop, session::StreamId id) {
  CHECK(hop.session() != nullptr);
  HopState& state = hops_[&hop];
  if (state.end != nullptr || !state.guesses.has_token(now())) {
    MessageStream(hop, id, MessageStream::Side::kRelay).reset(MessageStream::kRefusedCode);
    return nullptr;
  }
  ends_.push_back(std::make_unique<RelayEnd>(hop, id, *this));
  state.end = ends_.back().get();
  ends_by_node_[state.end->node()] = state.end;
  return state.end;
}

void RelayService::Impl::on_end_malformed(RelayEnd&) { ++counters_.malformed; }

void RelayService::Impl::on_end_gone(RelayEnd& end) {
  has_gone_ends_ = true;
  const auto known = ends_by_node_.find(end.node());
  if (known != ends_by_node_.end() && known->second == &end) ends_by_node_.erase(known);
  const auto hop = hops_.find(&end.hop());
  if (hop != hops_.end() && hop->second.end == &end) hop->second.end = nullptr;
  while (!end.allocations.empty()) {
    end_allocation(*end.allocations.back(), "the other end's session with the relay ended", &end);
  }
}

void RelayService::Impl::forget(Hop& hop) {
  for (const auto& end : ends_) {
    if (&end->hop() == &hop && !end->is_gone()) end->cut(MessageStream::kRefusedCode);
  }
  ends_.remove_if([&](const auto& end) { return &end->hop() == &hop; });
  hops_.erase(&hop);
}

/// The second relay would carry a session that it knows nothing of, and each end thinks itself
/// closer than it is.
void RelayService::Impl::on_hop_moved(Hop& hop) {
  const auto state = hops_.find(&hop);
  if (state == hops_.end() || state->second.end == nullptr || !hop.is_relayed()) return;
  RelayEnd& end = *state->second.end;
  while (!end.allocations.empty()) end_allocation(*end.allocations.back(), kRelayedText);
}

void RelayService::Impl::sweep() {
  if (!std::exchange(has_gone_ends_, false)) return;
  ends_.remove_if([](const auto& end) { return end->is_gone() && end->is_stream_closed(); });
  has_gone_ends_ = std::ranges::any_of(ends_, [](const auto& end) { return end->is_gone(); });
}

void RelayService::Impl::stop(std::string_view why) {
  allocations_.for_each([&](Allocation& allocation) { end_allocation(allocation, why); });
}

void RelayService::Impl::add_flows(const Allocation& allocation) {
  if (!is_shaped(allocation)) return;
  for (const std::uint32_t side : {0U, 1U}) {
    shaper_.add(AllocationTable::place_of(allocation.channel) * 2 + side,
                allocation.ticket->account);
  }
}

void RelayService::Impl::detach(Allocation& allocation, RelayEnd* end) {
  if (end == nullptr) return;
  const auto found = std::ranges::find(end->allocations, &allocation);
  CHECK(found != end->allocations.end());
  *found = end->allocations.back();
  end->allocations.pop_back();
}

void RelayService::Impl::end_allocation(Allocation& allocation, std::string_view why,
                                        const RelayEnd* untold) {
  const LeftMessage left{allocation.channel, std::string(why)};
  const std::array ends = {allocation.sides[0].end, allocation.sides[1].end};
  for (RelayEnd* end : ends) detach(allocation, end);
  if (is_shaped(allocation)) {
    for (const std::uint32_t side : {0U, 1U}) {
      shaper_.remove(AllocationTable::place_of(allocation.channel) * 2 + side);
    }
  }
  if (allocation.is_lent()) --lent_;
  options_.log.debug(now(), "relay.left one={} other={} why=\"{}\"",
                     allocation.sides[0].node.brief(), allocation.sides[1].node.brief(), why);
  keep_for_receipts(allocations_.take_out(allocation));
  // Last: an end that does not read is cut off by this, and ends its other allocations.
  for (RelayEnd* end : ends) {
    if (end != nullptr && end != untold) end->send(left);
  }
  options_.host->on_allocations_changed();
}

void RelayService::Impl::keep_for_receipts(std::unique_ptr<Allocation> ended) {
  if (!ended->is_lent() || !ended->is_joined()) return;
  for (Allocation::Side& side : ended->sides) side.end = nullptr;
  if (ended_.size() == kEndedMax) ended_.pop_front();
  ended_.push_back({std::move(ended), now()});
}

void RelayService::Impl::look_at(Allocation& allocation, TimePoint now) {
  if (!allocation.is_joined() && now - allocation.made_at >= kJoinPatience) {
    return end_allocation(allocation, "the other end did not come to the relay in 90 s");
  }
  if (now - allocation.used_at >= kIdleMax) {
    return end_allocation(allocation, "nothing was sent through the relay for 10 minutes");
  }
  if (!allocation.is_lent()) return;
  for (const unsigned side : {0U, 1U}) {
    const ReceiptWatch& watch = allocation.sides[side].receipts;
    if (watch.is_overdue(now)) {
      ++counters_.cut_unreceipted;
      return end_allocation(allocation, "the relay got no receipts for what it carried");
    }
    if (watch.is_wanted(now)) ask_for_receipt(allocation, side, now);
  }
}

void RelayService::Impl::on_timeout(TimePoint now) {
  if (rate_at_ && now >= *rate_at_) {
    rate_at_.reset();
    if (lent_ > 0) {
      update_rate(now);
      rate_at_ = now + kRateInterval;
    }
  }
  if (look_at_ && now >= *look_at_) {
    look_at_.reset();
    allocations_.for_each([&](Allocation& allocation) { look_at(allocation, now); });
    while (!ended_.empty() && now - ended_.front().at >= kLastReceiptPatience) ended_.pop_front();
    if (lent_ == 0) shaper_.trim();
    if (allocations_.size() > 0 || !ended_.empty()) look_at_ = now + kLookInterval;
  }
  let_out(now);
}

std::optional<TimePoint> RelayService::Impl::next_timeout() const {
  return earlier(earlier(look_at_, rate_at_), shaper_.next_timeout());
}

std::vector<RelayService::AllocationReport> RelayService::Impl::report(TimePoint now) const {
  std::vector<AllocationReport> out;
  out.reserve(allocations_.size());
  allocations_.for_each([&](const Allocation& allocation) {
    AllocationReport report;
    report.one = allocation.sides[0].node;
    report.other = allocation.sides[1].node;
    if (allocation.ticket) {
      report.kind = allocation.ticket->kind;
      report.account = allocation.ticket->account;
    }
    report.is_joined = allocation.is_joined();
    report.to_one = allocation.sides[0].receipts.delivered();
    report.to_other = allocation.sides[1].receipts.delivered();
    report.receipted =
        allocation.sides[0].receipts.proven() + allocation.sides[1].receipts.proven();
    report.dropped = allocation.dropped;
    report.bits_per_second = allocation.rate.bits_per_second(now);
    report.age = now - allocation.made_at;
    report.idle = now - allocation.used_at;
    out.push_back(report);
  });
  std::ranges::stable_sort(out, std::ranges::greater(), &AllocationReport::age);
  return out;
}

RelayService::RelayService(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
RelayService::~RelayService() = default;
void RelayService::set_secret(const TicketSecret& secret) { impl_->secret_ = secret; }
void RelayService::set_server_time(WallTime server_time, TimePoint now) {
  impl_->clock_.set(server_time, now);
}
void RelayService::set_cap(std::uint64_t bits_per_second, TimePoint now) {
  impl_->set_cap(bits_per_second, now);
}
std::uint64_t RelayService::cap() const { return impl_->cap_; }
void RelayService::set_own_rate(std::uint64_t bits_per_second, TimePoint now) {
  impl_->set_own_rate(bits_per_second, now);
}
void RelayService::on_account_spent(const Account& account) { impl_->on_account_spent(account); }
void RelayService::on_network_changed(TimePoint) { impl_->on_network_changed(); }
forward::StreamUser* RelayService::on_stream(Hop& hop, session::StreamId id) {
  return impl_->on_stream(hop, id);
}
void RelayService::on_hop_moved(Hop& hop) { impl_->on_hop_moved(hop); }
void RelayService::forget(Hop& hop) { impl_->forget(hop); }
void RelayService::sweep() { impl_->sweep(); }
void RelayService::stop(std::string_view why, TimePoint) { impl_->stop(why); }
void RelayService::on_timeout(TimePoint now) { impl_->on_timeout(now); }
std::optional<TimePoint> RelayService::next_timeout() const { return impl_->next_timeout(); }
std::vector<RelayService::AllocationReport> RelayService::report(TimePoint now) const {
  return impl_->report(now);
}
std::size_t RelayService::allocation_count() const { return impl_->allocations_.size(); }
std::size_t RelayService::lent_count() const { return impl_->lent_; }
std::uint64_t RelayService::lent_bits_per_second(TimePoint now) const {
  return impl_->lent_meter_.bits_per_second(now);
}
const RelayService::Counters& RelayService::counters() const { return impl_->counters_; }

}  // namespace openp2p::relay
