#include "cli/agent_client.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>

#include "agent/json_text.h"
#include "agent/state_folder.h"
#include "base/ids.h"
#include "cli/exit_code.h"
#include "cli/table.h"
#include "net/http_client.h"

namespace openp2p::cli {
namespace json = boost::json;
using net::HttpError;

namespace {

/// An agent of root is another one than the user's own; people mix them up.
std::string hint_at_root(const std::string& state_path) {
  struct stat info {};
  const char* kOfRoot = "/var/lib/openp2p";
  if (::geteuid() == 0 || state_path == kOfRoot || ::stat(kOfRoot, &info) != 0) return "";
  return ". If the agent runs as root, ask it with sudo";
}

}  // namespace

AgentClient::AgentClient(QueryOptions options)
    : options_(std::move(options)),
      socket_path_(agent::StateFolder::socket_path(options_.state_path)) {}

int AgentClient::report(int exit_code, std::string_view kind, const std::string& text) const {
  print_error(text);
  if (options_.is_json) {
    const json::object error{{"kind", json::string(kind)}, {"text", agent::json_safe(text)}};
    print(json::serialize(json::object{{"version", 1}, {"error", error}}) + "\n");
  }
  return exit_code;
}

int AgentClient::fail(std::error_code error) const {
  if (error == HttpError::kNotRunning) {
    return report(kExitNotRunning, "not_running",
                  "no agent runs with the state folder " + options_.state_path +
                      "; start one with: openp2p up" + hint_at_root(options_.state_path));
  }
  if (error == HttpError::kNotPermitted) {
    return report(kExitFailed, "denied",
                  "the agent with the state folder " + options_.state_path +
                      " belongs to another user; ask as that user, or with sudo");
  }
  return report(kExitFailed, "failed", "the agent did not answer: " + error.message());
}

int AgentClient::refused(std::string_view body) const {
  const agent::JsonParsed parsed = agent::parse_json(body);
  std::string text = "the agent refused without a reason";
  std::string kind = "failed";
  if (parsed.value && parsed.value->is_object()) {
    const json::value* error = parsed.value->get_object().if_contains("error");
    if (error != nullptr && error->is_object()) {
      text = agent::json_text(error->get_object(), "text").value_or(text);
      kind = agent::json_text(error->get_object(), "kind").value_or(kind);
    }
  }
  return report(kExitFailed, kind, text);
}

int AgentClient::ask(std::string_view method, std::string_view target, std::string_view body,
                     Duration patience, const Show& show, const Judge& judge) const {
  const auto response = net::HttpClient(socket_path_, patience).request(method, target, body);
  if (!response) return fail(response.error());
  if (response->status / 100 != 2) return refused(response->body);
  const agent::JsonParsed parsed = agent::parse_json(response->body);
  if (!parsed.value || !parsed.value->is_object()) return fail(HttpError::kMalformed);
  const json::object& answer = parsed.value->get_object();
  if (options_.is_json) {
    print(response->body + "\n");
  } else {
    show(answer);
  }
  return judge ? judge(answer) : kExitDone;
}

int AgentClient::stream(std::string_view method, std::string_view target, std::string_view body,
                        Duration patience, const Show& show, const Judge& judge) const {
  int exit_code = kExitFailed;
  const auto on_line = [&](std::string_view line) {
    const agent::JsonParsed parsed = agent::parse_json(line);
    if (!parsed.value || !parsed.value->is_object()) return false;
    exit_code = judge(parsed.value->get_object());
    if (options_.is_json) {
      print(std::string(line) + "\n");
    } else {
      show(parsed.value->get_object());
    }
    return true;
  };
  const auto response =
      net::HttpClient(socket_path_, patience).stream(method, target, body, on_line);
  if (!response) return fail(response.error());
  if (response->status / 100 != 2) return refused(response->body);
  return exit_code;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  std::string out;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += "%" + to_hex(as_bytes(std::string_view(&c, 1)));
    }
  }
  return out;
}

}  // namespace openp2p::cli
