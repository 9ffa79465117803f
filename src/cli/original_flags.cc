#include "cli/original_flags.h"

#include <array>
#include <charconv>
#include <map>
#include <optional>

#include "agent/original_config.h"
#include "agent/state_folder.h"
#include "cli/exit_code.h"
#include "cli/import.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace {

enum class Use { kTaken, kIgnored };

struct Flag {
  std::string_view name;
  bool has_value;
  Use use;
  std::string_view why;  ///< What a person is told where it is not taken.
};

constexpr std::array<Flag, 23> kFlags = {{
    {"node", true, Use::kTaken, ""},
    {"token", true, Use::kTaken, ""},
    {"appname", true, Use::kTaken, ""},
    {"peernode", true, Use::kTaken, ""},
    {"dstip", true, Use::kTaken, ""},
    {"dstport", true, Use::kTaken, ""},
    {"srcport", true, Use::kTaken, ""},
    {"protocol", true, Use::kTaken, ""},
    {"whitelist", true, Use::kTaken, ""},
    {"sharebandwidth", true, Use::kTaken, ""},
    {"publicipport", true, Use::kTaken, ""},
    {"loglevel", true, Use::kTaken, ""},
    {"d", false, Use::kIgnored,
     "the agent runs in the foreground; a service manager such as systemd keeps it running"},
    {"nv", false, Use::kIgnored, "logs go to stderr"},
    {"serverhost", true, Use::kIgnored, "the join token names the server"},
    {"serverport", true, Use::kIgnored, "the join token names the server"},
    {"insecure", false, Use::kIgnored,
     "the server is always verified, by the key in the join token"},
    {"relaynode", true, Use::kTaken, ""},
    {"underlay_protocol", true, Use::kIgnored, "sessions are QUIC"},
    {"punch_priority", true, Use::kIgnored, "all ways are tried at once"},
    {"installpath", true, Use::kIgnored, "the program runs from where it is"},
    {"newconfig", false, Use::kIgnored, "config.json is read at the first start only"},
    {"maxlogsize", true, Use::kIgnored, "logs go to stderr"},
}};

const Flag* find_flag(std::string_view name) {
  for (const Flag& flag : kFlags) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

/// "-name", "--name", "-name=value": as Go's flag package reads them.
struct Given {
  std::string_view name;
  std::optional<std::string_view> value;
};

std::optional<Given> split(std::string_view argument) {
  if (!argument.starts_with('-')) return std::nullopt;
  argument.remove_prefix(argument.starts_with("--") ? 2 : 1);
  const auto equals = argument.find('=');
  if (equals == std::string_view::npos) return Given{argument, std::nullopt};
  return Given{argument.substr(0, equals), argument.substr(equals + 1)};
}

using Values = std::map<std::string_view, std::string>;

/// False: said what is wrong.
bool read_flags(const std::vector<std::string>& arguments, Values& values) {
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const auto given = split(arguments[i]);
    const Flag* flag = given ? find_flag(given->name) : nullptr;
    if (flag == nullptr) {
      print_error("unknown argument " + arguments[i] + "; see: openp2p --help");
      return false;
    }
    std::string value(given->value.value_or(""));
    if (flag->has_value && !given->value) {
      if (++i == arguments.size()) {
        print_error("-" + std::string(flag->name) + " needs a value");
        return false;
      }
      value = arguments[i];
    }
    if (flag->use == Use::kTaken) values[flag->name] = value;
    if (flag->use == Use::kIgnored) {
      print_error("-" + std::string(flag->name) + " has no effect: " + std::string(flag->why));
    }
  }
  return true;
}

std::string text(const Values& values, std::string_view name, std::string_view absent = "") {
  const auto found = values.find(name);
  return found == values.end() ? std::string(absent) : found->second;
}

/// False: said that it is no number. Absent: `out` stays.
bool put_number(const Values& values, std::string_view name, std::optional<std::uint64_t>& out) {
  const auto found = values.find(name);
  if (found == values.end()) return true;
  const std::string& from = found->second;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), number);
  const bool is_number = error == std::errc() && end == from.data() + from.size() && !from.empty();
  if (is_number) out = number;
  if (!is_number) print_error("-" + std::string(name) + " " + from + " is not a number");
  return is_number;
}

/// The original: -1 developer, 0 debug, 1 info, 2 warning, 3 error.
std::string log_level(const std::string& number) {
  if (number == "-1" || number == "0") return "debug";
  if (number == "2") return "warning";
  return number == "3" ? "error" : "info";
}

/// False: said what is wrong.
bool read_config(const Values& values, agent::OriginalConfig& config) {
  std::optional<std::uint64_t> port, source_port;
  if (!put_number(values, "dstport", port) || !put_number(values, "srcport", source_port) ||
      !put_number(values, "sharebandwidth", config.share_mbit) ||
      !put_number(values, "publicipport", config.port)) {
    return false;
  }
  if (source_port.value_or(0) == 0)
    return true;  // The original kept an app only with a local port.
  agent::OriginalApp app;
  app.name = text(values, "appname");
  app.protocol = text(values, "protocol", "tcp");
  app.whitelist = text(values, "whitelist");
  app.peer = text(values, "peernode");
  app.host = text(values, "dstip", "127.0.0.1");
  app.relay = text(values, "relaynode");
  app.port = port.value_or(0);
  app.source_port = *source_port;
  app.is_enabled = true;
  config.apps.push_back(std::move(app));
  return true;
}

}  // namespace

bool is_original_flag(std::string_view argument) {
  const auto given = split(argument);
  return given && find_flag(given->name) != nullptr;
}

int run_original(const std::vector<std::string>& arguments, RunAgent run_agent) {
  Values values;
  agent::OriginalConfig config;
  if (!read_flags(arguments, values) || !read_config(values, config)) return kExitUsage;
  const agent::OriginalImport import =
      agent::import_original_config(config, /*listens_on_all=*/false);
  if (import.forwards.size() != config.apps.size()) {
    for (const std::string& line : import.report) print_error(line);
    return kExitUsage;  // Who asks for a forward and cannot have it should not find an agent
                        // without.
  }
  for (const std::string& line : import.report) print_error(line);
  UpOptions options;
  options.state_path = agent::default_state_path();
  options.token = text(values, "token");
  options.name = text(values, "node");
  options.log_level = log_level(text(values, "loglevel"));
  options.forwards = import.forwards;
  if (import.port) options.port = *import.port;
  options.share_mbit = import.share_mbit;
  return up(options, run_agent);
}

}  // namespace openp2p::cli
