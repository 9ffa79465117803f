#include "cli/netcheck_text.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <vector>

#include "base/ids.h"
#include "cli/field.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace json = boost::json;
namespace {

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string yes_no(const json::object& report, std::string_view name) {
  const auto flag = agent::json_bool(report, name);
  if (!flag) return "unknown";
  return *flag ? "yes" : "no";
}

std::string name_of(const json::object& finding) {
  const std::string transport = text_of(finding, "transport") == "tcp" ? "TCP" : "UDP";
  return transport + " over " + (text_of(finding, "family") == "ipv6" ? "IPv6" : "IPv4");
}

std::string answer_text(const json::object& finding) {
  if (flag_of(finding, "works")) return "works, seen as " + or_dash(text_of(finding, "reflexive"));
  return flag_of(finding, "blocked") ? "blocked" : "no answer";
}

std::string sample_text(const json::object& finding) {
  std::string text;
  const json::value* const ports = finding.if_contains("sample_ports");
  if (ports == nullptr || !ports->is_array()) return text;
  for (const json::value& port : ports->get_array()) {
    if (!port.is_number()) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(port.to_number<int>());
  }
  return text;
}

/// "in sequence, +1 each, 2003 was the last (2000, 2001, 2002, 2003)"
std::string ports_text(const json::object& finding) {
  const std::string pattern = text_of(finding, "ports");
  const std::string samples = sample_text(finding);
  return pattern.empty() || samples.empty() ? pattern : pattern + " (" + samples + ")";
}

/// The rows of one transport and family that the first rows do not hold.
void add_finding(const json::object& finding, Table& table) {
  table.add({name_of(finding), answer_text(finding)});
  const auto add = [&](const char* what, const std::string& text) {
    if (!text.empty()) table.add({std::string("  ") + what, text});
  };
  add("NAT", text_of(finding, "nat"));
  add("mapping", text_of(finding, "mapping"));
  add("filtering", text_of(finding, "filtering"));
  add("ports", ports_text(finding));
  const auto addresses = texts_of(finding, "addresses");
  if (addresses.size() > 1) add("addresses", fmt::format("{}", fmt::join(addresses, ", ")));
  if (flag_of(finding, "spoilt_by_unsolicited")) {
    add("note", "what strangers send changes later mappings towards them");
  }
}

/// Of agents that tell no findings yet.
void add_summary(const json::object& report, Table& table) {
  const auto answer = [&](std::string_view flag, std::string_view seen) {
    return flag_of(report, flag) ? "works, seen as " + or_dash(text_of(report, seen)) : "no answer";
  };
  table.add({"UDP over IPv4", answer("udp_v4", "reflexive_v4")});
  table.add({"UDP over IPv6", answer("udp_v6", "reflexive_v6")});
  table.add({"NAT", or_dash(text_of(report, "nat"))});
  table.add({"mapping", or_dash(text_of(report, "mapping"))});
  table.add({"filtering", or_dash(text_of(report, "filtering"))});
}

std::string lifetime_text(const json::object& report) {
  const auto alive = duration_of(report, "lifetime_alive_us");
  const auto dead = duration_of(report, "lifetime_dead_us");
  if (alive && dead) return duration_text(*alive) + " to " + duration_text(*dead) + " of silence";
  if (alive) return "more than " + duration_text(*alive) + " of silence";
  if (dead) return "less than " + duration_text(*dead) + " of silence";
  if (text_of(report, "nat") == "no NAT") return "";  // Nothing there forgets.
  return "not measured yet (netcheck --lifetime does, in up to five minutes)";
}

/// Nothing of what older agents do not tell, or could not measure for want of TCP or UDP.
std::string throttling_text(const std::string& name) {
  if (name == "throttled") return "held back: TCP carries more on this line";
  if (name == "none") return "not held back";
  if (name == "slow line") return "as slow as the line itself";
  return name;
}

}  // namespace

std::string netcheck_text(const json::object& report) {
  Table table({"NAT", or_dash(text_of(report, "nat"))});
  const auto findings = objects_of(report, "findings");
  for (const json::object& finding : findings) add_finding(finding, table);
  if (findings.empty()) add_summary(report, table);
  table.add({"keeps ports", yes_no(report, "preserves_port")});
  table.add({"hairpinning", yes_no(report, "hairpin")});
  const std::string throttling = throttling_text(text_of(report, "throttling"));
  if (!throttling.empty()) table.add({"UDP rate", throttling});
  const std::string lifetime = lifetime_text(report);
  if (!lifetime.empty()) table.add({"mappings live", lifetime});
  for (const std::string& line : texts_of(report, "port_mappings")) {
    table.add({"port mapping", line});
  }
  const auto rtt = duration_of(report, "server_rtt_us");
  table.add({"server", rtt ? rtt_text(*rtt) : "-"});
  std::string text = table.text();
  const auto evidence = texts_of(report, "evidence");
  if (!evidence.empty()) text += "\n";
  for (const std::string& line : evidence) text += "- " + printable(line, 500) + "\n";
  return text;
}

}  // namespace openp2p::cli
