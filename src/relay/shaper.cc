#include "relay/shaper.h"

#include <algorithm>

#include "base/check.h"

namespace openp2p::relay {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

template <class Member>
void Shaper::push(Ring& ring, std::vector<Member>& members, std::uint32_t index) {
  members[index].next = kNone;
  (ring.last == kNone ? ring.first : members[ring.last].next) = index;
  ring.last = index;
  ++ring.size;
}

template <class Member>
void Shaper::pop(Ring& ring, std::vector<Member>& members) {
  ring.first = members[ring.first].next;
  if (ring.first == kNone) ring.last = kNone;
  --ring.size;
}

/// Rare (an allocation ends while it is busy), so that a walk does.
template <class Member>
void Shaper::cut_out(Ring& ring, std::vector<Member>& members, std::uint32_t index) {
  if (ring.first == index) return pop(ring, members);
  std::uint32_t before = ring.first;
  while (members[before].next != index) before = members[before].next;
  members[before].next = members[index].next;
  if (ring.last == index) ring.last = before;
  --ring.size;
}

void Shaper::set_rate(std::uint64_t bits_per_second, TimePoint now) {
  CHECK(bits_per_second > 0);
  refill(now);
  rate_ = static_cast<double>(bits_per_second) / 8 * kGiven;
  burst_ = std::max(kBurstBytesMin, rate_ * seconds(kBurst));
  tokens_ = std::min(tokens_, burst_);
}

std::uint32_t Shaper::user_of(const Account& account) {
  const auto [found, is_new] = user_index_.try_emplace(account, 0);
  if (!is_new) return found->second;
  if (free_users_.empty()) {
    free_users_.push_back(static_cast<std::uint32_t>(users_.size()));
    users_.emplace_back();
  }
  found->second = free_users_.back();
  free_users_.pop_back();
  users_[found->second] = User{};
  users_[found->second].account = account;
  return found->second;
}

void Shaper::add(FlowId id, const Account& account) {
  if (flows_.size() <= id) flows_.resize(id + 1);
  CHECK(flows_[id].user == kNone);
  flows_[id] = Flow{};
  flows_[id].user = user_of(account);
  ++users_[flows_[id].user].flows;
}

void Shaper::remove(FlowId id) {
  CHECK(id < flows_.size() && flows_[id].user != kNone);
  Flow& flow = flows_[id];
  const std::uint32_t index = flow.user;
  User& user = users_[index];
  if (flow.count > 0) {
    clear(flow);
    cut_out(user.active, flows_, id);
    --active_flows_;
    if (user.active.size == 0) cut_out(active_, users_, index);
  }
  flow.user = kNone;
  if (--user.flows > 0) return;
  user_index_.erase(user.account);
  free_users_.push_back(index);
}

void Shaper::clear(Flow& flow) {
  queued_bytes_ -= flow.bytes;
  slots_[flow.last].next = free_slot_;
  free_slot_ = flow.first;
  flow.first = flow.last = kNone;
  flow.count = 0;
  flow.bytes = 0;
}

void Shaper::refill(TimePoint now) {
  if (filled_at_ && now > *filled_at_) {
    tokens_ = std::min(burst_, tokens_ + rate_ * seconds(now - *filled_at_));
  }
  filled_at_ = std::max(filled_at_.value_or(now), now);
}

bool Shaper::pass(std::size_t bytes, TimePoint now) {
  if (active_.size > 0) return false;
  refill(now);
  if (tokens_ <= 0) return false;
  tokens_ -= static_cast<double>(bytes);
  return true;
}

bool Shaper::has_room(const Flow& flow, std::size_t bytes) const {
  if (queued_bytes_ + bytes > kQueuedBytesMax) return false;
  const User& user = users_[flow.user];
  const bool is_new = flow.count == 0;  // Then it is one more to share with.
  const double users = active_.size + (user.active.size == 0 ? 1 : 0);
  const double flows = user.active.size + (is_new ? 1 : 0);
  const double share = rate_ * seconds(kQueueTime) / (users * flows);
  const double fair = static_cast<double>(kQueuedBytesMax) / (active_flows_ + 1);
  const auto after = static_cast<double>(flow.bytes + bytes);
  if (is_new) return true;
  return after <= fair && (after <= share || flow.count < kQueueDatagramsMin);
}

std::uint32_t Shaper::take_slot() {
  if (free_slot_ == kNone) {
    slots_.emplace_back();
    return static_cast<std::uint32_t>(slots_.size() - 1);
  }
  const std::uint32_t index = free_slot_;
  free_slot_ = slots_[index].next;
  return index;
}

bool Shaper::queue(FlowId id, ByteView datagram, std::size_t header_bytes) {
  CHECK(header_bytes <= UINT16_MAX);
  Flow& flow = flows_[id];
  if (!has_room(flow, datagram.size())) return false;
  const std::uint32_t index = take_slot();
  slots_[index].bytes.assign(datagram.begin(), datagram.end());
  slots_[index].header_bytes = static_cast<std::uint16_t>(header_bytes);
  slots_[index].next = kNone;
  (flow.last == kNone ? flow.first : slots_[flow.last].next) = index;
  flow.last = index;
  flow.bytes += datagram.size();
  queued_bytes_ += datagram.size();
  if (flow.count++ > 0) return true;
  User& user = users_[flow.user];
  if (user.active.size == 0) push(active_, users_, flow.user);
  push(user.active, flows_, id);
  ++active_flows_;
  return true;
}

double Shaper::quantum() const {
  return std::clamp(rate_ * seconds(kTick) / active_flows_, kQuantumBytesMin, kQuantumBytesMax);
}

/// Whose turn it is. Each turn that is passed on raises a deficit, so one is above zero soon: what
/// is owed is at most a datagram.
Shaper::FlowId Shaper::next_flow() {
  for (;;) {
    const std::uint32_t index = active_.first;
    User& user = users_[index];
    if (user.deficit <= 0) {
      user.deficit += quantum();
      pop(active_, users_);
      push(active_, users_, index);
      continue;
    }
    const FlowId id = user.active.first;
    Flow& flow = flows_[id];
    if (flow.deficit > 0) return id;
    flow.deficit += quantum();
    pop(user.active, flows_);
    push(user.active, flows_, id);
  }
}

std::optional<Shaper::Item> Shaper::poll(TimePoint now) {
  refill(now);
  if (active_.size == 0 || tokens_ <= 0) return std::nullopt;
  const FlowId id = next_flow();
  Flow& flow = flows_[id];
  User& user = users_[flow.user];
  const std::uint32_t index = flow.first;
  Slot& slot = slots_[index];
  const auto bytes = static_cast<double>(slot.bytes.size() + slot.header_bytes);
  tokens_ -= bytes;
  flow.deficit -= bytes;
  user.deficit -= bytes;
  flow.bytes -= slot.bytes.size();
  queued_bytes_ -= slot.bytes.size();
  flow.first = slot.next;
  slot.next = free_slot_;  // Not written to before the next call.
  free_slot_ = index;
  if (--flow.count == 0) {
    flow.last = kNone;
    flow.deficit = std::min(flow.deficit, 0.0);  // Nobody saves turns up.
    pop(user.active, flows_);
    --active_flows_;
    if (user.active.size == 0) {
      user.deficit = std::min(user.deficit, 0.0);
      pop(active_, users_);
    }
  }
  return Item{id, slot.bytes};
}

std::optional<TimePoint> Shaper::next_timeout() const {
  if (active_.size == 0) return std::nullopt;
  if (tokens_ > 0) return filled_at_;
  const double wanted = rate_ * seconds(kTick) - tokens_;
  const auto wait = std::chrono::duration<double>(wanted / rate_);
  return *filled_at_ + std::chrono::ceil<Duration>(wait);
}

void Shaper::trim() {
  if (queued_bytes_ > 0) return;
  std::vector<Slot>().swap(slots_);
  free_slot_ = kNone;
}

}  // namespace openp2p::relay
