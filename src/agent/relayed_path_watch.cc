// What a relayed path is worth while it carries: goodput, round trips, losses; and when it is left.

#include <algorithm>
#include <utility>

#include "agent/relays.h"

namespace openp2p::agent {
namespace {

using namespace std::chrono_literals;

constexpr Duration kReportEvery = 60s;
/// A path that takes twice as long as it did, and this much, has become slow.
constexpr Duration kSlowSlack = 50ms;
/// Losses come from a relay's load or line, and last.
constexpr Duration kShunLossyFor = 10min;
constexpr Duration kLeavePatience = 20s;  ///< For another relay to be there.
constexpr Duration kLookAgain = 1s;       ///< Whether it is.

}  // namespace

void Relays::count(RelayedPath& path, std::size_t bytes) {
  if (path.relay.kind != RelayKind::kOwn) bytes_borrowed_ += bytes;
  path.second_bytes += bytes;
  const Duration passed = context_.now - path.second_began_at;
  if (passed < 1s) return;
  // Over a pause the rate would say nothing; it only counts where it is the best.
  const double bits = static_cast<double>(path.second_bytes) * 8;
  const auto rate =
      static_cast<std::uint64_t>(bits / std::chrono::duration<double>(passed).count());
  path.best_bits_per_second = std::max(path.best_bits_per_second, rate);
  path.second_bytes = 0;
  path.second_began_at = context_.now;
  watch_loss(path);
}

/// Inside of calls about datagrams: what follows from it waits for the timer.
void Relays::watch_loss(RelayedPath& path) {
  const session::Session* session = path.peer->link->any_session();
  if (session == nullptr) return;
  path.loss.on_sample(session->traffic(), session->sealed_arrivals(), is_in_use(path),
                      context_.now);
  const bool is_news = path.loss.is_bad() && !path.leave_by;
  if (is_news && context_.now >= path.peer->stay_until) path.report_at = context_.now;
}

/// Now and then: whether the path still is what it was. Which of several is used the PathFinder
/// decides, by their times; here they are replaced.
void Relays::judge(RelayedPath& path) {
  path.report_at = context_.now + kReportEvery;
  if (!path.leave_by) tell_report(path, /*is_unusable=*/false);
  session::Session* session = path.peer->link->any_session();
  if (session == nullptr || session->paths() == nullptr) return;
  for (const path::PairReport& pair : session->paths()->report()) {
    if (pair.local.socket != path.path.socket) continue;
    judge_time(path, pair);
    if (path.peer == nullptr) return;
  }
  judge_loss(path);
}

void Relays::judge_time(RelayedPath& path, const path::PairReport& pair) {
  if (pair.state == "failed") return end(path, /*is_failure=*/true);
  if (!pair.rtt) return;
  path.best_rtt = std::min(path.best_rtt.value_or(*pair.rtt), *pair.rtt);
  const bool is_slow = *pair.rtt > 2 * *path.best_rtt + kSlowSlack;
  if (!is_slow) path.is_doubted = false;
  if (path.is_doubted && !is_in_use(path)) return end(path, /*is_failure=*/true);
  if (!is_slow || path.is_doubted || path.peer->link->has_direct()) return;
  path.is_doubted = true;
  shun(*path.peer, path.relay.id, context_.now + kShunFor);
  if (path.peer->link->is_asking()) wish(*path.peer);
}

/// A relay that loses is left once another one carries, and not before: it is better than none.
/// Either end does that, since each knows what is lost of what it sends.
void Relays::judge_loss(RelayedPath& path) {
  Peer& peer = *path.peer;
  if (peer.link->has_direct() || !is_in_use(path)) return path.leave_by.reset();
  const bool is_over = path.leave_by && context_.now >= *path.leave_by;
  if (is_over || (!path.leave_by && context_.now < peer.stay_until)) {
    if (is_over) stay_a_while(peer);
    return path.leave_by.reset();
  }
  if (!path.leave_by) {
    if (!path.loss.is_bad()) return;
    path.leave_by = context_.now + kLeavePatience;
    shun(peer, path.relay.id, context_.now + kShunLossyFor);
    if (!has_other(path)) wish(peer);
  }
  if (!has_other(path)) {
    path.report_at = context_.now + kLookAgain;
    return;
  }
  context_.log.info(context_.now, "relay.lossy peer={} relay={}", peer.link->record().id.brief(),
                    path.relay.id.brief());
  stay_a_while(peer);
  end(path, /*is_failure=*/false);
}

void Relays::stay_a_while(Peer& peer) {
  peer.stay_until = context_.now + peer.stay_rest;
  peer.stay_rest = std::min(2 * peer.stay_rest, kStayMax);
}

/// Another relay that has been heard through, from end to end.
bool Relays::has_other(const RelayedPath& path) const {
  session::Session* session = path.peer->link->any_session();
  if (session == nullptr || session->paths() == nullptr) return false;
  return std::ranges::any_of(session->paths()->report(), [&](const path::PairReport& pair) {
    const auto found = by_socket_.find(pair.local.socket);
    const bool is_other = found != by_socket_.end() && found->second != &path;
    return is_other && !found->second->is_doubted && pair.state == "valid" && pair.rtt;
  });
}

void Relays::tell_report(RelayedPath& path, bool is_unusable) {
  RelayReport report;
  report.relay = path.relay.id;
  report.is_unusable = is_unusable;
  report.bits_per_second = std::exchange(path.best_bits_per_second, 0);
  report.loss_permille = path.loss.take_permille();
  if (path.client != nullptr && path.client->hop().session() != nullptr) {
    report.rtt = path.client->hop().session()->rtt();
  }
  server_.send_relay_report(report);
}

}  // namespace openp2p::agent
