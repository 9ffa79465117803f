#include "test/world/reach.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <thread>

#include "base/check.h"

namespace openp2p::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kJoining = 30s;
/// What was on its way when the path came up still makes entries in the routers.
constexpr Duration kAfterwards = 1s;

sim::LinkOptions line_of(const ReachConditions& conditions) {
  return {.delay = conditions.line_delay, .loss = conditions.line_loss};
}

/// Two addresses, as behaviour discovery wants (RFC 5780).
sim::AttachOptions server_line() {
  sim::AttachOptions options = sim::line({.delay = 5ms});
  options.v4_addresses = 2;
  return options;
}

/// Fine where milliseconds count, and coarse where nothing is found any more.
Duration step_after(Duration since_wish) {
  if (since_wish < 600ms) return 1ms;
  return since_wish < 3s ? 5ms : 50ms;
}

bool is_final(const std::string& reason_code) {
  return !reason_code.empty() && reason_code != "none" && reason_code != "checking" &&
         reason_code != "waiting-for-retry";
}

/// Watches one attempt from the wish on.
class Stopwatch {
 public:
  explicit Stopwatch(ReachWorld& world)
      : world_(world), wish_at_(world.world().now()), packets_before_(world.packets()) {}

  /// True: both have a path.
  bool look(ReachRun& run) {
    const Duration since_wish = world_.world().now() - wish_at_;
    const agent::PeerStatus a = world_.seen_by_a();
    if (is_final(a.reason_code)) {
      run.reason = a.reason_code;
      if (!run.told_after) run.told_after = since_wish;
    }
    if (a.candidates.empty()) return false;
    const agent::PeerStatus b = world_.seen_by_b();
    if (b.candidates.empty()) return false;
    candidates_at_ = std::min(candidates_at_, world_.world().now());
    if (a.path.empty() || b.path.empty()) return false;
    run.from_wish = since_wish;
    run.from_candidates = world_.world().now() - candidates_at_;
    run.packets = world_.packets() - packets_before_;
    run.method = a.method.empty() ? a.path : a.method;
    return true;
  }

 private:
  ReachWorld& world_;
  const TimePoint wish_at_;
  const std::uint64_t packets_before_;
  TimePoint candidates_at_ = TimePoint::max();  // When both had the other's.
};

std::string reason_of(const agent::PeerStatus& status) {
  return status.reason_code.empty() ? status.reason : status.reason_code;
}

}  // namespace

ReachHome::ReachHome(sim::Internet& internet, sim::NatKind kind, bool has_mapping,
                     const sim::LinkOptions& line) {
  sim::HomeOptions options{.link = line};
  if (kind == sim::NatKind::kDoubleNat) options.carrier = &carrier_.emplace(internet);
  options.has_pcp = has_mapping && kind != sim::NatKind::kNone;
  home_.emplace(internet, kind, options);
  if (home_->router() != nullptr) watch(*home_->router());
  if (carrier_) watch(carrier_->router());
}

void ReachHome::watch(sim::Router& router) {
  for (const sim::Family family : {sim::Family::kV4, sim::Family::kV6}) {
    sim::NatTable* udp = router.table(family, sim::Protocol::kUdp);
    sim::NatTable* tcp = router.table(family, sim::Protocol::kTcp);
    if (udp != nullptr && tcp != nullptr) watched_.push_back({udp, tcp, 0});
  }
}

void ReachHome::mark(TimePoint now) {
  for (Watched& watched : watched_) watched.before = watched.entries(now);
}

std::size_t ReachHome::entries_made(TimePoint now) {
  std::size_t most = 0;
  for (const Watched& watched : watched_) {
    const std::size_t entries = watched.entries(now);
    most = std::max(most, entries - std::min(entries, watched.before));
  }
  return most;
}

ReachWorld::ReachWorld(const ReachPair& pair, std::uint64_t seed, const ReachConditions& conditions)
    : conditions_(conditions),
      world_(seed),
      internet_(world_),
      server_host_(world_, internet_.core(), server_line()),
      home_a_(internet_, pair.a, pair.has_mapping, line_of(conditions)),
      home_b_(internet_, pair.b, pair.has_mapping, line_of(conditions)),
      server_(server_host_, seed ^ 0xa5a5),
      a_(home_a_.host(), seed * 3 + 1, "laptop"),
      b_(home_b_.host(), seed * 3 + 2, "nas") {
  if (conditions.server_mbit > 0) {
    server_.set_relay(std::uint64_t{conditions.server_mbit} * 1'000'000);
    server_.crash();
    server_.start();
  }
  a_.log = conditions.log_a;
  b_.log = conditions.log_b;
  const JoinToken token = server_.new_token("admin", {.is_reusable = true, .expires_at = {}});
  a_.join(token);
  b_.join(token);
}

bool ReachWorld::settle() {
  const auto is_ready = [this] {
    return a_.is_connected_to_server() && b_.is_connected_to_server() &&
           a_.node().status().peers_online == 1;
  };
  if (!world_.run_until(is_ready, world_.now() + kJoining)) return false;
  world_.run_for(conditions_.settling);
  return true;
}

void ReachWorld::wish() {
  home_a_.mark(world_.now());
  home_b_.mark(world_.now());
  a_.node().advance(world_.now());
  CHECK(!a_.node().ping("nas", 1, [](const agent::PingReply&) { return true; }));
  a_.poke();
}

bool ReachWorld::are_both_connected() {
  return a_.node().status().sessions == 1 && b_.node().status().sessions == 1;
}

ReachRun run_reach(const ReachPair& pair, std::uint64_t seed, const ReachConditions& conditions) {
  ReachRun run;
  ReachWorld net(pair, seed, conditions);
  if (!net.settle()) {
    run.reason = "no-server";
    return run;
  }
  const TimePoint wish_at = net.world().now();
  Stopwatch watch(net);
  net.wish();
  while (!(run.is_direct = watch.look(run))) {
    const Duration since_wish = net.world().now() - wish_at;
    if (since_wish >= conditions.patience) break;
    net.world().run_for(step_after(since_wish));
  }
  net.world().run_for(kAfterwards);
  const TimePoint now = net.world().now();
  run.conntrack = std::max(net.home_a().entries_made(now), net.home_b().entries_made(now));
  if (run.is_direct) run.reason.clear();
  if (!run.is_direct && run.reason.empty()) run.reason = reason_of(net.seen_by_a());
  return run;
}

namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

/// The smallest value that `share` of them do not exceed.
double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(rank) - 1];
}

std::string most_frequent(const std::map<std::string, unsigned>& counts) {
  std::string most;
  unsigned count = 0;
  for (const auto& [text, times] : counts) {
    if (times > count) most = text;
    count = std::max(count, times);
  }
  return most;
}

}  // namespace

ReachCell summarize(const ReachPair& pair, std::span<const ReachRun> runs) {
  ReachCell cell;
  cell.pair = pair;
  cell.runs = static_cast<unsigned>(runs.size());
  std::vector<double> from_candidates, from_wish, told, packets;
  std::map<std::string, unsigned> methods, reasons;
  for (const ReachRun& run : runs) {
    cell.conntrack_max = std::max(cell.conntrack_max, run.conntrack);
    if (!run.is_direct) {
      ++reasons[run.reason];
      if (run.told_after) told.push_back(seconds(*run.told_after));
      continue;
    }
    ++cell.direct;
    ++methods[run.method];
    from_candidates.push_back(seconds(run.from_candidates));
    from_wish.push_back(seconds(run.from_wish));
    packets.push_back(static_cast<double>(run.packets));
  }
  cell.reason = most_frequent(reasons);
  cell.method = most_frequent(methods);
  cell.told_p95_s = quantile(told, 0.95);
  cell.t_median_s = quantile(from_candidates, 0.5);
  cell.t_p95_s = quantile(from_candidates, 0.95);
  cell.wish_median_s = quantile(from_wish, 0.5);
  cell.wish_p95_s = quantile(from_wish, 0.95);
  cell.packets_median = static_cast<std::uint64_t>(quantile(packets, 0.5));
  cell.packets_p95 = static_cast<std::uint64_t>(quantile(packets, 0.95));
  return cell;
}

std::vector<ReachCell> measure_reach(const std::vector<ReachPair>& pairs, Seeds seeds,
                                     unsigned threads, const ReachConditions& conditions) {
  std::vector<ReachRun> runs(pairs.size() * seeds.count);
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < runs.size(); i = next++) {
      runs[i] = run_reach(pairs[i / seeds.count], seeds.first + i % seeds.count, conditions);
    }
  };
  std::vector<std::jthread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  others.clear();  // Waits for them.
  std::vector<ReachCell> cells;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    cells.push_back(summarize(pairs[i], std::span(runs).subspan(i * seeds.count, seeds.count)));
  }
  return cells;
}

}  // namespace openp2p::test
