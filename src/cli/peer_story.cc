#include "cli/peer_story.h"

#include <fmt/format.h>

#include "base/ids.h"
#include "cli/field.h"
#include "cli/table.h"
#include "path/method.h"
#include "path/reason_code.h"

namespace openp2p::cli {
namespace json = boost::json;

namespace {

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

/// The sentence for a reason's name; the name itself where a newer agent knows more.
std::string reason_sentence(const std::string& name) {
  for (int i = 0; i < path::kReasonCodes; ++i) {
    const auto code = static_cast<path::ReasonCode>(i);
    if (path::reason_name(code) == name) return std::string(path::reason_text(code));
  }
  return name;
}

/// A NAT, whose address is known and no port of it: "198.51.100.2" instead of "198.51.100.2:0".
std::string place_text(const std::string& address) {
  const bool is_nat = address.ends_with(":0");
  return is_nat ? address.substr(0, address.size() - 2) : address;
}

/// What `count` means differs from event to event (path::TimelineEvent).
std::string count_text(const std::string& name, std::uint64_t count) {
  if (name == "planned") return fmt::format("round {}", count + 1);
  if (count == 0) return "";
  if (name == "candidate") return fmt::format("and {} more", count);
  if (name == "black-hole") return fmt::format("above {} bytes", count);
  if (name == "method-begun") return fmt::format("up to {} probes", count);
  if (name == "method-ended") return fmt::format("after {} probes", count);
  return fmt::format("({})", count);
}

/// "planned       round 2, 198.51.100.2: both NATs choose ports .."
std::string event_text(const json::object& event) {
  const std::string name = text_of(event, "event");
  const std::string reason = text_of(event, "reason");
  std::string words;
  for (const std::string& word : {text_of(event, "method"), place_text(text_of(event, "address")),
                                  count_text(name, number_of(event, "count"))}) {
    if (!word.empty()) words += (words.empty() ? "" : ", ") + word;
  }
  if (!reason.empty() && reason != "none") {
    words += (words.empty() ? "" : ": ") + reason_sentence(reason);
  }
  return fmt::format("{:<13} {}", name, words);
}

std::string path_text(const json::object& peer) {
  const std::string path = text_of(peer, "path");
  if (path.empty()) return "-";
  const std::string method = text_of(peer, "method");
  std::string text = path + " " + text_of(peer, "address");
  if (!method.empty()) text += ", by " + method;
  if (const auto rtt = duration_of(peer, "rtt_us")) text += ", " + rtt_text(*rtt);
  return text;
}

}  // namespace

std::string timeline_text(const json::object& peer) {
  std::string text;
  for (const json::object& event : objects_of(peer, "timeline")) {
    const Duration ago = duration_of(event, "ago_us").value_or(Duration());
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(ago).count();
    text += fmt::format("  {:>10} ago  {}\n",
                        fmt::format("{}.{:03} s", milliseconds / 1000, milliseconds % 1000),
                        printable(event_text(event), 500));
  }
  return text;
}

std::string peer_text(const json::object& peer) {
  Table table({"name", text_of(peer, "name")});
  table.add({"id", text_of(peer, "id")});
  table.add({"online", flag_of(peer, "online") ? "yes" : "no"});
  table.add({"session", or_dash(text_of(peer, "session"))});
  table.add({"path", path_text(peer)});
  table.add({text_of(peer, "relay").empty() ? "reason" : "not direct, as",
             or_dash(text_of(peer, "reason"))});
  const std::string relay_reason = text_of(peer, "relay_reason");
  // Who has a direct path needs none.
  if (!relay_reason.empty() && text_of(peer, "path").empty()) {
    table.add({"no relay, as", relay_reason});
  }
  if (const auto retry = duration_of(peer, "retry_in_us")) {
    table.add({"next try", "in " + duration_text(*retry)});
  }
  table.add({"version", fmt::format("{}, {}", or_dash(text_of(peer, "version")),
                                    or_dash(text_of(peer, "platform")))});
  std::string text = table.text();
  const auto candidates = objects_of(peer, "candidates");
  if (!candidates.empty()) {
    Table pairs({"LOCAL", "REMOTE", "STATE", "CHECKS", "RTT"});
    for (const json::object& pair : candidates) {
      const auto rtt = duration_of(pair, "rtt_us");
      pairs.add({text_of(pair, "local"), text_of(pair, "remote"), text_of(pair, "state"),
                 std::to_string(number_of(pair, "checks_sent")), rtt ? rtt_text(*rtt) : "-"});
    }
    text += "\n" + pairs.text();
  }
  const std::string timeline = timeline_text(peer);
  return timeline.empty() ? text : text + "\n" + timeline;
}

}  // namespace openp2p::cli
