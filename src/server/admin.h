#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.h"
#include "server/store.h"
#include "wire/join_token.h"

/// What the owner of a server does with its records, by commands. They work on the database beside
/// a running server, which notices within a second.
namespace openp2p::server {

constexpr Duration kTokenLifetime = std::chrono::hours(24);
/// Years are for certificates; "never" is there for who wants it.
constexpr Duration kTokenLifetimeMax = std::chrono::hours(24 * 366);

Status add_user(Records& records, SecretSource& secrets, const std::string& email,
                std::string password_hash, WallTime now);

struct TokenRequest {
  std::string email;
  bool is_reusable = false;
  std::optional<Duration> lifetime = kTokenLifetime;  ///< nullopt: never expires.
  std::vector<std::string> addresses;                 ///< Where nodes reach the server.
  NodeId server;
};
/// The token is on the disk when this returns it.
Result<JoinToken> make_token(Records& records, SecretSource& secrets, const TokenRequest& request,
                             WallTime now);

/// A user "admin" with a network, where there is nobody yet.
Status ensure_first_user(Records& records, SecretSource& secrets, WallTime now);
/// For a server without nodes: a token with which the owner's devices join. nullopt: it has some.
Result<std::optional<JoinToken>> first_token(Records& records, SecretSource& secrets,
                                             const TokenRequest& request, WallTime now);

struct NodeRow {
  Node node;
  std::string email;
};
/// Of one user, or of all. StoreError::kNoSuchUser.
Result<std::vector<NodeRow>> list_nodes(Records& records, const std::optional<std::string>& email);

/// Nodes that `name_or_id` means: those of that name, or whose key begins with it (8 hexadecimal
/// digits or more).
std::vector<NodeRow> match_nodes(const std::vector<NodeRow>& nodes, std::string_view name_or_id);

/// "90s", "30m", "24h", "7d"; nullopt where it is none of these, 0, or above kTokenLifetimeMax.
std::optional<Duration> parse_lifetime(std::string_view text);

/// "500MiB", "1GiB", "0": a whole number and B, KiB, MiB, GiB or TiB, at most kCreditBytesMax. A
/// bare number but 0 is refused: bytes and gigabytes are too easily taken for each other.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace openp2p::server
