#include "server/admin.h"

#include <algorithm>
#include <charconv>

namespace openp2p::server {
namespace {

constexpr std::size_t kIdDigitsMin = 8;

}  // namespace

Status add_user(Records& records, SecretSource& secrets, const std::string& email,
                std::string password_hash, WallTime now) {
  User user{.email = email,
            .password_hash = std::move(password_hash),
            .network = {},
            .network_name = email,
            .created_at = now};
  secrets.fill(user.network);
  return records.create_user(user);
}

Result<JoinToken> make_token(Records& records, SecretSource& secrets, const TokenRequest& request,
                             WallTime now) {
  JoinToken token;
  token.addresses = request.addresses;
  token.server = request.server;
  token.secret.resize(JoinToken::kSecretBytes);
  secrets.fill(token.secret);
  if (request.lifetime) {
    const auto lifetime = std::chrono::duration_cast<std::chrono::microseconds>(*request.lifetime);
    token.expires.us = now.us + lifetime.count();
  }
  const Status stored = records.new_token({.secret_hash = sha256(token.secret),
                                           .email = request.email,
                                           .is_reusable = request.is_reusable,
                                           .created_at = now,
                                           .expires_at = token.expires});
  if (!stored) return stored.error();
  return token;
}

Status ensure_first_user(Records& records, SecretSource& secrets, WallTime now) {
  const auto users = records.users();
  if (!users) return users.error();
  if (!users->empty()) return {};
  return add_user(records, secrets, "admin", /*password_hash=*/"", now);
}

Result<std::optional<JoinToken>> first_token(Records& records, SecretSource& secrets,
                                             const TokenRequest& request, WallTime now) {
  const auto nodes = list_nodes(records, std::nullopt);
  if (!nodes) return nodes.error();
  if (!nodes->empty()) return std::optional<JoinToken>();
  const auto users = records.users();
  if (!users) return users.error();
  const bool has_user =
      std::ranges::any_of(*users, [&](const User& user) { return user.email == request.email; });
  if (!has_user) return std::optional<JoinToken>();
  auto token = make_token(records, secrets, request, now);
  if (!token) return token.error();
  return std::optional(std::move(*token));
}

Result<std::vector<NodeRow>> list_nodes(Records& records, const std::optional<std::string>& email) {
  const auto users = records.users();
  if (!users) return users.error();
  std::vector<NodeRow> rows;
  bool is_found = false;
  for (const User& user : *users) {
    if (email && user.email != *email) continue;
    is_found = true;
    auto nodes = records.nodes(user.network);
    if (!nodes) return nodes.error();
    for (Node& node : *nodes) rows.push_back({.node = std::move(node), .email = user.email});
  }
  if (email && !is_found) return StoreError::kNoSuchUser;
  return rows;
}

std::vector<NodeRow> match_nodes(const std::vector<NodeRow>& nodes, std::string_view name_or_id) {
  const std::string key = name_key(name_or_id);
  const bool can_be_id = name_or_id.size() >= kIdDigitsMin;
  std::vector<NodeRow> found;
  for (const NodeRow& row : nodes) {
    const bool is_named = name_key(row.node.name) == key;
    if (is_named || (can_be_id && row.node.id.text().starts_with(key))) found.push_back(row);
  }
  return found;
}

std::optional<Duration> parse_lifetime(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  std::int64_t unit_seconds = 0;
  switch (text.back()) {
    case 's':
      unit_seconds = 1;
      break;
    case 'm':
      unit_seconds = 60;
      break;
    case 'h':
      unit_seconds = 3'600;
      break;
    case 'd':
      unit_seconds = 86'400;
      break;
    default:
      return std::nullopt;
  }
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size() - 1;
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number == 0) return std::nullopt;
  const std::int64_t seconds = unit_seconds * number;
  if (seconds > std::chrono::duration_cast<std::chrono::seconds>(kTokenLifetimeMax).count()) {
    return std::nullopt;
  }
  return std::chrono::seconds(seconds);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::pair<std::string_view, int> kUnits[] = {
      {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"B", 0}};
  if (text == "0") return 0;
  const auto unit =
      std::ranges::find_if(kUnits, [&](const auto& known) { return text.ends_with(known.first); });
  if (unit == std::ranges::end(kUnits)) return std::nullopt;
  const std::string_view digits = text.substr(0, text.size() - unit->first.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (number > kCreditBytesMax >> unit->second) return std::nullopt;
  return number << unit->second;
}

}  // namespace openp2p::server
