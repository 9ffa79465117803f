#include "server/relay_roster.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace openp2p::server {
namespace {

/// The least that one report may say: it must not undo all others by itself.
constexpr double kKeptMin = 0.001;
constexpr double kProvenFactor = 2;
/// The server as a relay does not leave by itself.
constexpr double kServerHours = 1e6;

double hours(Duration duration) {
  return std::chrono::duration<double, std::ratio<3600>>(duration).count();
}

/// One voice must not decide: of three or more the worst is left out.
void drop_worst(std::vector<double>& values, bool is_low_bad) {
  if (values.size() < 3) return;
  values.erase(is_low_bad ? std::ranges::min_element(values) : std::ranges::max_element(values));
}

}  // namespace

/// Both age alike, so that their ratio, how often a relay leaves, stays what it was.
RelayRoster::Service RelayRoster::service_of(const History& history, TimePoint now) {
  const double passed = hours(std::max(now - history.counted_at, Duration::zero()));
  const double rate = std::log(2.0) / hours(kHalfLife);
  const double left = std::exp(-rate * passed);
  const double fresh = history.is_online ? (1 - left) / rate : 0;
  return {.hours = history.served_hours * left + fresh, .departures = history.departures * left};
}

void RelayRoster::count(History& history, TimePoint now) {
  const Service service = service_of(history, now);
  history.served_hours = service.hours;
  history.departures = service.departures;
  history.counted_at = now;
}

void RelayRoster::set_server(const NodeId& key, std::uint64_t bits_per_second) {
  server_ = key;
  History& server = histories_[key];
  server.offer = ShareOffer{.bits_per_second = bits_per_second, .is_reachable = true};
}

void RelayRoster::on_online(const NodeId& node, const NetworkId& network, std::uint64_t incarnation,
                            TimePoint now) {
  const auto [found, is_new] = histories_.try_emplace(node);
  History& history = found->second;
  if (is_new) {
    history.counted_at = now;
    forget_oldest();
  }
  count(history, now);
  if (history.is_online) {
    if (history.incarnation != incarnation) {
      ++history.departures;
      ++departures_;
    }
    leave_network(node, history);
  }
  history.network = network;
  history.incarnation = incarnation;
  history.is_online = true;
  history.offer.reset();  // It says what it lends after its Welcome.
  history.granted = 0;
  ++networks_[network].online;
}

void RelayRoster::on_offline(const NodeId& node, bool is_planned, TimePoint now) {
  const auto found = histories_.find(node);
  if (found == histories_.end() || !found->second.is_online) return;
  History& history = found->second;
  count(history, now);
  if (!is_planned) {
    ++history.departures;
    ++departures_;
  }
  leave_network(node, history);
  history.is_online = false;
  history.offer.reset();
  offline_.emplace_back(node, now);
  forget_oldest();
}

void RelayRoster::leave_network(const NodeId& node, const History& history) {
  set_sharing(node, history, /*is_sharing=*/false);
  const auto network = networks_.find(history.network);
  if (--network->second.online == 0) networks_.erase(network);
}

/// Nodes that came back since; if they went again, they stand in the line once more, further back.
bool RelayRoster::is_stale(const std::pair<NodeId, TimePoint>& offline) const {
  const auto found = histories_.find(offline.first);
  return found == histories_.end() || found->second.is_online ||
         found->second.counted_at != offline.second;
}

void RelayRoster::forget_oldest() {
  const auto stale = [this](const auto& offline) { return is_stale(offline); };
  if (offline_.size() > 2 * kHistoriesMax) std::erase_if(offline_, stale);
  while (histories_.size() > kHistoriesMax && !offline_.empty()) {
    if (!is_stale(offline_.front())) histories_.erase(offline_.front().first);
    offline_.pop_front();
  }
}

void RelayRoster::set_sharing(const NodeId& node, const History& history, bool is_sharing) {
  NetworkState& network = networks_.at(history.network);
  if (is_sharing) {
    if (sharing_.emplace(node, history.network).second) ++network.sharing;
  } else if (sharing_.erase(node) != 0) {
    --network.sharing;
  }
}

void RelayRoster::on_rtt(const NodeId& node, Duration to_server) {
  const auto found = histories_.find(node);
  if (found != histories_.end()) found->second.to_server = to_server;
}

void RelayRoster::on_offer(const NodeId& node, const ShareOffer& offer) {
  const auto found = histories_.find(node);
  if (found == histories_.end() || !found->second.is_online) return;
  found->second.offer = offer;
  found->second.granted = 0;
  set_sharing(node, found->second, offer.bits_per_second > 0);
}

void RelayRoster::on_granted(const NodeId& relay) {
  const auto found = histories_.find(relay);
  if (found != histories_.end() && found->second.granted < kAllocationsMax) ++found->second.granted;
}

bool RelayRoster::is_sharing(const NodeId& node) const { return sharing_.contains(node); }

bool RelayRoster::refuses_to_share(const NodeId& node) const {
  const auto found = histories_.find(node);
  return found != histories_.end() && found->second.offer &&
         found->second.offer->bits_per_second == 0;
}

bool RelayRoster::has_sharing_node(const NetworkId& network) const {
  const auto found = networks_.find(network);
  return found != networks_.end() && found->second.sharing > 0;
}

std::vector<NodeId> RelayRoster::sharing_nodes(const NodeId& from, std::size_t count) const {
  std::vector<NodeId> nodes;
  auto next = sharing_.lower_bound(from);
  for (std::size_t i = std::min(count, sharing_.size()); i > 0; --i) {
    if (next == sharing_.end()) next = sharing_.begin();
    nodes.push_back(next->first);
    ++next;
  }
  return nodes;
}

/// The reporter's earlier report, else the oldest of its network if that has its share, else of
/// all.
RelayRoster::Report& RelayRoster::report_slot(History& relay, const NodeId& reporter,
                                              const NetworkId& network, TimePoint now) {
  std::vector<Report>& reports = relay.reports;
  const auto own = std::ranges::find(reports, reporter, &Report::reporter);
  if (own != reports.end() && own->network == network) return *own;
  std::erase_if(reports, [&](const Report& r) {
    return r.reporter == reporter || now - r.at > kReportAgeMax;
  });
  const auto of_network = std::ranges::count(reports, network, &Report::network);
  const bool is_crowd = of_network >= static_cast<std::ptrdiff_t>(kReportsPerNetworkMax);
  if (is_crowd || reports.size() >= kReportsMax) {
    const auto age = [&](const Report& r) {
      return std::pair(is_crowd && r.network != network, r.at);
    };
    reports.erase(std::ranges::min_element(reports, {}, age));
  }
  return reports.emplace_back(
      Report{.reporter = reporter, .network = network, .at = TimePoint::min()});
}

/// How much of what the relay promised was seen to arrive. Ends have lines of their own that may be
/// slower: so they are taken to have got half of what there was.
double RelayRoster::kept_now(const RelayReport& report, TimePoint now) const {
  if (report.is_unusable) return kKeptMin;
  const double promised =
      promised_bits(candidate(report.relay, RelayKind::kShared, report.relay, report.relay, now));
  const double proven = kProvenFactor * static_cast<double>(report.bits_per_second);
  return std::clamp(proven / std::max(promised, 1.0), kKeptMin, 1.0);
}

void RelayRoster::on_report(const NodeId& reporter, const RelayReport& report, TimePoint now) {
  const auto from = histories_.find(reporter);
  const auto about = histories_.find(report.relay);
  if (from == histories_.end() || !from->second.is_online || about == histories_.end()) return;
  const NetworkId network = from->second.network;
  const bool is_measured = report.bits_per_second > 0 || report.is_unusable;
  const double kept = is_measured ? kept_now(report, now) : 1;
  Report& slot = report_slot(about->second, reporter, network, now);
  const bool is_first = slot.at == TimePoint::min();
  const auto blend = [is_first](double old, double fresh) {
    return is_first ? fresh : (old + fresh) / 2;
  };
  if (is_measured) slot.kept = blend(slot.kept, kept);
  slot.loss = blend(slot.loss, report.loss_permille / 1000.0);
  if (report.rtt_us > 0) slot.rtt = std::chrono::microseconds(report.rtt_us);
  slot.at = now;
}

Duration RelayRoster::rtt_between(const NodeId& relay, const History& history,
                                  const NodeId& end) const {
  const auto measured = std::ranges::find(history.reports, end, &Report::reporter);
  if (measured != history.reports.end() && measured->rtt > Duration::zero()) return measured->rtt;
  const auto found = histories_.find(end);
  const Duration end_to_server = found == histories_.end() ? Duration() : found->second.to_server;
  return relay == server_ ? end_to_server : estimate_rtt(history.to_server, end_to_server);
}

/// What reports say: the geometric mean of what was kept, with one voice for the relay itself, and
/// the mean loss.
RelayRoster::Quality RelayRoster::quality_of(const History& history, TimePoint now) {
  std::vector<double> kept;
  std::map<NetworkId, double> worst;  // Of its two ends each knows one direction.
  for (const Report& report : history.reports) {
    if (now - report.at > kReportAgeMax) continue;
    kept.push_back(std::log(report.kept));
    double& loss = worst[report.network];
    loss = std::max(loss, report.loss);
  }
  std::vector<double> losses;
  losses.reserve(worst.size());
  for (const auto& [network, loss] : worst) losses.push_back(loss);
  if (kept.empty()) return {};
  drop_worst(kept, /*is_low_bad=*/true);
  drop_worst(losses, /*is_low_bad=*/false);
  const double log_sum = std::accumulate(kept.begin(), kept.end(), 0.0);
  const double loss_sum = std::accumulate(losses.begin(), losses.end(), 0.0);
  return {.kept = std::exp(log_sum / (static_cast<double>(kept.size()) + 1)),
          .loss = loss_sum / static_cast<double>(losses.size())};
}

RelayCandidate RelayRoster::candidate(const NodeId& relay, RelayKind kind, const NodeId& one,
                                      const NodeId& other, TimePoint now) const {
  const auto found = histories_.find(relay);
  CHECK(found != histories_.end());
  const History& history = found->second;
  const Service service =
      relay == server_ ? Service{.hours = kServerHours, .departures = 0} : service_of(history, now);
  const Quality quality = quality_of(history, now);
  const ShareOffer offer = history.offer.value_or(ShareOffer{});
  return {.node = relay,
          .kind = kind,
          .bits_per_second = kind == RelayKind::kOwn ? 0 : offer.bits_per_second,
          .used_bits_per_second = offer.used_bits_per_second,
          .own_bits_per_second = offer.own_bits_per_second,
          .allocations = offer.allocations,
          .granted = history.granted,
          .rtt_one = rtt_between(relay, history, one),
          .rtt_other = rtt_between(relay, history, other),
          .loss = quality.loss,
          .kept = quality.kept,
          .departures = service.departures,
          .served_hours = service.hours,
          .is_reachable = offer.is_reachable};
}

}  // namespace openp2p::server
