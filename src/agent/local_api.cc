#include "agent/local_api.h"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <optional>
#include <string>
#include <utility>

#include "agent/config_text.h"
#include "agent/json_text.h"
#include "agent/local_api_json.h"
#include "base/bytes.h"

namespace openp2p::agent {
namespace json = boost::json;

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kNetcheck = "/v1/netcheck";
constexpr std::string_view kNetcheckLifetime = "/v1/netcheck?lifetime=1";
constexpr std::string_view kShare = "/v1/share";
constexpr std::string_view kJsonLines = "application/x-ndjson";
constexpr unsigned kPingsMax = 1'000;  // NodeControl::ping() promises no more.
constexpr unsigned kPingsDefault = 4;

/// Serialised with the version in front, so that a reader sees it first.
std::string document(json::object content) {
  json::object root{{"version", kApiVersion}};
  for (auto& field : content) root.emplace(field.key(), std::move(field.value()));
  return json::serialize(root);
}

struct Failure {
  unsigned status;
  std::string_view kind;
};

Failure failure_of(ControlError::Kind kind) {
  switch (kind) {
    case ControlError::Kind::kInvalid:
      return {400, "invalid"};
    case ControlError::Kind::kNotFound:
      return {404, "not_found"};
    case ControlError::Kind::kConflict:
      return {409, "conflict"};
    case ControlError::Kind::kUnavailable:
      return {503, "unavailable"};
  }
  return {500, "failed"};
}

/// Decodes %XX (RFC 3986 section 2.1); nullopt where garbled.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    std::array<std::byte, 1> byte{};
    if (i + 2 >= text.size() || !from_hex(text.substr(i + 1, 2), byte)) return std::nullopt;
    out += static_cast<char>(byte[0]);
    i += 2;
  }
  return out;
}

/// Both absent: one port, TCP. Gives what is wrong.
std::optional<std::string> read_ports(const json::object& from, ForwardSpec& spec) {
  if (from.contains("ports")) {
    const auto ports = json_number(from, "ports", kForwardPortsMax);
    if (!ports) return "\"ports\" is a number from 1 to " + std::to_string(kForwardPortsMax);
    spec.ports = static_cast<std::uint16_t>(*ports);
  }
  const json::value* protocols = from.if_contains("protocols");
  if (protocols == nullptr) return std::nullopt;
  const std::string wrong = "\"protocols\" is a list of \"tcp\" and \"udp\"";
  if (!protocols->is_array() || protocols->get_array().size() > 2) return wrong;
  spec.has_tcp = spec.has_udp = false;
  for (const json::value& protocol : protocols->get_array()) {
    if (protocol != "tcp" && protocol != "udp") return wrong;
    (protocol == "udp" ? spec.has_udp : spec.has_tcp) = true;
  }
  return std::nullopt;
}

template <class Item>
json::array list(const std::vector<Item>& items) {
  json::array array;
  for (const Item& item : items) array.emplace_back(to_json(item));
  return array;
}

}  // namespace

struct LocalApi::Answer {
  unsigned status = 200;
  std::string body;

  static Answer done(json::object content) { return {200, document(std::move(content))}; }
  static Answer failed(unsigned status, std::string_view kind, std::string_view text) {
    json::object error{{"kind", kind}, {"text", json_safe(text)}};
    return {status, document({{"error", std::move(error)}})};
  }
  static Answer failed(const ControlError& error) {
    const Failure failure = failure_of(error.kind);
    return failed(failure.status, failure.kind, error.text);
  }
  static Answer invalid(std::string_view text) { return failed(400, "invalid", text); }
  static Answer not_found() { return failed(404, "not_found", "there is no such resource"); }
  static Answer wrong_method() {
    return failed(405, "method", "this resource does not take that method");
  }
  static Answer of(const std::optional<ControlError>& error) {
    return error ? failed(*error) : done({});
  }
};

void LocalApi::handle(const net::HttpRequest& request,
                      const std::shared_ptr<net::HttpReply>& reply) {
  if (request.target == "/v1/ping" && request.method == "POST") return ping(request, reply);
  const bool is_netcheck = request.target == kNetcheck || request.target == kNetcheckLifetime;
  if (is_netcheck && request.method == "GET") {
    return netcheck({.measures_lifetime = request.target == kNetcheckLifetime}, reply);
  }
  if (request.target == kShare && request.method == "GET") return share(reply);
  const Answer result = answer(request);
  reply->send(result.status, kJson, result.body);
}

LocalApi::Answer LocalApi::answer(const net::HttpRequest& request) {
  constexpr std::string_view kForward = "/v1/forwards/";
  constexpr std::string_view kPeer = "/v1/peers/";
  const bool is_get = request.method == "GET";
  const std::string& target = request.target;
  if (target == "/v1/status") {
    return is_get ? Answer::done(to_json(node_.status())) : Answer::wrong_method();
  }
  if (target == "/v1/peers") {
    return is_get ? Answer::done({{"peers", list(node_.peers())}}) : Answer::wrong_method();
  }
  if (target.starts_with(kPeer)) {
    return is_get ? answer_peer(std::string_view(target).substr(kPeer.size()))
                  : Answer::wrong_method();
  }
  if (target == kShare)
    return request.method == "POST" ? set_share(request) : Answer::wrong_method();
  if (target == "/v1/forwards") {
    if (is_get) return Answer::done({{"forwards", list(node_.forwards())}});
    return request.method == "POST" ? add_forward(request) : Answer::wrong_method();
  }
  if (target.starts_with(kForward)) {
    return answer_forward(request, std::string_view(target).substr(kForward.size()));
  }
  const bool is_known = target == "/v1/ping" || target == kNetcheck || target == kNetcheckLifetime;
  return is_known ? Answer::wrong_method() : Answer::not_found();
}

LocalApi::Answer LocalApi::answer_peer(std::string_view encoded) {
  const auto name = percent_decoded(encoded);
  if (!name) return Answer::invalid("the name in the path is garbled");
  for (const PeerStatus& peer : node_.peers()) {
    if (peer.name == *name || peer.id.text() == *name) {
      return Answer::done({{"peer", to_json(peer)}});
    }
  }
  return Answer::failed(404, "not_found",
                        "there is no node " + printable(*name) + " (see: openp2p peers)");
}

LocalApi::Answer LocalApi::answer_forward(const net::HttpRequest& request, std::string_view rest) {
  const auto slash = rest.find('/');
  const auto name = percent_decoded(rest.substr(0, slash));
  if (!name) return Answer::invalid("the name in the path is garbled");
  if (slash == std::string_view::npos) {
    if (request.method != "DELETE") return Answer::wrong_method();
    return Answer::of(node_.remove_forward(*name));
  }
  const std::string_view action = rest.substr(slash + 1);
  if (action != "enable" && action != "disable") return Answer::not_found();
  if (request.method != "POST") return Answer::wrong_method();
  return Answer::of(node_.set_forward_enabled(*name, action == "enable"));
}

LocalApi::Answer LocalApi::add_forward(const net::HttpRequest& request) {
  const JsonParsed parsed = parse_json(request.body);
  if (!parsed.value || !parsed.value->is_object()) return Answer::invalid("not a JSON object");
  const json::object& from = parsed.value->get_object();
  ForwardSpec spec;
  spec.name = json_text(from, "name").value_or("");
  spec.peer = json_text(from, "peer").value_or("");
  spec.host = json_text(from, "host").value_or("");
  spec.port = static_cast<std::uint16_t>(json_number(from, "port", 65'535).value_or(0));
  const auto listen = parse_listen(json_text(from, "listen").value_or(""));
  if (!listen) return Answer::invalid("\"listen\" is \"PORT\" or \"ADDRESS:PORT\"");
  spec.listen = *listen;
  const auto is_enabled = json_bool(from, "enabled");
  if (from.contains("enabled") && !is_enabled) {
    return Answer::invalid("\"enabled\" is neither true nor false");
  }
  spec.is_enabled = is_enabled.value_or(true);
  spec.relay = json_text(from, "relay").value_or("");
  spec.allows_relay = !json_bool(from, "no_relay").value_or(false);
  if (const auto problem = read_ports(from, spec)) return Answer::invalid(*problem);
  if (const auto problem = problem_of(spec)) return Answer::invalid(*problem);
  if (const auto error = node_.add_forward(spec)) return Answer::failed(*error);
  return {201, document({{"forward", to_json(spec)}})};
}

LocalApi::Answer LocalApi::set_share(const net::HttpRequest& request) {
  const JsonParsed parsed = parse_json(request.body);
  if (!parsed.value || !parsed.value->is_object()) return Answer::invalid("not a JSON object");
  const auto mbit = json_number(parsed.value->get_object(), "share_mbit", kShareMbitMax);
  if (!mbit) {
    return Answer::invalid("\"share_mbit\" is a number from 0 to " + std::to_string(kShareMbitMax));
  }
  return Answer::of(node_.set_share(static_cast<unsigned>(*mbit)));
}

void LocalApi::share(const std::shared_ptr<net::HttpReply>& reply) {
  node_.share(
      [reply](const ShareStatus& share) { reply->send(200, kJson, document(to_json(share))); });
}

void LocalApi::ping(const net::HttpRequest& request, const std::shared_ptr<net::HttpReply>& reply) {
  const auto refuse = [&](const Answer& why) { reply->send(why.status, kJson, why.body); };
  const JsonParsed parsed = parse_json(request.body);
  if (!parsed.value || !parsed.value->is_object()) {
    return refuse(Answer::invalid("not a JSON object"));
  }
  const json::object& from = parsed.value->get_object();
  const auto peer = json_text(from, "peer");
  const auto count = json_number(from, "count", kPingsMax);
  if (!peer) return refuse(Answer::invalid("\"peer\" is missing"));
  if (from.contains("count") && count.value_or(0) == 0) {
    return refuse(Answer::invalid("\"count\" is 1 to 1000"));
  }
  // Owned by the callback, which the node keeps until the last reply or until it is told to stop.
  const auto summary = std::make_shared<PingSummary>();
  const auto is_started = std::make_shared<bool>(false);
  const auto on_reply = [reply, summary, is_started](const PingReply& one) {
    if (!std::exchange(*is_started, true)) reply->start(200, kJsonLines);
    if (one.number == 0) {
      json::object last{{"summary", to_json(*summary)}};
      if (one.peer) last["peer"] = to_json(*one.peer);
      reply->write(document(std::move(last)) + "\n");
      reply->finish();
      return false;
    }
    summary->add(one);
    return reply->write(document(to_json(one)) + "\n");
  };
  const auto wanted = static_cast<unsigned>(count.value_or(kPingsDefault));
  if (const auto error = node_.ping(*peer, wanted, on_reply)) refuse(Answer::failed(*error));
}

void LocalApi::netcheck(const NetcheckOptions& options,
                        const std::shared_ptr<net::HttpReply>& reply) {
  node_.netcheck(options, [reply](const NetcheckReport& report) {
    reply->send(200, kJson, document(to_json(report)));
  });
}

}  // namespace openp2p::agent
