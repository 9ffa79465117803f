#include "server/core.h"

/// What Core does about relays: it hands messages to broker, roster and ledger, and their answers
/// on.
namespace openp2p::server {

/// Carried on by the monotonic clock, from what the wall clock said at first: relays do the same
/// with what they are told, so that no clock that is set can make tickets old.
WallTime Core::server_time() {
  if (!started_) started_ = now_;
  const auto since =
      std::chrono::duration_cast<std::chrono::microseconds>(now_.mono - started_->mono);
  return {started_->wall.us + since.count()};
}

void Core::set_now(Moment now) {
  now_ = now;
  if (relay_) relay_->set_now(now.mono, server_time());
}

forward::StreamUser* Core::on_relay_stream(Client& client, session::Session& session,
                                           session::StreamId id) {
  return relay_ ? relay_->on_stream(client.id(), session, id) : nullptr;
}

void Core::on_relay_message(Client& client, const ClientMessage& message) {
  const NodeId& node = client.node();
  if (const auto* wish = std::get_if<RelayWish>(&message)) {
    broker_.on_wish(client.id(), *wish, now_, server_time());
  } else if (const auto* offer = std::get_if<ShareOffer>(&message)) {
    broker_.roster().on_offer(node, *offer);
  } else if (const auto* report = std::get_if<RelayReport>(&message)) {
    on_report(client, *report);
  } else if (const auto* receipt = std::get_if<SignedReceipt>(&message)) {
    if (client.may_send_receipt(now_.mono)) on_receipt(client, *receipt);
  } else if (const auto* query = std::get_if<CreditQuery>(&message)) {
    on_credit_query(client, *query);
  }
}

void Core::on_receipt(Client& relay, const SignedReceipt& receipt) {
  const auto taken = ledger_.on_receipt(relay.node(), receipt, server_time(), now_.mono);
  if (taken.outcome != CreditLedger::Outcome::kTaken) return;
  broker_.on_use(taken.relay, taken.end, now_.mono);
  // Its receipt says that it still carries; it cannot know that it works for nothing.
  const auto payer = directory_.network_of(taken.end);
  if (!payer || !ledger_.is_spent(*payer, now_.wall)) return;
  relay.send(encode_account_spent(relay_secrets_.account(taken.relay, *payer)));
}

/// Of relays that this node may use, and of no others.
void Core::on_report(Client& client, const RelayReport& report) {
  if (!client.may_report(now_.mono)) return;
  const auto own = directory_.network_of(client.node());
  const bool is_own = own && directory_.network_of(report.relay) == own;
  const bool is_server = report.relay == server_id_;
  if (is_own || is_server || broker_.may_signal(client.node(), report.relay, now_.mono)) {
    broker_.roster().on_report(client.node(), report, now_.mono);
  }
}

void Core::on_credit_query(Client& client, const CreditQuery& query) {
  const auto presence = directory_.find(client.id());
  if (!presence || !client.may_query(now_.mono)) return;
  // Not answered where the store cannot be asked: the node asks again.
  (void)store_.run(
      [node = presence->node](Records& records) { return records.lent_by(node); },
      later([this, id = client.id(), number = query.number](const Result<std::uint64_t>& lent) {
        Client* asker = find_open(id);
        const auto still = directory_.find(id);
        if (!lent || asker == nullptr || !still) return;
        Credit credit = broker_.credit(still->node, still->network, now_.wall);
        credit.number = number;
        credit.lent_here_bytes = *lent;
        asker->send(encode_credit(credit));
      }));
}

/// Between nodes of one network, or between a relay and those whom it was granted to.
Core::SignalWay Core::signal_way(const Client& from, const NodeId& to) const {
  const Directory::Route route = directory_.route(from.id(), to);
  const bool is_unknown = !route.connection && route.failure == SignalFailure::kNoSuchNode;
  if (!is_unknown || !broker_.may_signal(from.node(), to, now_.mono)) {
    return {.connection = route.connection, .failure = route.failure, .is_stranger = false};
  }
  return {.connection = directory_.connection_of(to),
          .failure = SignalFailure::kOffline,
          .is_stranger = true};
}

void Core::send_grants() {
  while (const auto send = broker_.poll_send()) {
    if (Client* client = find_open(send->to)) client->send(send->message);
  }
}

/// `is_last`: whatever waits, at the server's end. What fails then is not tried again: the relays'
/// next receipts bring it to the next server.
void Core::record_credits(bool is_last) {
  auto batch = ledger_.take_batch(now_.mono, is_last);
  if (batch.empty()) return;
  const CreditTerms terms = ledger_.terms(now_.wall, relay::ticket_step(server_time()));
  const bool is_asked =
      store_.run([batch, terms](Records& records) { return records.credit(batch, terms); },
                 later([this, batch](const Result<std::map<NetworkId, CreditAccount>>& changed) {
                   if (changed) return ledger_.on_recorded(*changed);
                   ledger_.on_failed(batch, now_.mono);
                   log_.debug(now_.mono, "store.failed reason=\"{}\"", changed.error().message());
                 }));
  if (!is_asked) ledger_.on_failed(batch, now_.mono);
}

/// The node is in its network no more: what it was granted there ends.
void Core::forget_removed(const NodeId& node) {
  broker_.on_removed(node);
  if (!directory_.connection_of(node)) {
    broker_.roster().on_offline(node, /*is_planned=*/true, now_.mono);
  }
}

void Core::forget_empty(const NetworkId& network) {
  if (directory_.has_network(network)) return;
  ledger_.forget_account(network);
  broker_.forget_network(network);
}

void Core::log_relays() const {
  const RelayBroker::Counters& asked = broker_.counters();
  const CreditLedger::Counters& receipts = ledger_.counters();
  if (relay_) {
    const relay::RelayService::Counters& served = relay_->service().counters();
    log_.info(now_.mono,
              "relay.served allocations={} allocations_ever={} bytes={} dropped={} refused={}",
              relay_->service().allocation_count(), served.allocations, served.bytes,
              served.dropped_cap + served.dropped_path, served.refused);
  }
  if (asked.wishes == 0 && receipts.taken + receipts.refused == 0) return;
  log_.info(now_.mono,
            "relay.brokered wishes={} grants={} limited={} permits={} receipts={} "
            "receipts_refused={} receipts_late={} departures={}",
            asked.wishes, asked.grants, asked.limited, broker_.permit_count(), receipts.taken,
            receipts.refused, receipts.too_old + receipts.busy,
            broker_.roster().unplanned_departures());
}

}  // namespace openp2p::server
