#include "agent/original_config.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "agent/config_text.h"
#include "agent/json_text.h"
#include "base/ids.h"
#include "forward/destination.h"

namespace openp2p::agent {
namespace json = boost::json;

namespace {

constexpr std::uint64_t kPortMax = 65'535;
constexpr std::uint64_t kShareMbitMax = 1'000'000;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_in_any_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// Fields of one object; remembers those of a wrong type.
class Fields {
 public:
  explicit Fields(const json::object& from) : from_(from) {}

  const json::value* find(std::string_view name) const {
    const auto found = std::find_if(from_.begin(), from_.end(), [&](const auto& pair) {
      return equal_in_any_case(pair.key(), name);
    });
    return found == from_.end() ? nullptr : &found->value();
  }
  std::string text(std::string_view name) {
    const json::value* value = find(name);
    if (value == nullptr || value->is_null()) return "";
    if (value->is_string()) return std::string(value->get_string());
    wrong_ = name;
    return "";
  }
  std::uint64_t number(std::string_view name) { return optional_number(name).value_or(0); }
  std::optional<std::uint64_t> optional_number(std::string_view name) {
    const json::value* value = find(name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (value->is_uint64()) return value->get_uint64();
    if (value->is_int64() && value->get_int64() >= 0) {
      return static_cast<std::uint64_t>(value->get_int64());
    }
    wrong_ = name;
    return std::nullopt;
  }
  const std::string& wrong() const { return wrong_; }  ///< Empty: none so far.

 private:
  const json::object& from_;
  std::string wrong_;
};

void read_app(const json::value& value, std::size_t index, OriginalConfig& config) {
  const std::string place = "app " + std::to_string(index + 1);
  if (!value.is_object()) {
    config.problems.push_back(place + " is not an object");
    return;
  }
  Fields from(value.get_object());
  OriginalApp app;
  app.name = from.text("AppName");
  app.protocol = from.text("Protocol");
  app.whitelist = from.text("Whitelist");
  app.peer = from.text("PeerNode");
  app.host = from.text("DstHost");
  app.port = from.number("DstPort");
  app.source_port = from.number("SrcPort");
  app.is_enabled = from.number("Enabled") != 0;
  app.relay = from.text("RelayNode");
  if (from.number("ForceRelay") != 0) app.ignored.push_back("ForceRelay");
  if (from.number("PunchPriority") != 0) app.ignored.push_back("PunchPriority");
  if (from.wrong().empty()) {
    config.apps.push_back(std::move(app));
  } else {
    config.problems.push_back(place + ": \"" + from.wrong() + "\" has a wrong type");
  }
}

void read_network(const json::value& value, OriginalConfig& config) {
  if (!value.is_object()) {
    config.problems.push_back("\"network\" is not an object");
    return;
  }
  Fields from(value.get_object());
  config.node_name = from.text("Node");
  config.port = from.optional_number("PublicIPPort");
  config.share_mbit = from.optional_number("ShareBandwidth");
  config.has_account_token = from.find("Token") != nullptr;
  if (!from.wrong().empty()) config.problems.push_back("\"" + from.wrong() + "\" has a wrong type");
}

/// Turns apps into forwards, and says about each what became of it.
class Importer {
 public:
  explicit Importer(bool listens_on_all) : listens_on_all_(listens_on_all) {}

  void take(const OriginalConfig& config);
  OriginalImport result() { return std::move(import_); }

 private:
  void say(const std::string& line) { import_.report.push_back(printable(line, 500)); }
  void take_node(const OriginalConfig& config);
  void take_app(const OriginalApp& app);
  std::optional<std::string> refusal(const OriginalApp& app) const;
  std::string free_name(const OriginalApp& app) const;
  bool is_taken(std::string_view name) const;
  IpAddress listen_address(const OriginalApp& app, const std::string& name);

  bool listens_on_all_;
  OriginalImport import_;
};

void Importer::take(const OriginalConfig& config) {
  take_node(config);
  if (config.has_account_token) {
    say("not taken over: the account token and its server; a join token of your own server is "
        "needed");
  }
  for (const OriginalApp& app : config.apps) take_app(app);
  for (const std::string& problem : config.problems) say("not taken over: " + problem);
}

void Importer::take_node(const OriginalConfig& config) {
  if (is_valid_name(config.node_name)) {
    import_.node_name = config.node_name;
    say("taken over: the node's name " + config.node_name);
  } else if (!config.node_name.empty()) {
    say("not taken over: the node's name, which has characters that are not allowed here");
  }
  if (config.port && *config.port != 0 && *config.port <= kPortMax) {
    import_.port = static_cast<std::uint16_t>(*config.port);
    say("taken over: port " + std::to_string(*config.port) + ", here for UDP only");
  }
  if (config.share_mbit && *config.share_mbit <= kShareMbitMax) {
    import_.share_mbit = static_cast<unsigned>(*config.share_mbit);
    say("taken over: " + std::to_string(*config.share_mbit) + " Mbit/s to share");
  }
}

std::optional<std::string> Importer::refusal(const OriginalApp& app) const {
  const bool is_known = app.protocol.empty() || equal_in_any_case(app.protocol, "tcp") ||
                        equal_in_any_case(app.protocol, "udp");
  if (app.source_port == 0) return "it has no local port (the virtual network made it)";
  if (!is_known) return "its protocol is " + app.protocol + "; forwards carry TCP and UDP";
  if (printable(app.name, app.name.size()) != app.name) {
    return "its name has control characters, or is not UTF-8";
  }
  if (!is_valid_name(app.peer)) return "its peer's name has characters that are not allowed here";
  if (app.source_port > kPortMax || app.port > kPortMax || app.port == 0) {
    return "one of its ports is not from 1 to 65535";
  }
  if (import_.forwards.size() == kForwardsMax) return "there are too many forwards";
  return std::nullopt;
}

bool Importer::is_taken(std::string_view name) const {
  return std::any_of(import_.forwards.begin(), import_.forwards.end(),
                     [&](const ForwardSpec& spec) { return spec.name == name; });
}

/// The app's name where it can be one here; else made of peer and port. Different from all others.
std::string Importer::free_name(const OriginalApp& app) const {
  const std::string port = std::to_string(app.source_port);
  std::string name = app.name;
  if (!is_valid_name(name) || is_taken(name)) name = app.peer + "-" + port;
  if (!is_valid_name(name) || is_taken(name)) name = "forward-" + port;
  for (std::size_t number = 2; is_taken(name); ++number) {
    name = "forward-" + port + "-" + std::to_string(number);
  }
  return name;
}

IpAddress Importer::listen_address(const OriginalApp& app, const std::string& name) {
  const std::string& list = app.whitelist;
  if (list == "localhost" || list == "127.0.0.1") return IpAddress::loopback_v4();
  if (list == "::1") return *IpAddress::parse("::1");
  if (!list.empty()) {
    say(name + ": its list of allowed clients is not taken over, so it listens on 127.0.0.1 only");
    return IpAddress::loopback_v4();
  }
  if (listens_on_all_) return IpAddress::any_v4();
  say(name +
      ": it was open to other machines, and listens on 127.0.0.1 only here; --listen-all with "
      "--import keeps such forwards open");
  return IpAddress::loopback_v4();
}

void Importer::take_app(const OriginalApp& app) {
  if (const auto why = refusal(app)) return say("not taken over: app " + app.name + ": " + *why);
  ForwardSpec spec;
  spec.name = free_name(app);
  spec.peer = app.peer;
  spec.host = app.host.empty() ? "127.0.0.1" : app.host;
  if (spec.host.starts_with('[') && spec.host.ends_with(']')) {
    spec.host = spec.host.substr(1, spec.host.size() - 2);
  }
  spec.port = static_cast<std::uint16_t>(app.port);
  spec.has_udp = equal_in_any_case(app.protocol, "udp");
  spec.has_tcp = !spec.has_udp;
  spec.is_enabled = app.is_enabled;
  spec.relay = app.relay;
  spec.listen = {IpAddress::loopback_v4(), static_cast<std::uint16_t>(app.source_port)};
  if (const auto problem = problem_of(spec)) {
    return say("not taken over: app " + app.name + ": " + *problem);
  }
  spec.listen.ip = listen_address(app, spec.name);
  say("taken over: forward " + spec.name + " from " + spec.listen.text() + " to " +
      forward::destination_text({spec.host, spec.port}) + " at " + spec.peer +
      (spec.has_udp ? ", by UDP" : ""));
  if (!spec.relay.empty()) say(spec.name + ": relayed by " + spec.relay + " where it has to be");
  if (spec.name != app.name && !app.name.empty()) say(spec.name + ": was named " + app.name);
  if (!spec.is_enabled) {
    say(spec.name +
        ": is off, as \"Enabled\" was 0 or absent; switch it on with: openp2p forward "
        "enable '" +
        spec.name + "'");
  }
  for (const std::string& setting : app.ignored)
    say(spec.name + ": " + setting + " is not taken over");
  import_.forwards.push_back(std::move(spec));
}

}  // namespace

StateResult<OriginalConfig> decode_original_config(std::string_view text, std::string_view file) {
  const auto refuse = [file](const std::string& why) {
    return StateFailure{StateFailure::Kind::kCorrupt, std::string(file) + why};
  };
  if (text.size() > kOriginalBytesMax) return refuse(": larger than 1 MiB");
  const JsonParsed parsed = parse_json(text);
  if (!parsed.value) {
    const JsonFailure& at = parsed.failure;
    return refuse(":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " + at.text);
  }
  if (!parsed.value->is_object()) return refuse(":1:1: not a JSON object");
  const Fields root(parsed.value->get_object());
  const json::value* network = root.find("network");
  const json::value* apps = root.find("apps");
  if (network == nullptr && apps == nullptr) {
    return refuse(": has neither \"network\" nor \"apps\": not a configuration of OpenP2P");
  }
  OriginalConfig config;
  if (network != nullptr) read_network(*network, config);
  if (apps == nullptr || apps->is_null()) return config;  // Go writes an empty list as null.
  if (!apps->is_array()) return refuse(": \"apps\" is not a list");
  if (apps->get_array().size() > kForwardsMax) {
    return refuse(": more than " + std::to_string(kForwardsMax) + " apps");
  }
  for (std::size_t i = 0; i < apps->get_array().size(); ++i) {
    read_app(apps->get_array()[i], i, config);
  }
  return config;
}

OriginalImport import_original_config(const OriginalConfig& config, bool listens_on_all) {
  Importer importer(listens_on_all);
  importer.take(config);
  return importer.result();
}

}  // namespace openp2p::agent
