#include "agent/state.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "agent/config_text.h"
#include "agent/json_text.h"
#include "forward/destination.h"
#include "wire/join_token.h"

namespace openp2p::agent {
namespace json = boost::json;

namespace {

constexpr std::uint64_t kSchema = 1;
constexpr std::size_t kSecretBytesMax = 64;  // Join tokens carry 16; room for a longer kind.

/// Reads one document; remembers the first thing that is wrong, so that callers stay linear.
class StateReader {
 public:
  explicit StateReader(const json::object& root) : root_(root) {}

  AgentState read();
  const std::string& problem() const { return problem_; }

 private:
  void wrong(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }
  std::string text(const json::object& from, std::string_view name, bool required);
  bool flag(const json::object& from, std::string_view name, bool absent);
  std::uint64_t number(const json::object& from, std::string_view name, std::uint64_t max);
  std::vector<std::string> texts(const json::object& from, std::string_view name, std::size_t max);
  path::MethodSet methods(const json::object& from, std::string_view name);
  void read_server(AgentState& state);
  void read_forwards(AgentState& state);
  ForwardSpec read_forward(const json::value& value);
  void read_protocols(const json::object& from, ForwardSpec& spec);

  const json::object& root_;
  std::string problem_;
};

std::string StateReader::text(const json::object& from, std::string_view name, bool required) {
  if (!from.contains(name)) {
    if (required) wrong("\"" + std::string(name) + "\" is missing");
    return {};
  }
  const auto value = json_text(from, name);
  if (!value) wrong("\"" + std::string(name) + "\" is not a text");
  return value.value_or("");
}

bool StateReader::flag(const json::object& from, std::string_view name, bool absent) {
  if (!from.contains(name)) return absent;
  const auto value = json_bool(from, name);
  if (!value) wrong("\"" + std::string(name) + "\" is neither true nor false");
  return value.value_or(absent);
}

std::uint64_t StateReader::number(const json::object& from, std::string_view name,
                                  std::uint64_t max) {
  if (!from.contains(name)) return 0;
  const auto value = json_number(from, name, max);
  if (!value) {
    wrong("\"" + std::string(name) + "\" is not a number from 0 to " + std::to_string(max));
  }
  return value.value_or(0);
}

std::vector<std::string> StateReader::texts(const json::object& from, std::string_view name,
                                            std::size_t max) {
  std::vector<std::string> found;
  const json::value* value = from.if_contains(name);
  if (value == nullptr) return found;
  if (!value->is_array() || value->get_array().size() > max) {
    wrong("\"" + std::string(name) + "\" is not a list of at most " + std::to_string(max));
    return found;
  }
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) {
      wrong("\"" + std::string(name) + "\" has an entry that is not a text");
      break;
    }
    found.emplace_back(item.get_string());
  }
  return found;
}

path::MethodSet StateReader::methods(const json::object& from, std::string_view name) {
  if (!from.contains(name)) return path::MethodSet::all();
  path::MethodSet methods = path::MethodSet::none();
  for (const std::string& text : texts(from, name, path::kMethods)) {
    const auto method = path::parse_method(text);
    if (!method) wrong("\"" + std::string(name) + "\" names no method: " + text);
    if (method) methods = methods.with(*method);
  }
  return methods;
}

void StateReader::read_server(AgentState& state) {
  const json::value* value = root_.if_contains("server");
  if (value == nullptr) return;
  if (!value->is_object()) return wrong("\"server\" is not an object");
  const json::object& from = value->get_object();
  ServerIdentity server;
  server.addresses = texts(from, "addresses", JoinToken::kAddressesMax);
  server.told = texts(from, "told", JoinToken::kAddressesMax);
  for (const auto* addresses : {&server.addresses, &server.told}) {
    for (const std::string& address : *addresses) {
      if (!forward::parse_destination(address)) wrong("\"" + address + "\" is not HOST:PORT");
    }
  }
  if (server.addresses.empty()) wrong("\"server\" has no address");
  const auto key = NodeId::parse(text(from, "key", /*required=*/true));
  if (!key) return wrong("\"key\" of \"server\" is not 64 hex digits");
  server.key = *key;
  state.server = std::move(server);
  if (!from.contains("join_secret")) return;
  Bytes secret;
  const std::string encoded = text(from, "join_secret", /*required=*/true);
  if (!from_base64url(encoded, secret) || secret.empty() || secret.size() > kSecretBytesMax) {
    return wrong("\"join_secret\" is garbled");
  }
  state.join_secret = std::move(secret);
}

ForwardSpec StateReader::read_forward(const json::value& value) {
  ForwardSpec spec;
  if (!value.is_object()) {
    wrong("an entry of \"forwards\" is not an object");
    return spec;
  }
  const json::object& from = value.get_object();
  spec.name = text(from, "name", /*required=*/true);
  spec.peer = text(from, "peer", /*required=*/true);
  spec.host = text(from, "host", /*required=*/true);
  spec.port = static_cast<std::uint16_t>(number(from, "port", 65'535));
  spec.is_enabled = flag(from, "enabled", /*absent=*/true);
  spec.relay = text(from, "relay", /*required=*/false);
  spec.allows_relay = !flag(from, "no_relay", /*absent=*/false);
  if (from.contains("ports"))
    spec.ports = static_cast<std::uint16_t>(number(from, "ports", kForwardPortsMax));
  read_protocols(from, spec);
  const auto listen = parse_listen(text(from, "listen", /*required=*/true));
  if (listen) {
    spec.listen = *listen;
  } else {
    wrong("\"listen\" of forward \"" + spec.name + "\" is not ADDRESS:PORT");
  }
  if (const auto problem = problem_of(spec)) wrong("forward \"" + spec.name + "\": " + *problem);
  return spec;
}

/// Absent: TCP, which is all that older versions had.
void StateReader::read_protocols(const json::object& from, ForwardSpec& spec) {
  if (!from.contains("protocols")) return;
  spec.has_tcp = spec.has_udp = false;
  for (const std::string& protocol : texts(from, "protocols", /*max=*/2)) {
    if (protocol != "tcp" && protocol != "udp") wrong("\"protocols\" names " + protocol);
    (protocol == "udp" ? spec.has_udp : spec.has_tcp) = true;
  }
}

void StateReader::read_forwards(AgentState& state) {
  const json::value* value = root_.if_contains("forwards");
  if (value == nullptr) return;
  if (!value->is_array()) return wrong("\"forwards\" is not a list");
  if (value->get_array().size() > kForwardsMax) {
    return wrong("more than " + std::to_string(kForwardsMax) + " forwards");
  }
  std::size_t sockets = 0;
  for (const json::value& item : value->get_array()) {
    ForwardSpec spec = read_forward(item);
    for (const ForwardSpec& other : state.forwards) {
      if (other.name == spec.name) wrong("two forwards are named \"" + spec.name + "\"");
    }
    sockets += spec.listening_sockets();
    state.forwards.push_back(std::move(spec));
  }
  if (sockets > kForwardSocketsMax) {
    wrong("the forwards have more than " + std::to_string(kForwardSocketsMax) + " ports");
  }
}

AgentState StateReader::read() {
  AgentState state;
  read_server(state);
  state.node_name = text(root_, "node_name", /*required=*/false);
  if (!state.node_name.empty() && !is_valid_name(state.node_name)) {
    wrong("\"node_name\" is not a node's name");
  }
  state.accepts_lan = flag(root_, "accept_lan", /*absent=*/false);
  state.accepts = texts(root_, "accept", kAcceptsMax);
  for (const std::string& accept : state.accepts) {
    if (!forward::parse_destination(accept))
      wrong("\"accept\": \"" + accept + "\" is not HOST:PORT");
  }
  state.port = static_cast<std::uint16_t>(number(root_, "port", 65'535));
  if (root_.contains("share_mbit")) {
    state.share_mbit = static_cast<unsigned>(number(root_, "share_mbit", kShareMbitMax));
  }
  state.discovers_lan = flag(root_, "lan_discovery", /*absent=*/false);
  state.avoids_strangers = flag(root_, "never_relay_through_strangers", /*absent=*/false);
  state.relays_own_nodes = flag(root_, "relay_own_nodes", /*absent=*/true);
  state.methods = methods(root_, "methods");
  read_forwards(state);
  return state;
}

/// The object at `name`, emptied of nothing: what is in it already stays unless overwritten.
json::object& object_at(json::object& root, std::string_view name) {
  json::value& value = root[name];
  return value.is_object() ? value.get_object() : value.emplace_object();
}

json::array as_array(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

void put_server(json::object& root, const AgentState& state) {
  if (!state.server) {
    root.erase("server");
    return;
  }
  json::object& server = object_at(root, "server");
  server["addresses"] = as_array(state.server->addresses);
  if (state.server->told.empty()) {
    server.erase("told");
  } else {
    server["told"] = as_array(state.server->told);
  }
  server["key"] = state.server->key.text();
  if (state.join_secret) {
    server["join_secret"] = to_base64url(*state.join_secret);
  } else {
    server.erase("join_secret");
  }
}

/// Null stands for what is absent by default.
void put_or_erase(json::object& to, std::string_view name, json::value value) {
  if (value.is_null()) {
    to.erase(name);
  } else {
    to[name] = std::move(value);
  }
}

json::object old_forward(const json::array& known, std::string_view name) {
  for (const json::value& item : known) {
    if (item.is_object() && json_text(item.get_object(), "name") == name) return item.get_object();
  }
  return {};
}

void put_forwards(json::object& root, const AgentState& state) {
  json::array before;
  if (auto* value = root.if_contains("forwards"); value != nullptr && value->is_array()) {
    before = value->get_array();
  }
  json::array forwards;
  for (const ForwardSpec& spec : state.forwards) {
    json::object forward = old_forward(before, spec.name);
    forward["name"] = spec.name;
    forward["peer"] = spec.peer;
    forward["host"] = spec.host;
    forward["port"] = spec.port;
    forward["listen"] = spec.listen.text();
    forward["enabled"] = spec.is_enabled;
    put_or_erase(forward, "relay", spec.relay.empty() ? json::value() : json::value(spec.relay));
    put_or_erase(forward, "no_relay", spec.allows_relay ? json::value() : json::value(true));
    forward["ports"] = spec.ports;
    forward["protocols"] = as_array(protocol_texts(spec));
    forwards.push_back(std::move(forward));
  }
  root["forwards"] = std::move(forwards);
}

}  // namespace

std::string encode_state(const AgentState& state) {
  json::object root;
  if (auto before = parse_json(state.document); before.value && before.value->is_object()) {
    root = before.value->get_object();
  }
  root["schema"] = kSchema;
  root["node_name"] = state.node_name;
  put_server(root, state);
  root["accept_lan"] = state.accepts_lan;
  root["accept"] = as_array(state.accepts);
  root["port"] = state.port;
  if (state.methods == path::MethodSet::all()) {
    root.erase("methods");
  } else {
    root["methods"] = as_array(path::method_texts(state.methods));
  }
  put_or_erase(root, "share_mbit",
               state.share_mbit ? json::value(*state.share_mbit) : json::value());
  put_or_erase(root, "lan_discovery", state.discovers_lan ? json::value(true) : json::value());
  put_or_erase(root, "never_relay_through_strangers",
               state.avoids_strangers ? json::value(true) : json::value());
  put_or_erase(root, "relay_own_nodes",
               state.relays_own_nodes ? json::value() : json::value(false));
  put_forwards(root, state);
  return pretty(root);
}

StateResult<AgentState> decode_state(std::string_view text, std::string_view file) {
  const auto refuse = [file](const std::string& why) {
    return StateFailure{
        StateFailure::Kind::kCorrupt,
        std::string(file) + why +
            ". Nothing was changed; correct the file, or move it away to start anew"};
  };
  if (text.size() > kStateBytesMax) return refuse(": larger than 1 MiB");
  const JsonParsed parsed = parse_json(text);
  if (!parsed.value) {
    const JsonFailure& at = parsed.failure;
    return refuse(":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " + at.text);
  }
  if (!parsed.value->is_object()) return refuse(":1:1: not a JSON object");
  const json::object& root = parsed.value->get_object();
  const auto schema = json_number(root, "schema", ~std::uint64_t{0});
  if (!schema) return refuse(": \"schema\" is missing: this is not a state file of openp2p");
  if (*schema != kSchema) {
    return refuse(": written by a newer openp2p (schema " + std::to_string(*schema) + ")");
  }
  StateReader reader(root);
  AgentState state = reader.read();
  if (!reader.problem().empty()) return refuse(": " + printable(reader.problem()));
  state.document = text;
  return state;
}

}  // namespace openp2p::agent
