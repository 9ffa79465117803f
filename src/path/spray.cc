#include "path/spray.h"

#include <algorithm>
#include <utility>

#include "path/nat_class.h"

namespace openp2p::path {
namespace {

/// Fans ask no ports; a series has some anyway.
const PortRule kUnused{.last = 0, .step = 0, .range = {kPortMin, kPortMin}};

/// For the peer's address to be known, or an own socket. What is reserved meanwhile nobody else
/// has.
constexpr Duration kReadyPatience = std::chrono::seconds(3);

}  // namespace

Spray::~Spray() {
  for (Run& run : runs_) give_back(run);
  for (const SocketId socket : fan_) sockets_->close(socket);
}

void Spray::start(const Plan& plan, const IpAddress& external, TimePoint go_at, Random random,
                  TimePoint now) {
  stop(now);
  asked_.clear();
  target_.reset();
  external_ = external;
  expect(plan.arrivals, go_at, now);
  for (const Step& step : plan.steps) {
    const bool is_fan = step.part == Step::Part::kFan;
    if (budget_ == nullptr || (is_fan && sockets_ == nullptr)) continue;
    Run& run =
        runs_.emplace_back(Run{.step = step,
                               .ports = PortSeries(is_fan ? kUnused : step.ports, random.next()),
                               .next_at = go_at + step.start});
    run.granted = budget_->reserve(external_, wanted(run), now);
  }
}

unsigned Spray::wanted(const Run& run) {
  const bool is_fan = run.step.part == Step::Part::kFan;
  return std::min(run.step.count, is_fan ? Plan::kSocketsMax : run.ports.size());
}

void Spray::set_target(const Address& target) {
  if (target.ip == external_) target_ = target;
}

void Spray::stop(TimePoint now) {
  for (Run& run : runs_) end(run, ReasonCode::kNone);
  runs_.clear();
  expect_no_more(now);
}

void Spray::expect(const Plan::Arrivals& arrivals, TimePoint go_at, TimePoint now) {
  if (budget_ == nullptr || arrivals.count == 0) return;
  arrivals_ = {budget_->expect(arrivals.count, now), arrivals.start, arrivals.gap};
  arrive_at_ = go_at + arrivals.start;
}

/// The peer stops as well, within a round trip. What it has sent by now has come.
void Spray::expect_no_more(TimePoint now) {
  const unsigned left = not_arrived(now);
  arrivals_ = {};
  if (left > 0) budget_->refund_expected(left);
}

unsigned Spray::not_arrived(TimePoint now) const {
  if (arrivals_.count == 0) return 0;
  const auto came = std::max<Duration>(now - arrive_at_, Duration::zero()) / arrivals_.gap;
  return came >= arrivals_.count ? 0 : arrivals_.count - static_cast<unsigned>(came);
}

unsigned Spray::held(TimePoint now) const {
  unsigned held = not_arrived(now);
  for (const Run& run : runs_) held += run.granted - std::min(run.sent, run.granted);
  return held;
}

void Spray::postpone(Duration delay) {
  for (Run& run : runs_) {
    if (!run.is_begun) run.next_at += delay;
  }
}

bool Spray::is_ready(const Run& run) const {
  return run.step.part == Step::Part::kFan ? target_.has_value() : main_.has_value();
}

bool Spray::begin(Run& run, TimePoint now) {
  run.is_begun = true;
  // Routers forget them so much later than they were reserved.
  budget_->refund(external_, run.granted);
  run.granted = budget_->reserve(external_, run.granted, now);
  events_.push_back({.is_end = false, .method = run.step.method, .count = run.granted});
  return run.granted * 100 >= wanted(run) * ProbeBudget::kWorthPercent;
}

bool Spray::is_too_late(const Run& run, TimePoint now) const {
  return !run.is_begun && !is_ready(run) && now >= run.next_at + kReadyPatience;
}

void Spray::give_back(Run& run) {
  budget_->refund(external_, run.granted - std::min(run.sent, run.granted));
  run.granted = 0;
}

void Spray::end(Run& run, ReasonCode reason) {
  const unsigned used = std::min(run.sent, run.granted);
  give_back(run);
  run.next_at = TimePoint::max();
  if (!run.is_begun) return;
  run.is_begun = false;
  events_.push_back({.is_end = true, .method = run.step.method, .reason = reason, .count = used});
}

void Spray::drop_ended() {
  std::erase_if(runs_, [](const Run& run) { return run.next_at == TimePoint::max(); });
}

std::optional<Spray::Probe> Spray::poll(TimePoint now) {
  for (Run& run : runs_) {
    if (is_too_late(run, now)) end(run, ReasonCode::kNone);
    if (run.next_at > now || !is_ready(run)) continue;
    if (!run.is_begun && !begin(run, now)) {
      end(run, ReasonCode::kBudgetExhausted);
      continue;
    }
    if (!budget_->take_packet(now)) break;
    if (const auto probe = next_of(run, now)) {
      drop_ended();
      return probe;
    }
  }
  drop_ended();
  return std::nullopt;
}

std::optional<Spray::Probe> Spray::next_of(Run& run, TimePoint now) {
  Probe probe{.path = {}, .hop_limit = run.step.hop_limit, .method = run.step.method};
  if (run.step.part == Step::Part::kFan) {
    const bool has_room = fan_.size() < Plan::kSocketsMax;  // Earlier fans may be open yet.
    const auto opened = has_room ? sockets_->open_udp(/*is_v4=*/true) : std::nullopt;
    if (!opened) {  // The system gives no more: what there is has to do.
      end(run, ReasonCode::kNone);
      return std::nullopt;
    }
    fan_.push_back(opened->socket);
    fan_method_ = run.step.method;
    probe.path = {opened->socket, *target_};
  } else {
    probe.path = {*main_, {external_, run.ports.at(run.sent % run.granted)}};
  }
  ++run.sent;
  // A driver that comes late makes up for a little; what a pause of the machine missed is over.
  run.next_at =
      std::max(run.next_at + run.step.gap, now - ProbeBudget::kPacketBurst * run.step.gap);
  const bool is_fan = run.step.part == Step::Part::kFan;
  const unsigned passes = is_fan ? 1 : run.step.passes;
  if (run.sent >= run.granted * passes) end(run, ReasonCode::kNone);
  return probe;
}

void Spray::on_sent(const Path& path, Method method, const nat::TransactionId& id, TimePoint now) {
  asked_[path] = {id, now, method};
  ++probes_sent_;
}

std::optional<TimePoint> Spray::next_timeout() const {
  std::optional<TimePoint> next;
  for (const Run& run : runs_) {
    if (is_ready(run)) {
      next = earlier(next, std::max(run.next_at, budget_->next_packet_at()));
    } else if (!run.is_begun) {
      next = earlier(next, run.next_at + kReadyPatience);
    }
  }
  return next;
}

std::optional<Spray::Event> Spray::poll_event() {
  if (events_.empty()) return std::nullopt;
  const Event event = events_.front();
  events_.erase(events_.begin());
  return event;
}

bool Spray::owns(SocketId socket) const { return std::ranges::find(fan_, socket) != fan_.end(); }

std::optional<Method> Spray::method_of(const Path& path) const {
  const auto asked = asked_.find(path);
  if (asked != asked_.end()) return asked->second.method;
  return owns(path.socket) ? fan_method_ : std::nullopt;
}

std::optional<TimePoint> Spray::on_answer(const Path& from, const nat::TransactionId& id) const {
  const auto asked = asked_.find(from);
  if (asked == asked_.end() || asked->second.id != id) return std::nullopt;
  return asked->second.at;
}

void Spray::close(SocketId socket) {
  if (std::erase(fan_, socket) == 0) return;
  sockets_->close(socket);
}

}  // namespace openp2p::path
