#include "agent/relaying.h"

#include <algorithm>

#include "path/nat_class.h"

namespace openp2p::agent {
namespace {

constexpr std::uint64_t kBitsPerMbit = 1'000'000;

bool is_open(const path::SideProfile& profile) {
  return !profile.udp.is_translated || path::nat_class(profile.udp) == path::NatClass::kOpen;
}

RelayRefusals refusals(const relay::RelayService::Counters& relay,
                       const StrangerLinks::Counters& strangers) {
  RelayRefusals refused;
  refused.allocations = relay.refused;
  refused.tickets_forged = relay.tickets_forged;
  refused.tickets_old = relay.tickets_old;
  refused.tickets_spent = relay.tickets_spent;
  refused.guessers_cut = relay.guessers_cut;
  refused.streams_reset = relay.malformed + strangers.streams_refused;
  refused.offers = strangers.offers_refused;
  refused.receipts = relay.receipts_bad + relay.receipts_too_high;
  refused.cut_unreceipted = relay.cut_unreceipted;
  refused.letters = relay.letters_failed;
  refused.datagrams_over_cap = relay.dropped_cap;
  refused.datagrams_astray = relay.wrong_channel;
  return refused;
}

}  // namespace

std::string_view relay_kind_text(RelayKind kind) {
  switch (kind) {
    case RelayKind::kOwn:
      return "own node";
    case RelayKind::kShared:
      return "shared node";
    case RelayKind::kServer:
      return "server";
  }
  return "";
}

Relaying::Relaying(NodeContext& context, ServerLink& server, PeerLinkHandler& node,
                   RelayingHost& host, const Lending::Options& options)
    : context_(context),
      server_(server),
      node_(node),
      host_(host),
      lending_(
          context, server, options,
          [this](const NodeId& id) { return host_.own_node(id) != nullptr; },
          [this] { return is_open(node_.profile()); }),
      strangers_(context, node, *this),
      relays_(context, server, hops_, *this),
      hops_(context, relays_) {
  hops_.set_service(lending_.service());
  strangers_.set_lending(lending_.is_lending());
}

void Relaying::on_peer_path(PeerLink& peer) {
  relays_.on_peer_path(peer);
  hops_.on_path_changed(peer.record().id);
  if (peer.has_direct()) relays_.on_hop_ready();
}

void Relaying::on_session_down(PeerLink& peer) {
  hops_.on_session_lost(peer.record().id);
  relays_.on_session_down(peer);
}

void Relaying::on_peer_gone(PeerLink& peer) {
  hops_.on_session_lost(peer.record().id);
  relays_.on_peer_gone(peer);
}

forward::StreamUser* Relaying::on_relay_stream(session::Session& session, session::StreamId id) {
  return lending_.on_stream(hops_.hop_of(session), id);
}

void Relaying::on_server_connected() {
  lending_.on_server_connected();
  strangers_.on_server_connected();
  relays_.on_server_connected();
}

void Relaying::on_server_lost() { hops_.on_session_lost(server_.server_id()); }

bool Relaying::carry(const session::Transmit& transmit, ByteView bytes) {
  if (relays_.carry(transmit, bytes)) return true;
  lending_.on_sent(transmit);
  return false;
}

void Relaying::on_timeout() {
  lending_.on_timeout();
  strangers_.on_timeout();
  relays_.on_timeout();
}

std::optional<TimePoint> Relaying::next_timeout() const {
  const auto next = earlier(lending_.next_timeout(), strangers_.next_timeout());
  return earlier(next, relays_.next_timeout());
}

void Relaying::sweep() {
  hops_.sweep();
  relays_.sweep();
  lending_.service().sweep();
  strangers_.sweep();
}

void Relaying::stop() {
  lending_.stop("that node stopped");
  relays_.stop();
  strangers_.close_all("that node stopped");
}

/// Who does not lend does not borrow: relays of strangers that are in use are left at once.
void Relaying::set_share(unsigned mbit) {
  lending_.set_share(mbit);
  strangers_.set_lending(lending_.is_lending());
  relays_.on_rule_changed();
}

RelayRule Relaying::relay_rule(const PeerLink& peer) const {
  RelayRule rule = host_.relay_rule(peer);
  rule.no_strangers |= !lending_.is_lending();
  return rule;
}

bool Relaying::is_hard_to_reach() const {
  const path::SideProfile profile = node_.profile();
  return profile.udp.is_blocked || path::is_moving(path::nat_class(profile.udp));
}

PeerLink* Relaying::reach_relay(const GrantedRelay& relay, TimePoint until) {
  if (relay.kind == RelayKind::kShared) return strangers_.reach(relay.id, until);
  PeerLink* link = host_.own_node(relay.id);
  if (link != nullptr) link->want(until);
  return link;
}

void Relaying::on_stranger_down(PeerLink& link) { hops_.on_session_lost(link.record().id); }

void Relaying::on_stranger_stream(PeerLink& link, session::StreamId id) {
  session::Session* session = link.session();
  if (session == nullptr) return;
  forward::StreamUser* user = on_relay_stream(*session, id);
  if (user != nullptr) link.use(id, user);
}

bool Relaying::is_stranger_needed(const NodeId& id) {
  return relays_.needs(id) || lending_.has_end(id);
}

std::string Relaying::name_of(const Relays::Via& via) const {
  if (via.kind == RelayKind::kServer) return server_.server_address();
  const PeerLink* link = via.kind == RelayKind::kOwn ? host_.own_node(via.id) : nullptr;
  return link != nullptr ? link->record().name : via.id.brief();
}

std::string Relaying::path_text(SocketId socket) const {
  const auto via = relays_.via(socket);
  if (!via) return "";
  return "relayed by " + name_of(*via) + " (" + std::string(relay_kind_text(via->kind)) + ")";
}

bool Relaying::ask_credit() { return server_.ask_credit(++credit_asked_); }

bool Relaying::is_credit_fresh() const { return credit_ && credit_->number == credit_asked_; }

ShareStatus Relaying::share_status() const {
  const relay::RelayService& service = lending_.service();
  ShareStatus status;
  status.share_mbit = lending_.share_mbit();
  status.lends = lending_.is_lending();
  status.lent_bits_per_second = service.lent_bits_per_second(context_.now);
  status.lent_bytes_now = service.counters().lent_bytes;
  status.borrowed_bytes_now = relays_.bytes_borrowed();
  status.cap_bits_per_second = lending_.share_mbit() * kBitsPerMbit;
  for (const auto& allocation : service.report(context_.now)) {
    status.lent.push_back({allocation.one, allocation.other, allocation.kind.has_value(),
                           allocation.is_joined, allocation.to_one + allocation.to_other,
                           allocation.bits_per_second, allocation.age, allocation.idle});
  }
  for (const Relays::PathReport& path : relays_.report()) {
    status.borrowed.push_back({path.peer, path.via.id, std::string(relay_kind_text(path.via.kind)),
                               path.is_joined, path.is_in_use, path.bytes_sent, path.bytes_received,
                               path.age});
  }
  if (credit_) {
    status.has_credit = true;
    status.lent_bytes = credit_->lent_bytes;
    status.borrowed_bytes = credit_->borrowed_bytes;
    status.allowance_bytes = credit_->allowance_bytes;
    status.lent_here_bytes = credit_->lent_here_bytes;
    status.may_borrow = credit_->may_borrow;
    status.reason = credit_->reason;
  }
  status.refusals = refusals(service.counters(), strangers_.counters());
  if (!status.lends) {
    status.reason = "this node neither lends nor borrows; to do both: openp2p share 10";
  } else if (!credit_) {
    status.reason = "the server has not told yet what was lent and borrowed";
  }
  return status;
}

}  // namespace openp2p::agent
