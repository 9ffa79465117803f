#include "server/relay_broker.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace openp2p::server {
namespace {

constexpr const char* kHowToShare = "openp2p up --share 10";

bool is_named(const std::vector<NodeId>& nodes, const NodeId& node) {
  return std::ranges::find(nodes, node) != nodes.end();
}

relay::TicketKind ticket_kind(RelayKind kind) {
  static_assert(static_cast<int>(RelayKind::kOwn) == static_cast<int>(relay::TicketKind::kOwn));
  static_assert(static_cast<int>(RelayKind::kServer) ==
                static_cast<int>(relay::TicketKind::kServer));
  return static_cast<relay::TicketKind>(kind);
}

}  // namespace

RelayBroker::RelayBroker(const Options& options, const RelaySecrets& relay_secrets,
                         const Directory& directory, const CreditLedger& ledger)
    : options_(options),
      relay_secrets_(relay_secrets),
      directory_(directory),
      ledger_(ledger),
      random_(options.seed) {
  if (options.server_bits_per_second > 0) {
    roster_.set_server(options.server, options.server_bits_per_second);
  }
}

void RelayBroker::on_arrival(ConnectionId connection, const NodeId& node) {
  relay::TicketSecret secret = relay_secrets_.of(node);
  sends_.push_back({connection, encode_relay_secret(secret)});
  wipe(secret);
}

void RelayBroker::on_wish(ConnectionId from, const RelayWish& wish, Moment now,
                          WallTime server_time) {
  const auto asker = directory_.find(from);
  if (!asker) return;
  ++counters_.wishes;
  const Directory::Route peer = directory_.route(from, wish.peer);
  if (!peer.connection) {
    const bool is_offline = peer.failure == SignalFailure::kOffline;
    return is_offline ? refuse(from, wish, "peer-offline", "that node is not online")
                      : refuse(from, wish, "no-such-node", "this network has no such node");
  }
  auto& bucket = wishes_.try_emplace(asker->network, kWishesBurstMax, kWishInterval).first->second;
  if (!bucket.take(now.mono)) {
    ++counters_.limited;
    return refuse(from, wish, "too-many",
                  "this network's nodes ask for relays too often; this one asks again by itself");
  }
  if (repeat(from, asker->node, wish, now.mono)) return;

  const Pair pair{.one = asker->node, .other = wish.peer, .network = asker->network};
  Refusal reason;
  const std::vector<RelayCandidate> candidates = find_candidates(pair, wish, reason, now);
  RelayGrant granted;
  granted.number = wish.number;
  granted.peer = wish.peer;
  for (const std::size_t place : rank_relays(candidates, kGrantRelaysMax)) {
    auto relay = grant(pair, candidates[place], now, server_time);
    if (relay) granted.relays.push_back(std::move(*relay));
  }
  granted.reason_name = reason.name;
  granted.reason = reason.text;
  if (!granted.relays.empty()) ++counters_.grants;
  sends_.push_back({from, encode_relay_grant(granted)});
  remember(asker->node, wish, granted, now.mono);
  granted.number = 0;
  granted.peer = asker->node;
  sends_.push_back({*peer.connection, encode_relay_grant(granted)});
}

void RelayBroker::refuse(ConnectionId to, const RelayWish& wish, const char* name,
                         std::string text) {
  sends_.push_back({to, encode_relay_grant({.number = wish.number,
                                            .peer = wish.peer,
                                            .relays = {},
                                            .reason = std::move(text),
                                            .reason_name = name})});
}

/// Only to the other end than the one that asked before: who asks twice wants other tickets.
bool RelayBroker::repeat(ConnectionId to, const NodeId& asker, const RelayWish& wish,
                         TimePoint now) {
  const auto found = remembered_.find({std::min(asker, wish.peer), std::max(asker, wish.peer)});
  if (found == remembered_.end() || now >= found->second.until) return false;
  const Remembered& last = found->second;
  const bool is_plain = wish.only.empty() && wish.without.empty();
  if (!is_plain || last.asker == asker || last.no_strangers != wish.no_strangers) return false;
  sends_.push_back({to, encode_relay_grant({.number = wish.number,
                                            .peer = wish.peer,
                                            .relays = last.relays,
                                            .reason = {},
                                            .reason_name = {}})});
  return true;
}

void RelayBroker::remember(const NodeId& asker, const RelayWish& wish, const RelayGrant& grant,
                           TimePoint now) {
  const bool is_plain = wish.only.empty() && wish.without.empty();
  if (!is_plain || grant.relays.empty() || !grant.reason.empty()) return;
  const PairKey key{std::min(asker, wish.peer), std::max(asker, wish.peer)};
  const Remembered entry{.asker = asker,
                         .no_strangers = wish.no_strangers,
                         .relays = grant.relays,
                         .until = now + kSameGrant};
  if (!remembered_.insert_or_assign(key, entry).second) return;
  remembered_order_.push_back(key);
  if (remembered_order_.size() <= kGrantsRememberedMax) return;
  remembered_.erase(remembered_order_.front());
  remembered_order_.pop_front();
}

std::vector<RelayCandidate> RelayBroker::find_candidates(const Pair& pair, const RelayWish& wish,
                                                         Refusal& reason, Moment now) {
  std::vector<RelayCandidate> candidates;
  add_own(pair, wish, candidates, now.mono);
  if (!wish.no_strangers && roster_.sharing_count() > 0) {
    reason = standing(pair.network, pair.one, pair.other, now.wall);
    if (reason.name.empty()) add_strangers(pair, wish, candidates, now.mono);
  }
  if (options_.server_bits_per_second > 0) {
    add_if_wished(wish, pair, options_.server, RelayKind::kServer, candidates, now.mono);
  }
  if (candidates.empty() && reason.name.empty()) {
    reason = {"no-relay",
              wish.only.empty()
                  ? "no other node of this network is online to relay, nobody else shares, and the "
                    "server does not relay. What helps: another node of yours that stays online"
                  : "none of the nodes that were asked for can relay now"};
  }
  return candidates;
}

void RelayBroker::add_if_wished(const RelayWish& wish, const Pair& pair, const NodeId& relay,
                                RelayKind kind, std::vector<RelayCandidate>& out,
                                TimePoint now) const {
  if (relay == pair.one || relay == pair.other || is_named(wish.without, relay)) return;
  if (!wish.only.empty()) {
    if (!is_named(wish.only, relay)) return;
    const bool is_twice = std::ranges::find(out, relay, &RelayCandidate::node) != out.end();
    if (is_twice) return;
  }
  out.push_back(roster_.candidate(relay, kind, pair.one, pair.other, now));
}

/// Nodes asked for by name are looked at wherever they stand; of all others some are drawn.
void RelayBroker::add_own(const Pair& pair, const RelayWish& wish, std::vector<RelayCandidate>& out,
                          TimePoint now) {
  std::vector<NodeId> nodes = wish.only;
  if (nodes.empty()) {
    nodes = directory_.online_members(pair.network, random_id(), kOwnConsideredMax);
  }
  for (const NodeId& node : nodes) {
    if (directory_.network_of(node) != pair.network) continue;
    add_if_wished(wish, pair, node, RelayKind::kOwn, out, now);
  }
}

void RelayBroker::add_strangers(const Pair& pair, const RelayWish& wish,
                                std::vector<RelayCandidate>& out, TimePoint now) {
  std::vector<NodeId> nodes = wish.only;
  if (nodes.empty()) nodes = roster_.sharing_nodes(random_id(), kStrangersConsideredMax);
  for (const NodeId& node : nodes) {
    const auto network = directory_.network_of(node);
    if (!roster_.is_sharing(node) || !network || network == pair.network) continue;
    add_if_wished(wish, pair, node, RelayKind::kShared, out, now);
  }
}

std::optional<GrantedRelay> RelayBroker::grant(const Pair& pair, const RelayCandidate& candidate,
                                               Moment now, WallTime server_time) {
  const NodeId& relay = candidate.node;
  if (candidate.kind == RelayKind::kShared) {
    const bool is_permitted =
        permits_.add(relay, pair.one, now.mono) && permits_.add(relay, pair.other, now.mono);
    if (!is_permitted) {
      ++counters_.permits_full;
      return std::nullopt;
    }
  }
  relay::AllocationId allocation;
  options_.secrets->fill(allocation);
  relay::TicketSecret secret = relay_secrets_.of(relay);
  const relay::Ticket ticket = relay::make_ticket(
      secret, {.relay = relay, .one = pair.one, .other = pair.other}, ticket_kind(candidate.kind),
      allocation, relay_secrets_.account(relay, pair.network), server_time);
  wipe(secret);
  roster_.on_granted(relay);
  const bool is_own = candidate.kind == RelayKind::kOwn;
  const auto rtt_sum = candidate.rtt_one + candidate.rtt_other;
  return GrantedRelay{.kind = candidate.kind,
                      .node = relay,
                      .name = is_own ? directory_.name_of(relay) : std::string(),
                      .ticket = to_bytes(relay::encode(ticket)),
                      .bits_per_second = candidate.bits_per_second,
                      .rtt_sum_us = static_cast<std::uint32_t>(std::min<std::int64_t>(
                          rtt_sum / std::chrono::microseconds(1), std::int64_t{2} * kRttMaxUs))};
}

void RelayBroker::on_use(const NodeId& relay, const NodeId& end, TimePoint now) {
  if (permits_.has(relay, end, now)) (void)permits_.add(relay, end, now);
}

bool RelayBroker::may_signal(const NodeId& one, const NodeId& other, TimePoint now) const {
  return permits_.has(one, other, now);
}

RelayBroker::Refusal RelayBroker::standing(const NetworkId& network, const NodeId& one,
                                           const NodeId& other, WallTime now) const {
  const std::string how = kHowToShare;
  if (roster_.refuses_to_share(one) || roster_.refuses_to_share(other)) {
    return {"not-sharing",
            "one of the two nodes neither lends nor borrows (--share 0). To use relays of others, "
            "run on it: " +
                how};
  }
  const Borrowable left = ledger_.borrowable_by(network, now);
  if (left.total() == 0) {
    return {"no-credit", "this network has borrowed all that it may: what its nodes lent, and " +
                             byte_text(ledger_.allowance_bytes()) +
                             " a month. Lend on a node that is online: " + how};
  }
  const bool is_free = left.allowance_bytes > left.owed_bytes;
  if (!is_free && !roster_.has_sharing_node(network)) {
    return {"not-sharing",
            "this month's free " + byte_text(ledger_.allowance_bytes()) +
                " are used, and no node of this network shares now. Who lends may borrow: " + how};
  }
  return {};
}

Credit RelayBroker::credit(const NodeId& node, const NetworkId& network, WallTime now) const {
  const CreditAccount* account = ledger_.account(network);
  const Refusal refusal = standing(network, node, node, now);
  return {.number = 0,
          .lent_bytes = account == nullptr ? 0 : account->lent_bytes,
          .borrowed_bytes = account == nullptr ? 0 : account->borrowed_bytes,
          .allowance_bytes = ledger_.borrowable_by(network, now).total(),
          .lent_here_bytes = 0,
          .may_borrow = refusal.name.empty(),
          .reason = refusal.text};
}

NodeId RelayBroker::random_id() {
  NodeId id;
  random_.fill(id.key);
  return id;
}

std::optional<RelayBroker::Send> RelayBroker::poll_send() {
  if (sends_.empty()) return std::nullopt;
  Send send = std::move(sends_.front());
  sends_.pop_front();
  return send;
}

}  // namespace openp2p::server
