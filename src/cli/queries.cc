#include "cli/queries.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "agent/config_text.h"
#include "base/address.h"
#include "base/ids.h"
#include "cli/exit_code.h"
#include "cli/field.h"
#include "cli/netcheck_text.h"
#include "cli/peer_story.h"
#include "cli/table.h"
#include "path/method.h"

namespace openp2p::cli {
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr Duration kPatience = 10s;          // The agent answers from memory.
constexpr Duration kPatienceNetcheck = 90s;  // RFC 5780's tests wait for answers that never come.
constexpr Duration kPatienceLifetime = kPatienceNetcheck + 330s;
constexpr Duration kPatiencePing = 60s;  // The first one may have to make a session.

std::string joined(const std::vector<std::string>& texts) {
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string rtt_or_dash(const json::object& from, std::string_view name) {
  const auto rtt = duration_of(from, name);
  return rtt ? rtt_text(*rtt) : "-";
}

std::string server_text(const json::object& server) {
  std::string text = text_of(server, "address") + ", " + text_of(server, "state");
  if (const auto retry = duration_of(server, "retry_in_us")) {
    text += ", tries again in " + duration_text(*retry);
  }
  const std::string reason = text_of(server, "reason");
  return reason.empty() ? text : text + ": " + reason;
}

std::string accepts_text(const json::object& status) {
  std::string text = "this node";
  if (flag_of(status, "accept_lan")) text += ", its local network";
  const auto accepts = texts_of(status, "accept");
  return accepts.empty() ? text : text + ", " + joined(accepts);
}

void print_status(const json::object& status) {
  Table table({"node", fmt::format("{} ({})", text_of(status, "name"),
                                   text_of(status, "id").substr(0, 10))});
  table.add({"network", or_dash(text_of(status, "network"))});
  table.add({"server", server_text(object_of(status, "server"))});
  table.add({"seen as", or_dash(text_of(status, "observed_address"))});
  table.add({"addresses", or_dash(joined(texts_of(status, "local_addresses")))});
  table.add(
      {"peers", fmt::format("{} of {} online, {} with a session", number_of(status, "peers_online"),
                            number_of(status, "peers_total"), number_of(status, "sessions"))});
  table.add({"forwards", std::to_string(number_of(status, "forwards"))});
  table.add({"accepts", accepts_text(status)});
  const auto methods = texts_of(status, "methods");
  const bool is_restricted = !methods.empty() && methods.size() < path::kMethods;
  if (is_restricted) table.add({"methods", "only " + joined(methods)});
  table.add({"running", duration_text(duration_of(status, "uptime_us").value_or(Duration()))});
  table.add({"version", text_of(status, "program_version")});
  print(table.text());
}

std::string peer_state(const json::object& peer) {
  std::string session = text_of(peer, "session");
  if (session == "connected" || session == "connecting") return session;
  return flag_of(peer, "online") ? "online" : "offline";
}

/// Why there is no path, or no better one, and when another is looked for.
std::string note_of(const json::object& peer) {
  const std::string reason = text_of(peer, "reason");
  const auto retry = duration_of(peer, "retry_in_us");
  return reason.empty() || !retry ? reason : reason + "; next try in " + duration_text(*retry);
}

void print_peers(const json::object& answer) {
  const auto peers = objects_of(answer, "peers");
  if (peers.empty()) {
    print("no peers yet; join another device with: openp2p up --token TOKEN\n");
    return;
  }
  Table table({"NAME", "ID", "STATE", "PATH", "ADDRESS", "RTT", "SENT", "RECEIVED", "NOTE"});
  for (const json::object& peer : peers) {
    table.add({text_of(peer, "name"), text_of(peer, "id").substr(0, 10), peer_state(peer),
               or_dash(text_of(peer, "path")), or_dash(text_of(peer, "address")),
               rtt_or_dash(peer, "rtt_us"), bytes_text(number_of(peer, "bytes_sent")),
               bytes_text(number_of(peer, "bytes_received")), note_of(peer)});
  }
  print(table.text());
}

std::string summary_text(const json::object& summary) {
  const auto number = [&](std::string_view name) { return number_of(summary, name); };
  std::string text = fmt::format("{} sent, {} answered", number("sent"), number("received"));
  if (number("received") == 0) return text;
  return text + fmt::format(", round trip {} at least, {} on average, {} at most",
                            rtt_or_dash(summary, "rtt_min_us"), rtt_or_dash(summary, "rtt_avg_us"),
                            rtt_or_dash(summary, "rtt_max_us"));
}

std::string reply_text(const std::string& peer, const json::object& reply) {
  const std::string reason = text_of(reply, "reason");
  const auto rtt = duration_of(reply, "rtt_us");
  if (!rtt) return "no answer from " + peer + (reason.empty() ? "" : ": " + reason);
  const std::string address = text_of(reply, "address");
  const std::string method = text_of(reply, "method");
  std::string text = fmt::format("{} from {}, {}", rtt_text(*rtt), peer, text_of(reply, "path"));
  if (!address.empty()) text += " " + address;  // Not over a relay.
  if (!address.empty() && !method.empty()) text += ", by " + method;
  return reason.empty() ? text : text + " (" + reason + ")";
}

/// Under the table, since reasons are sentences.
std::string forward_notes(const json::object& forward) {
  const std::string reason = text_of(forward, "reason");
  const std::string hint = text_of(forward, "hint");
  const std::string relay = text_of(forward, "relay");
  std::string text;
  if (!relay.empty())
    text += printable(text_of(forward, "name") + ": relayed by " + relay + " or not at all", 500) +
            "\n";
  if (flag_of(forward, "no_relay"))
    text += printable(text_of(forward, "name") + ": never relayed", 500) + "\n";
  const std::uint64_t dropped = number_of(forward, "datagrams_dropped");
  if (dropped > 0) {
    text += printable(fmt::format("{}: {} datagrams were dropped here", text_of(forward, "name"),
                                  dropped),
                      500) +
            "\n";
  }
  if (!reason.empty()) text += printable(text_of(forward, "name") + ": " + reason, 500) + "\n";
  if (!hint.empty()) text += "  try: " + printable(hint, 500) + "\n";
  return text;
}

/// "5000" or "5000-5010".
std::string ports_from(const json::object& forward, std::uint64_t first) {
  const std::uint64_t ports = std::max<std::uint64_t>(number_of(forward, "ports"), 1);
  return ports == 1 ? std::to_string(first) : fmt::format("{}-{}", first, first + ports - 1);
}

std::string destination_of(const json::object& forward) {
  const std::string host = text_of(forward, "host");
  const std::string port = ports_from(forward, number_of(forward, "port"));
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

/// Where programs connect to: differs from what was asked for where the system chose the port.
std::string listen_of(const json::object& forward) {
  const std::string bound = text_of(forward, "bound");
  std::string first = bound.empty() ? text_of(forward, "listen") : bound;
  const auto address = Address::parse(first);
  if (!address) return first;
  const std::string port = std::to_string(address->port);
  return first.substr(0, first.size() - port.size()) + ports_from(forward, address->port);
}

/// "tcp", "udp", "tcp+udp"; an agent of an older version says nothing.
std::string protocols_of(const json::object& forward) {
  const auto protocols = texts_of(forward, "protocols");
  return protocols.empty() ? "tcp" : fmt::format("{}", fmt::join(protocols, "+"));
}

void print_forwards(const json::object& answer) {
  const auto forwards = objects_of(answer, "forwards");
  if (forwards.empty()) {
    print("no forwards yet; see: openp2p forward add --help\n");
    return;
  }
  Table table({"NAME", "LISTEN", "CARRIES", "PEER", "TO", "STATE", "NOW", "TOTAL", "FAILED", "SENT",
               "RECEIVED"});
  std::string notes;
  for (const json::object& forward : forwards) {
    const auto count = [&](std::string_view name) { return number_of(forward, name); };
    const auto both = [&](const std::string& which) {  // Connections of TCP, flows of UDP.
      return std::to_string(count("connections_" + which) + count("flows_" + which));
    };
    table.add({text_of(forward, "name"), listen_of(forward), protocols_of(forward),
               text_of(forward, "peer"), destination_of(forward), text_of(forward, "state"),
               both("now"), both("total"), both("failed"), bytes_text(count("bytes_sent")),
               bytes_text(count("bytes_received"))});
    notes += forward_notes(forward);
  }
  print(table.text() + (notes.empty() ? "" : "\n" + notes));
}

std::string rate_text(std::uint64_t bits_per_second) {
  return fmt::format("{:.1f} Mbit/s", static_cast<double>(bits_per_second) / 1e6);
}

void print_credit(const json::object& share, Table& table) {
  const json::value* credit = share.if_contains("credit");
  if (credit == nullptr || !credit->is_object()) return;
  const json::object& from = credit->get_object();
  const auto bytes = [&](std::string_view name) { return bytes_text(number_of(from, name)); };
  table.add({"lent",
             bytes("lent_bytes") + " by all nodes, " + bytes("lent_here_bytes") + " by this one"});
  table.add({"borrowed", bytes("borrowed_bytes")});
  table.add(
      {"may borrow", flag_of(from, "may_borrow") ? bytes("allowance_bytes") + " more" : "no"});
}

std::string lent_text(const json::object& share) {
  const auto pairs = objects_of(share, "lent");
  if (pairs.empty()) return "";
  Table table({"CARRIED FOR", "AND", "WHOSE", "BYTES", "NOW"});
  for (const json::object& pair : pairs) {
    table.add({text_of(pair, "one").substr(0, 10), text_of(pair, "other").substr(0, 10),
               flag_of(pair, "strangers") ? "others" : "own", bytes_text(number_of(pair, "bytes")),
               rate_text(number_of(pair, "bits_per_second"))});
  }
  return "\n" + table.text();
}

std::string borrowed_text(const json::object& share) {
  const auto relays = objects_of(share, "borrowed");
  if (relays.empty()) return "";
  Table table({"PEER", "RELAY", "KIND", "STATE", "SENT", "RECEIVED"});
  for (const json::object& relay : relays) {
    std::string state = flag_of(relay, "joined") ? "ready" : "connecting";
    if (flag_of(relay, "in_use")) state = "in use";
    table.add({text_of(relay, "peer").substr(0, 10), text_of(relay, "relay").substr(0, 10),
               text_of(relay, "kind"), state, bytes_text(number_of(relay, "bytes_sent")),
               bytes_text(number_of(relay, "bytes_received"))});
  }
  return "\n" + table.text();
}

/// What somebody tried who should not have; "": nobody did.
std::string refused_text(const json::object& share) {
  const json::value* refusals = share.if_contains("refusals");
  if (refusals == nullptr || !refusals->is_object()) return "";
  std::string text;
  const auto put = [&](std::string_view name, std::string_view words) {
    const std::uint64_t count = number_of(refusals->get_object(), name);
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, words);
  };
  put("tickets_forged", "forged tickets");
  put("tickets_spent", "used tickets");
  put("streams_reset", "streams that were not for relaying");
  put("receipts", "false receipts");
  put("cut_unreceipted", "pairs without receipts");
  put("datagrams_astray", "datagrams to nobody");
  return text;
}

void print_share(const json::object& share) {
  const bool lends = flag_of(share, "lends");
  Table table({"shares", lends ? fmt::format("{} Mbit/s, {} in use", number_of(share, "share_mbit"),
                                             rate_text(number_of(share, "lent_bits_per_second")))
                               : "nothing"});
  table.add({"since start", bytes_text(number_of(share, "lent_bytes_now")) + " lent, " +
                                bytes_text(number_of(share, "borrowed_bytes_now")) + " borrowed"});
  print_credit(share, table);
  const std::string reason = text_of(share, "reason");
  if (!reason.empty()) table.add({"note", reason});
  const std::string refused = refused_text(share);
  if (!refused.empty()) table.add({"refused", refused});
  print(table.text() + lent_text(share) + borrowed_text(share));
}

void say(const std::string& text) { print(printable(text, 500) + "\n"); }

/// Nothing came back, or only over a relay: what was tried, and when it is tried again.
void explain(const json::object& peer) {
  const bool is_relayed = !text_of(peer, "relay").empty();
  if (!text_of(peer, "path").empty() && !is_relayed) return;
  const std::string timeline = timeline_text(peer);
  if (!timeline.empty()) print("what was tried:\n" + timeline);
  const auto retry = duration_of(peer, "retry_in_us");
  if (!retry) return;
  say((is_relayed ? "a direct path is looked for again in " : "tried again in ") +
      duration_text(*retry));
}

}  // namespace

int show_status(const QueryOptions& options) {
  return AgentClient(options).ask("GET", "/v1/status", "", kPatience, print_status);
}

int show_peers(const QueryOptions& options) {
  return AgentClient(options).ask("GET", "/v1/peers", "", kPatience, print_peers);
}

int show_peer(const QueryOptions& options, const std::string& peer) {
  return AgentClient(options).ask(
      "GET", "/v1/peers/" + percent_encoded(peer), "", kPatience,
      [](const json::object& answer) { print(peer_text(object_of(answer, "peer"))); });
}

int show_netcheck(const QueryOptions& options, bool measures_lifetime) {
  const auto judge = [](const json::object& report) {
    const std::string error = text_of(report, "error");
    if (!error.empty()) print_error(error);
    return error.empty() ? kExitDone : kExitFailed;
  };
  const auto show = [](const json::object& report) { print(netcheck_text(report)); };
  const AgentClient client(options);
  if (!measures_lifetime) {
    return client.ask("GET", "/v1/netcheck", "", kPatienceNetcheck, show, judge);
  }
  return client.ask("GET", "/v1/netcheck?lifetime=1", "", kPatienceLifetime, show, judge);
}

int ping(const QueryOptions& options, const std::string& peer, unsigned count) {
  const std::string body = json::serialize(json::object{{"peer", peer}, {"count", count}});
  const auto show = [&](const json::object& line) {
    const bool is_summary = line.contains("summary");
    say(is_summary ? summary_text(object_of(line, "summary")) : reply_text(peer, line));
    if (is_summary) explain(object_of(line, "peer"));
  };
  // Without a summary at the end, the agent has gone in the middle: failed, too.
  const auto judge = [](const json::object& line) {
    return number_of(object_of(line, "summary"), "received") > 0 ? kExitDone : kExitFailed;
  };
  return AgentClient(options).stream("POST", "/v1/ping", body, kPatiencePing, show, judge);
}

int print_names(const QueryOptions& options, const std::string& kind) {
  const bool is_known = kind == "peers" || kind == "forwards";
  if (!is_known) return kExitUsage;
  return AgentClient(options).ask("GET", "/v1/" + kind, "", kPatience,
                                  [&](const json::object& answer) {
                                    for (const json::object& each : objects_of(answer, kind)) {
                                      print(printable(text_of(each, "name")) + "\n");
                                    }
                                  });
}

int show_share(const QueryOptions& options) {
  return AgentClient(options).ask("GET", "/v1/share", "", kPatience, print_share);
}

int set_share(const QueryOptions& options, unsigned mbit) {
  const json::object body{{"share_mbit", mbit}};
  return AgentClient(options).ask(
      "POST", "/v1/share", json::serialize(body), kPatience, [&](const json::object&) {
        say(mbit == 0 ? "this node neither lends nor borrows bandwidth"
                      : fmt::format("this node lends up to {} Mbit/s, and may borrow", mbit));
      });
}

int list_forwards(const QueryOptions& options) {
  return AgentClient(options).ask("GET", "/v1/forwards", "", kPatience, print_forwards);
}

int add_forward(const QueryOptions& options, const agent::ForwardSpec& spec) {
  json::array protocols;
  for (const std::string& protocol : agent::protocol_texts(spec)) protocols.emplace_back(protocol);
  const json::object body{{"name", spec.name},
                          {"peer", spec.peer},
                          {"host", spec.host},
                          {"port", spec.port},
                          {"listen", spec.listen.text()},
                          {"enabled", spec.is_enabled},
                          {"relay", spec.relay},
                          {"no_relay", !spec.allows_relay},
                          {"ports", spec.ports},
                          {"protocols", std::move(protocols)}};
  if (!spec.listen.ip.is_loopback()) {
    print_error("note: " + spec.listen.text() + " can be used by other machines than this one");
  }
  return AgentClient(options).ask(
      "POST", "/v1/forwards", json::serialize(body), kPatience, [&](const json::object& answer) {
        const json::object forward = object_of(answer, "forward");
        say("forward " + text_of(forward, "name") + ": " + listen_of(forward) + " leads to " +
            destination_of(forward) + " at " + text_of(forward, "peer") +
            (spec.has_udp ? ", by " + protocols_of(forward) : ""));
      });
}

int remove_forward(const QueryOptions& options, const std::string& name) {
  return AgentClient(options).ask(
      "DELETE", "/v1/forwards/" + percent_encoded(name), "", kPatience,
      [&](const json::object&) { say("forward " + name + " is removed"); });
}

int enable_forward(const QueryOptions& options, const std::string& name, bool enable) {
  const std::string target =
      "/v1/forwards/" + percent_encoded(name) + (enable ? "/enable" : "/disable");
  return AgentClient(options).ask("POST", target, "", kPatience, [&](const json::object&) {
    say("forward " + name + (enable ? " is enabled" : " is disabled"));
  });
}

}  // namespace openp2p::cli
