#include "agent/local_api_json.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "agent/config_text.h"
#include "agent/json_text.h"

namespace openp2p::agent {
namespace json = boost::json;

namespace {

std::int64_t microseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

json::value us_or_null(const std::optional<Duration>& duration) {
  return duration ? json::value(microseconds(*duration)) : json::value();
}

json::value text_or_null(const std::optional<Address>& address) {
  return address ? json::value(address->text()) : json::value();
}

json::value bool_or_null(const std::optional<bool>& value) {
  return value ? json::value(*value) : json::value();
}

json::array texts(const std::vector<std::string>& from) {
  json::array array;
  for (const std::string& text : from) array.emplace_back(json_safe(text));
  return array;
}

json::object to_json(const PathCandidateStatus& candidate) {
  return {{"local", json_safe(candidate.local)},
          {"remote", json_safe(candidate.remote)},
          {"state", json_safe(candidate.state)},
          {"checks_sent", candidate.checks_sent},
          {"rtt_us", us_or_null(candidate.rtt)}};
}

json::object to_json(const PathEventStatus& event) {
  return {{"ago_us", microseconds(event.ago)},      {"event", json_safe(event.event)},
          {"method", json_safe(event.method)},      {"reason", json_safe(event.reason)},
          {"address", text_or_null(event.address)}, {"count", event.count}};
}

json::object to_json(const NetcheckFinding& finding) {
  json::array ports;
  for (const std::uint16_t port : finding.sample_ports) ports.emplace_back(port);
  json::value block;
  if (finding.block_last != 0) {
    block = json::object{{"first", finding.block_first}, {"last", finding.block_last}};
  }
  return {{"transport", finding.transport},
          {"family", finding.family},
          {"works", finding.works},
          {"blocked", finding.is_blocked},
          {"reflexive", text_or_null(finding.reflexive)},
          {"mapping", json_safe(finding.mapping)},
          {"filtering", json_safe(finding.filtering)},
          {"nat", json_safe(finding.nat)},
          {"ports", json_safe(finding.ports)},
          {"sample_ports", std::move(ports)},
          {"port_step", finding.port_step == 0 ? json::value() : json::value(finding.port_step)},
          {"block", std::move(block)},
          {"addresses", texts(finding.addresses)},
          {"hairpin", bool_or_null(finding.hairpin)},
          {"spoilt_by_unsolicited", finding.is_spoilt_by_unsolicited},
          {"rtt_us", us_or_null(finding.rtt)}};
}

json::object to_json(const SignalCounts& counts) {
  return {{"letters_sent", counts.letters_sent},
          {"letters_taken", counts.letters_taken},
          {"letters_challenged", counts.letters_challenged},
          {"letters_refused", counts.letters_refused},
          {"direct_sent", counts.direct_sent},
          {"direct_taken", counts.direct_taken},
          {"direct_challenged", counts.direct_challenged},
          {"direct_limited", counts.direct_limited},
          {"direct_stranger", counts.direct_stranger},
          {"direct_forged", counts.direct_forged},
          {"direct_stale", counts.direct_stale}};
}

json::object server_json(const NodeStatus& status) {
  return {{"address", json_safe(status.server_address)},
          {"key", status.server_key.text()},
          {"state", json_safe(status.server_state)},
          {"reason", json_safe(status.server_reason)},
          {"retry_in_us", us_or_null(status.server_retry_in)}};
}

}  // namespace

json::object to_json(const ForwardSpec& spec) {
  return {{"name", json_safe(spec.name)},
          {"peer", json_safe(spec.peer)},
          {"host", json_safe(spec.host)},
          {"port", spec.port},
          {"listen", spec.listen.text()},
          {"enabled", spec.is_enabled},
          {"ports", spec.ports},
          {"protocols", texts(protocol_texts(spec))},
          {"relay", json_safe(spec.relay)},
          {"no_relay", !spec.allows_relay}};
}

json::object to_json(const ForwardStatus& forward) {
  json::object object = to_json(forward.spec);
  object["state"] = json_safe(forward.state);
  object["reason"] = json_safe(forward.reason);
  object["hint"] = json_safe(forward.hint);
  object["bound"] = text_or_null(forward.bound);
  object["connections_now"] = forward.connections_now;
  object["connections_total"] = forward.connections_total;
  object["connections_failed"] = forward.connections_failed;
  object["flows_now"] = forward.flows_now;
  object["flows_total"] = forward.flows_total;
  object["flows_failed"] = forward.flows_failed;
  object["datagrams_sent"] = forward.datagrams_sent;
  object["datagrams_received"] = forward.datagrams_received;
  object["datagrams_dropped"] = forward.datagrams_dropped;
  object["bytes_sent"] = forward.bytes_sent;
  object["bytes_received"] = forward.bytes_received;
  return object;
}

json::object to_json(const PeerStatus& peer) {
  json::array timeline;
  for (const auto& event : peer.timeline) timeline.emplace_back(to_json(event));
  json::array candidates;
  for (const auto& candidate : peer.candidates) candidates.emplace_back(to_json(candidate));
  return {{"id", peer.id.text()},
          {"name", json_safe(peer.name)},
          {"online", peer.is_online},
          {"session", json_safe(peer.session)},
          {"path", json_safe(peer.path)},
          {"relay", json_safe(peer.relay)},
          {"relay_kind", json_safe(peer.relay_kind)},
          {"relay_reason", json_safe(peer.relay_reason)},
          {"address", text_or_null(peer.address)},
          {"rtt_us", us_or_null(peer.rtt)},
          {"method", json_safe(peer.method)},
          {"reason", json_safe(peer.reason)},
          {"reason_code", json_safe(peer.reason_code)},
          {"retry_in_us", us_or_null(peer.retry_in)},
          {"timeline", std::move(timeline)},
          {"candidates", std::move(candidates)},
          {"bytes_sent", peer.bytes_sent},
          {"bytes_received", peer.bytes_received},
          {"version", json_safe(peer.version)},
          {"platform", json_safe(peer.platform)},
          {"seen_at_us", peer.seen_at_us}};
}

json::object to_json(const NodeStatus& status) {
  json::array local_addresses;
  for (const Address& address : status.local_addresses)
    local_addresses.emplace_back(address.text());
  return {{"id", status.id.text()},
          {"name", json_safe(status.name)},
          {"network", json_safe(status.network)},
          {"program_version", json_safe(status.version)},
          {"server", server_json(status)},
          {"observed_address", text_or_null(status.observed_address)},
          {"local_addresses", std::move(local_addresses)},
          {"uptime_us", microseconds(status.uptime)},
          {"peers_total", status.peers_total},
          {"peers_online", status.peers_online},
          {"sessions", status.sessions},
          {"forwards", status.forwards},
          {"accept_lan", status.accepts_lan},
          {"accept", texts(status.accepts)},
          {"methods", texts(status.methods)},
          {"signals", to_json(status.signals)}};
}

json::object to_json(const PingReply& reply) {
  return {{"number", reply.number},
          {"rtt_us", us_or_null(reply.rtt)},
          {"path", json_safe(reply.path)},
          {"address", text_or_null(reply.address)},
          {"method", json_safe(reply.method)},
          {"reason", json_safe(reply.reason)},
          {"reason_code", json_safe(reply.reason_code)}};
}

json::object to_json(const NetcheckReport& report) {
  json::array findings;
  for (const NetcheckFinding& finding : report.findings) findings.emplace_back(to_json(finding));
  return {{"udp_v4", report.udp_v4},
          {"udp_v6", report.udp_v6},
          {"reflexive_v4", text_or_null(report.reflexive_v4)},
          {"reflexive_v6", text_or_null(report.reflexive_v6)},
          {"mapping", json_safe(report.mapping)},
          {"filtering", json_safe(report.filtering)},
          {"nat", json_safe(report.nat)},
          {"hairpin", bool_or_null(report.hairpin)},
          {"preserves_port", bool_or_null(report.preserves_port)},
          {"findings", std::move(findings)},
          {"port_mappings", texts(report.port_mappings)},
          {"throttling", json_safe(report.throttling)},
          {"lifetime_alive_us", us_or_null(report.lifetime_alive)},
          {"lifetime_dead_us", us_or_null(report.lifetime_dead)},
          {"server_rtt_us", us_or_null(report.server_rtt)},
          {"evidence", texts(report.evidence)},
          {"error", json_safe(report.error)}};
}

namespace {

json::object to_json(const LentStatus& lent) {
  return {{"one", lent.one.text()},
          {"other", lent.other.text()},
          {"strangers", lent.is_lent},
          {"joined", lent.is_joined},
          {"bytes", lent.bytes},
          {"bits_per_second", lent.bits_per_second},
          {"age_us", microseconds(lent.age)},
          {"idle_us", microseconds(lent.idle)}};
}

json::object to_json(const BorrowedStatus& borrowed) {
  return {{"peer", borrowed.peer.text()},
          {"relay", borrowed.relay.text()},
          {"kind", json_safe(borrowed.kind)},
          {"joined", borrowed.is_joined},
          {"in_use", borrowed.is_in_use},
          {"bytes_sent", borrowed.bytes_sent},
          {"bytes_received", borrowed.bytes_received},
          {"age_us", microseconds(borrowed.age)}};
}

json::object to_json(const RelayRefusals& refusals) {
  return {{"allocations", refusals.allocations},
          {"tickets_forged", refusals.tickets_forged},
          {"tickets_old", refusals.tickets_old},
          {"tickets_spent", refusals.tickets_spent},
          {"guessers_cut", refusals.guessers_cut},
          {"streams_reset", refusals.streams_reset},
          {"offers", refusals.offers},
          {"receipts", refusals.receipts},
          {"cut_unreceipted", refusals.cut_unreceipted},
          {"letters", refusals.letters},
          {"datagrams_over_cap", refusals.datagrams_over_cap},
          {"datagrams_astray", refusals.datagrams_astray}};
}

json::value credit_json(const ShareStatus& share) {
  if (!share.has_credit) return {};
  return json::object{{"lent_bytes", share.lent_bytes},
                      {"borrowed_bytes", share.borrowed_bytes},
                      {"allowance_bytes", share.allowance_bytes},
                      {"lent_here_bytes", share.lent_here_bytes},
                      {"may_borrow", share.may_borrow}};
}

}  // namespace

json::object to_json(const ShareStatus& share) {
  json::array lent;
  for (const LentStatus& each : share.lent) lent.emplace_back(to_json(each));
  json::array borrowed;
  for (const BorrowedStatus& each : share.borrowed) borrowed.emplace_back(to_json(each));
  return {{"share_mbit", share.share_mbit},
          {"lends", share.lends},
          {"cap_bits_per_second", share.cap_bits_per_second},
          {"lent_bits_per_second", share.lent_bits_per_second},
          {"lent_bytes_now", share.lent_bytes_now},
          {"borrowed_bytes_now", share.borrowed_bytes_now},
          {"lent", std::move(lent)},
          {"borrowed", std::move(borrowed)},
          {"credit", credit_json(share)},
          {"refusals", to_json(share.refusals)},
          {"reason", json_safe(share.reason)}};
}

void PingSummary::add(const PingReply& reply) {
  ++sent;
  if (!reply.rtt) return;
  rtt_min = received == 0 ? *reply.rtt : std::min(rtt_min, *reply.rtt);
  rtt_max = std::max(rtt_max, *reply.rtt);
  rtt_sum += *reply.rtt;
  ++received;
}

json::object to_json(const PingSummary& summary) {
  json::object object{{"sent", summary.sent}, {"received", summary.received}};
  const bool is_measured = summary.received > 0;
  const auto put = [&](std::string_view name, Duration value) {
    object[name] = is_measured ? json::value(microseconds(value)) : json::value();
  };
  put("rtt_min_us", summary.rtt_min);
  put("rtt_avg_us", is_measured ? summary.rtt_sum / summary.received : Duration());
  put("rtt_max_us", summary.rtt_max);
  return object;
}

}  // namespace openp2p::agent
