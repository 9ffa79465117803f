#include "cli/server_commands.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <set>

#include "agent/json_text.h"
#include "base/ids.h"
#include "cli/exit_code.h"
#include "cli/field.h"
#include "cli/table.h"
#include "net/clock.h"
#include "net/http_client.h"
#include "server/admin.h"
#include "server/data_folder.h"
#include "server/listen.h"
#include "server/password.h"
#include "server/sqlite_records.h"

namespace openp2p::cli {
namespace {

namespace json = boost::json;

constexpr Duration kServerSilenceMax = std::chrono::seconds(2);  // It answers within microseconds.

/// Every answer is an object with a version; see docs/json.md.
void print_json(json::object answer) {
  answer["version"] = 1;
  print(json::serialize(answer) + "\n");
}

/// `kind` is a word of docs/json.md. Gives the exit code.
int fail(const ServerCommand& command, std::string_view kind, const std::string& text,
         int exit_code = kExitFailed) {
  if (command.is_json) {
    print_json({{"error", json::object{{"kind", kind}, {"text", agent::json_safe(text)}}}});
  }
  print_server_error(text);
  return exit_code;
}

int fail(const ServerCommand& command, const std::string& what, std::error_code error) {
  using server::StoreError;
  std::string_view kind = "failed";
  if (error == make_error_code(StoreError::kUserExists)) kind = "conflict";
  if (error == make_error_code(StoreError::kUnavailable)) kind = "unavailable";
  return fail(command, kind, what + ": " + error.message());
}

std::string date_text(WallTime time) {
  if (time.us == 0) return "never";
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(time.us / 1'000'000));
}

json::value time_json(WallTime time) {
  return time.us == 0 ? json::value(nullptr) : json::value(time.us);
}

std::string ago_text(WallTime time, WallTime now) {
  const Duration ago = std::chrono::microseconds(std::max<std::int64_t>(now.us - time.us, 0));
  return ago < std::chrono::minutes(1) ? "just now" : duration_text(ago) + " ago";
}

/// The folder and the database of it, opened beside a running server or without one.
struct Opened {
  std::unique_ptr<server::DataFolder> folder;
  std::unique_ptr<server::SqliteRecords> records;
};

/// nullopt: said why.
std::optional<Opened> open_records(const ServerCommand& command) {
  auto folder = server::DataFolder::open(command.data);
  if (!folder) {
    fail(command, "failed", folder.error().text);
    return std::nullopt;
  }
  const std::filesystem::path file = (*folder)->database();
  auto records = server::SqliteRecords::open({.file = file, .checks_integrity = false});
  if (!records) {
    fail(command, file.string(), records.error());
    return std::nullopt;
  }
  return Opened{std::move(*folder), std::move(*records)};
}

/// The first line of standard input; nullopt where it is no password, which was said.
std::optional<std::string> read_password(const ServerCommand& command) {
  std::array<char, server::kPasswordBytesMax + 2> buffer{};
  if (std::fgets(buffer.data(), static_cast<int>(buffer.size()), stdin) == nullptr) {
    fail(command, "invalid", "no password came on standard input");
    return std::nullopt;
  }
  std::string password(buffer.data());
  wipe(std::as_writable_bytes(std::span(buffer)));
  while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) {
    password.pop_back();
  }
  if (password.size() < server::kPasswordBytesMin || password.size() > server::kPasswordBytesMax) {
    fail(command, "invalid",
         fmt::format("a password has {} to {} bytes", server::kPasswordBytesMin,
                     server::kPasswordBytesMax));
    return std::nullopt;
  }
  return password;
}

int fail_without_user(const ServerCommand& command, const std::string& email) {
  return fail(command, "not_found",
              "there is no user " + email + ". The users are shown by: openp2p-server user list");
}

/// Where nodes reach the server: as asked for, as the last run was told, or as this machine looks.
std::vector<std::string> token_addresses(const server::DataFolder& folder,
                                         const std::vector<std::string>& asked) {
  if (!asked.empty()) return asked;
  auto saved = folder.load_addresses();
  if (!saved.empty()) return saved;
  return server::reachable_addresses(server::plan_listening({}, server::kStunPort).sockets,
                                     server::own_addresses());
}

/// Who is online, as the running server says; nullopt where none runs.
std::optional<std::set<std::string>> online_nodes(const server::DataFolder& folder) {
  const net::HttpClient client(folder.socket().string(), kServerSilenceMax);
  const auto response = client.request("GET", "/v1/online", "");
  if (!response || response->status != 200) return std::nullopt;
  const agent::JsonParsed parsed = agent::parse_json(response->body);
  if (!parsed.value || !parsed.value->is_object()) return std::nullopt;
  std::set<std::string> online;
  for (std::string& id : texts_of(parsed.value->get_object(), "online"))
    online.insert(std::move(id));
  return online;
}

std::string state_of(const server::NodeRow& row,
                     const std::optional<std::set<std::string>>& online) {
  if (!online) return "unknown";
  return online->contains(row.node.id.text()) ? "online" : "offline";
}

json::object node_json(const server::NodeRow& row) {
  return {{"id", row.node.id.text()},
          {"name", row.node.name},
          {"user", row.email},
          {"version", row.node.version},
          {"platform", row.node.platform},
          {"joined_at_us", row.node.joined_at.us},
          {"seen_at_us", row.node.seen_at.us}};
}

}  // namespace

void print_server_error(const std::string& text) {
  std::fprintf(stderr, "openp2p-server: %s\n", printable(text, 2'000).c_str());
}

int add_user(const ServerCommand& command, const std::string& email, bool reads_password) {
  if (!server::is_valid_email(email)) {
    return fail(command, "invalid", "\"" + email + "\" is no email address", kExitUsage);
  }
  SystemSecrets secrets;
  std::string hash;
  if (reads_password) {
    auto password = read_password(command);
    if (!password) return kExitFailed;
    auto hashed = server::hash_password(*password, secrets);
    wipe(std::as_writable_bytes(std::span(*password)));
    if (!hashed) return fail(command, "the password cannot be hashed", hashed.error());
    hash = std::move(*hashed);
  }
  const auto opened = open_records(command);
  if (!opened) return kExitFailed;
  const Status added =
      server::add_user(*opened->records, secrets, email, std::move(hash), net::wall_now());
  if (!added) return fail(command, email, added.error());
  if (command.is_json) {
    print_json({{"user", email}, {"has_password", reads_password}});
  } else {
    print("User " + email + " added. To join a device to this user's network:\n" +
          "  openp2p-server token new --user " + email + "\n");
  }
  return kExitDone;
}

int list_users(const ServerCommand& command) {
  const auto opened = open_records(command);
  if (!opened) return kExitFailed;
  const auto users = opened->records->users();
  if (!users) return fail(command, opened->folder->database().string(), users.error());
  json::array list;
  Table table({"USER", "NODES", "PASSWORD", "ADDED"});
  for (const server::User& user : *users) {
    const auto nodes = opened->records->nodes(user.network);
    if (!nodes) return fail(command, opened->folder->database().string(), nodes.error());
    const bool has_password = !user.password_hash.empty();
    table.add({user.email, std::to_string(nodes->size()), has_password ? "yes" : "no",
               date_text(user.created_at)});
    list.push_back(json::object{{"user", user.email},
                                {"nodes", nodes->size()},
                                {"has_password", has_password},
                                {"created_at_us", user.created_at.us}});
  }
  if (command.is_json) {
    print_json({{"users", std::move(list)}});
  } else {
    print(table.text());
  }
  return kExitDone;
}

int new_token(const ServerCommand& command, const NewTokenOptions& options) {
  const auto opened = open_records(command);
  if (!opened) return kExitFailed;
  SystemSecrets secrets;
  const auto key = opened->folder->key(secrets);
  if (!key) return fail(command, "failed", key.error().text);
  const server::TokenRequest request{
      .email = options.email,
      .is_reusable = options.is_reusable,
      .lifetime = options.lifetime,
      .addresses = token_addresses(*opened->folder, options.addresses),
      .server = key->id()};
  const auto token = server::make_token(*opened->records, secrets, request, net::wall_now());
  if (!token && token.error() == make_error_code(server::StoreError::kNoSuchUser)) {
    return fail_without_user(command, options.email);
  }
  if (!token) return fail(command, opened->folder->database().string(), token.error());
  if (command.is_json) {
    print_json({{"token", token->text()},
                {"user", options.email},
                {"reusable", options.is_reusable},
                {"expires_at_us", time_json(token->expires)},
                {"addresses", json::array(request.addresses.begin(), request.addresses.end())}});
    return kExitDone;
  }
  print("On the device that is to join " + options.email + "'s network:\n  openp2p up --token " +
        token->text() + "\n" +
        (options.is_reusable ? "For any number of devices" : "For one device") +
        (token->expires.us == 0 ? ", without end.\n"
                                : ", until " + date_text(token->expires) + ".\n"));
  return kExitDone;
}

int list_nodes(const ServerCommand& command, const std::optional<std::string>& email) {
  const auto opened = open_records(command);
  if (!opened) return kExitFailed;
  const auto nodes = server::list_nodes(*opened->records, email);
  if (!nodes && email && nodes.error() == make_error_code(server::StoreError::kNoSuchUser)) {
    return fail_without_user(command, *email);
  }
  if (!nodes) return fail(command, opened->folder->database().string(), nodes.error());
  const auto online = online_nodes(*opened->folder);
  if (command.is_json) {
    json::array list;
    for (const server::NodeRow& row : *nodes) {
      list.push_back(node_json(row));
      list.back().get_object()["state"] = state_of(row, online);
    }
    print_json({{"nodes", std::move(list)}});
    return kExitDone;
  }
  const WallTime now = net::wall_now();
  Table table({"NAME", "ID", "USER", "STATE", "LAST SEEN", "VERSION", "PLATFORM"});
  for (const server::NodeRow& row : *nodes) {
    const std::string state = state_of(row, online);
    table.add({row.node.name, row.node.id.brief(), row.email, state,
               state == "online" ? "now" : ago_text(row.node.seen_at, now), row.node.version,
               row.node.platform});
  }
  print(table.text());
  if (!online && !nodes->empty()) print("No server runs with this folder.\n");
  return kExitDone;
}

int remove_node(const ServerCommand& command, const std::string& name_or_id,
                const std::optional<std::string>& email) {
  const auto opened = open_records(command);
  if (!opened) return kExitFailed;
  const auto nodes = server::list_nodes(*opened->records, email);
  if (!nodes && email && nodes.error() == make_error_code(server::StoreError::kNoSuchUser)) {
    return fail_without_user(command, *email);
  }
  if (!nodes) return fail(command, opened->folder->database().string(), nodes.error());
  const auto matches = server::match_nodes(*nodes, name_or_id);
  if (matches.empty()) {
    return fail(command, "not_found",
                "there is no node \"" + name_or_id +
                    "\". The nodes are shown by: openp2p-server node list");
  }
  if (matches.size() > 1) {
    std::string text = "several nodes are called \"" + name_or_id + "\". Say which by its ID:";
    for (const auto& row : matches) text += " " + row.node.id.text() + " (" + row.email + ")";
    return fail(command, "conflict", text);
  }
  const server::Node& node = matches.front().node;
  const auto removed = opened->records->remove(node.id, net::wall_now());
  if (!removed) return fail(command, opened->folder->database().string(), removed.error());
  if (command.is_json) {
    print_json({{"removed", node_json(matches.front())}});
  } else {
    print("Node " + printable(node.name) + " (" + node.id.brief() +
          ") removed. A running server ends its session within two seconds.\n");
  }
  return kExitDone;
}

}  // namespace openp2p::cli
