#include "server/sqlite_records.h"

#include <set>

#include "base/check.h"
#include "server/sqlite_credits.h"
#include "server/sqlite_database.h"

namespace openp2p::server {
namespace {

using soci::into;
using soci::use;

/// A row as SOCI fills it; hexadecimal text and long long become our types at once.
struct NodeRow {
  std::string key, network, name, version, platform;
  long long joined_at_us = 0;
  long long seen_at_us = 0;
};
constexpr const char* kNodeColumns =
    " node_key, network_id, name, version, platform, joined_at_us, seen_at_us ";

struct TokenRow {
  std::string network;
  int is_reusable = 0;
  long long expires_at_us = 0;
  long long used_at_us = 0;
};

Node to_node(const NodeRow& row) {
  return {.id = NodeId{from_column<NodeId::kSize>(row.key)},
          .network = from_column<std::tuple_size_v<NetworkId>>(row.network),
          .name = row.name,
          .version = row.version,
          .platform = row.platform,
          .joined_at = {row.joined_at_us},
          .seen_at = {row.seen_at_us}};
}

}  // namespace

class SqliteRecords::Impl {
 public:
  explicit Impl(const Options& options) : database(options) {}

  bool find(const std::string& key, NodeRow& row) {
    sql() << "SELECT" << kNodeColumns << "FROM nodes WHERE node_key = :key AND removed_at_us = 0",
        use(key), into(row.key), into(row.network), into(row.name), into(row.version),
        into(row.platform), into(row.joined_at_us), into(row.seen_at_us);
    return sql().got_data();
  }

  bool find_token(const std::string& hash, TokenRow& row) {
    sql() << "SELECT network_id, is_reusable, expires_at_us, used_at_us FROM tokens "
             "WHERE secret_sha256 = :hash",
        use(hash), into(row.network), into(row.is_reusable), into(row.expires_at_us),
        into(row.used_at_us);
    return sql().got_data();
  }

  std::string free_name(const std::string& network, const std::string& key,
                        std::string_view wished) {
    std::set<std::string, std::less<>> taken;
    std::string name;
    soci::statement rows =
        (sql().prepare << "SELECT name_key FROM nodes WHERE network_id = :network "
                          "AND removed_at_us = 0 AND node_key <> :key",
         use(network), use(key), into(name));
    rows.execute();
    while (rows.fetch()) taken.insert(name);
    return unique_name(wished, [&](std::string_view name_key) { return taken.contains(name_key); });
  }

  void check_room(const std::string& network) {
    long long count = 0;
    sql() << "SELECT count(*) FROM nodes WHERE network_id = :network AND removed_at_us = 0",
        use(network), into(count);
    if (count >= static_cast<long long>(kNodesPerNetworkMax)) {
      throw RecordsFailure{StoreError::kLimitReached};
    }
  }

  Result<Joined> join(const JoinRequest& request);
  void write_member(const Node& node);
  void spend(const std::string& hash, const std::string& key, long long now_us);

  soci::session& sql() { return database.sql(); }

  SqliteDatabase database;
  long long data_version = 0;  ///< PRAGMA data_version at the last poll.
};

Result<Joined> SqliteRecords::Impl::join(const JoinRequest& request) {
  const std::string hash = to_hex(request.secret_hash);
  const std::string key = request.node.text();
  Transaction transaction(database);

  TokenRow token;
  if (!find_token(hash, token)) return StoreError::kTokenInvalid;
  NodeRow member;
  const bool is_member = find(key, member);
  if (is_member && member.network == token.network) return Joined{.node = to_node(member)};
  if (token.expires_at_us != 0 && token.expires_at_us <= request.now.us) {
    return StoreError::kTokenExpired;
  }
  if (token.is_reusable == 0 && token.used_at_us != 0) return StoreError::kTokenUsed;
  check_room(token.network);

  Joined joined;
  if (is_member) joined.left = to_node(member).network;
  joined.node = {.id = request.node,
                 .network = from_column<std::tuple_size_v<NetworkId>>(token.network),
                 .name = free_name(token.network, key, request.name),
                 .version = request.version,
                 .platform = request.platform,
                 .joined_at = request.now,
                 .seen_at = request.now};
  joined.is_new = true;
  joined.is_name_changed = joined.node.name != request.name;
  write_member(joined.node);
  spend(hash, key, request.now.us);
  transaction.commit();
  return joined;
}

void SqliteRecords::Impl::write_member(const Node& node) {
  const std::string key = node.id.text();
  const std::string network = to_hex(node.network);
  const std::string lower = name_key(node.name);
  const long long joined_at_us = node.joined_at.us;
  sql() << "INSERT INTO nodes (node_key, network_id, name, name_key, version, platform, "
           "joined_at_us, seen_at_us) VALUES (:key, :network, :name, :lower, :version, :platform, "
           ":joined, :seen) ON CONFLICT (node_key) DO UPDATE SET network_id = excluded.network_id, "
           "name = excluded.name, name_key = excluded.name_key, version = excluded.version, "
           "platform = excluded.platform, joined_at_us = excluded.joined_at_us, "
           "seen_at_us = excluded.seen_at_us, removed_at_us = 0",
      use(key), use(network), use(node.name), use(lower), use(node.version), use(node.platform),
      use(joined_at_us), use(joined_at_us);
}

void SqliteRecords::Impl::spend(const std::string& hash, const std::string& key, long long now_us) {
  const long long used_at_us = std::max(now_us, 1LL);  // 0 would say: not used.
  sql() << "UPDATE tokens SET used_at_us = :now, used_by = :key WHERE secret_sha256 = :hash",
      use(used_at_us), use(key), use(hash);
}

SqliteRecords::SqliteRecords(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteRecords::~SqliteRecords() = default;

Result<std::unique_ptr<SqliteRecords>> SqliteRecords::open(const Options& options) {
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(options);
    impl->data_version = impl->database.number("PRAGMA data_version");
  } catch (const RecordsFailure& failure) {
    return failure.error;
  } catch (const soci::sqlite3_soci_error& failure) {
    if (options.on_trouble) options.on_trouble(failure.what());
    const int code = failure.result() & 0xff;
    const bool is_damage = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    return is_damage ? StoreError::kCorrupt : StoreError::kUnavailable;
  } catch (const std::exception& failure) {
    if (options.on_trouble) options.on_trouble(failure.what());
    return StoreError::kUnavailable;
  }
  return std::unique_ptr<SqliteRecords>(new SqliteRecords(std::move(impl)));
}

Status SqliteRecords::create_user(const User& user) {
  return impl_->database.attempt([&]() -> Status {
    const std::string network = to_hex(user.network);
    const long long created_at_us = user.created_at.us;
    int count = 0;
    Transaction transaction(impl_->database);
    impl_->sql() << "SELECT count(*) FROM users WHERE email = :email", use(user.email), into(count);
    if (count != 0) return StoreError::kUserExists;
    if (impl_->database.number("SELECT count(*) FROM users") >= static_cast<long long>(kUsersMax)) {
      return StoreError::kLimitReached;
    }
    impl_->sql() << "INSERT INTO networks (id, name, created_at_us) VALUES (:id, :name, :at)",
        use(network), use(user.network_name), use(created_at_us);
    impl_->sql() << "INSERT INTO users (email, password_hash, network_id, created_at_us) "
                    "VALUES (:email, :hash, :network, :at)",
        use(user.email), use(user.password_hash), use(network), use(created_at_us);
    transaction.commit();
    return {};
  });
}

Result<std::vector<User>> SqliteRecords::users() {
  return impl_->database.attempt([&]() -> Result<std::vector<User>> {
    std::vector<User> all;
    std::string network;
    User user;
    long long created_at_us = 0;
    soci::statement rows =
        (impl_->sql().prepare
             << "SELECT email, password_hash, network_id, networks.name, users.created_at_us "
                "FROM users JOIN networks ON networks.id = network_id ORDER BY email",
         into(user.email), into(user.password_hash), into(network), into(user.network_name),
         into(created_at_us));
    rows.execute();
    while (rows.fetch()) {
      user.network = from_column<std::tuple_size_v<NetworkId>>(network);
      user.created_at.us = created_at_us;
      all.push_back(user);
    }
    return all;
  });
}

Status SqliteRecords::new_token(const Token& token) {
  return impl_->database.attempt([&]() -> Status {
    const std::string hash = to_hex(token.secret_hash);
    const int is_reusable = token.is_reusable ? 1 : 0;
    const long long created_at_us = token.created_at.us;
    const long long expires_at_us = token.expires_at.us;
    std::string network;
    long long count = 0;
    Transaction transaction(impl_->database);
    impl_->sql() << "SELECT network_id FROM users WHERE email = :email", use(token.email),
        into(network);
    if (!impl_->sql().got_data()) return StoreError::kNoSuchUser;
    impl_->sql() << "SELECT count(*) FROM tokens WHERE email = :email", use(token.email),
        into(count);
    if (count >= static_cast<long long>(kTokensPerUserMax)) return StoreError::kLimitReached;
    impl_->sql() << "INSERT INTO tokens (secret_sha256, email, network_id, is_reusable, "
                    "created_at_us, expires_at_us) "
                    "VALUES (:hash, :email, :network, :reusable, :created, :expires)",
        use(hash), use(token.email), use(network), use(is_reusable), use(created_at_us),
        use(expires_at_us);
    transaction.commit();
    return {};
  });
}

Result<Joined> SqliteRecords::join(const JoinRequest& request) {
  CHECK(is_valid_name(request.name));
  return impl_->database.attempt([&] { return impl_->join(request); });
}

Result<Node> SqliteRecords::find_node(const NodeId& id) {
  return impl_->database.attempt([&]() -> Result<Node> {
    NodeRow row;
    if (!impl_->find(id.text(), row)) return StoreError::kNoSuchNode;
    return to_node(row);
  });
}

Result<std::string> SqliteRecords::network_name(const NetworkId& network) {
  return impl_->database.attempt([&]() -> Result<std::string> {
    const std::string id = to_hex(network);
    std::string name;
    impl_->sql() << "SELECT name FROM networks WHERE id = :id", use(id), into(name);
    if (!impl_->sql().got_data()) return StoreError::kNoSuchUser;
    return name;
  });
}

Result<std::vector<Node>> SqliteRecords::nodes(const NetworkId& network) {
  return impl_->database.attempt([&]() -> Result<std::vector<Node>> {
    const std::string id = to_hex(network);
    std::vector<Node> members;
    NodeRow row;
    soci::statement rows =
        (impl_->sql().prepare << "SELECT" << kNodeColumns
                              << "FROM nodes WHERE network_id = :id AND removed_at_us = 0 "
                                 "ORDER BY name_key",
         use(id), into(row.key), into(row.network), into(row.name), into(row.version),
         into(row.platform), into(row.joined_at_us), into(row.seen_at_us));
    rows.execute();
    while (rows.fetch()) members.push_back(to_node(row));
    return members;
  });
}

Result<std::string> SqliteRecords::rename(const NodeId& id, std::string_view wished) {
  if (!is_valid_name(wished)) return StoreError::kNameInvalid;
  return impl_->database.attempt([&]() -> Result<std::string> {
    const std::string key = id.text();
    Transaction transaction(impl_->database);
    NodeRow row;
    if (!impl_->find(key, row)) return StoreError::kNoSuchNode;
    const std::string name = impl_->free_name(row.network, key, wished);
    const std::string lower = name_key(name);
    impl_->sql() << "UPDATE nodes SET name = :name, name_key = :lower WHERE node_key = :key",
        use(name), use(lower), use(key);
    transaction.commit();
    return name;
  });
}

Result<Node> SqliteRecords::remove(const NodeId& id, WallTime now) {
  return impl_->database.attempt([&]() -> Result<Node> {
    const std::string key = id.text();
    const long long removed_at_us = std::max<long long>(now.us, 1);
    Transaction transaction(impl_->database);
    NodeRow row;
    if (!impl_->find(key, row)) return StoreError::kNoSuchNode;
    impl_->sql() << "UPDATE nodes SET removed_at_us = :now WHERE node_key = :key",
        use(removed_at_us), use(key);
    transaction.commit();
    return to_node(row);
  });
}

Status SqliteRecords::touch(std::span<const Seen> seen) {
  return impl_->database.attempt([&]() -> Status {
    std::string key, version, platform;
    long long seen_at_us = 0;
    Transaction transaction(impl_->database);
    soci::statement update =
        (impl_->sql().prepare << "UPDATE nodes SET seen_at_us = :at, version = :version, "
                                 "platform = :platform WHERE node_key = :key AND removed_at_us = 0",
         use(seen_at_us), use(version), use(platform), use(key));
    for (const Seen& one : seen) {
      key = one.node.text();
      version = one.version;
      platform = one.platform;
      seen_at_us = one.at.us;
      update.execute(/*withDataExchange=*/true);
    }
    transaction.commit();
    return {};
  });
}

Result<std::map<NetworkId, CreditAccount>> SqliteRecords::credit(
    std::span<const ReceiptClaim> claims, const CreditTerms& terms) {
  return impl_->database.attempt([&]() -> Result<std::map<NetworkId, CreditAccount>> {
    Transaction transaction(impl_->database);
    SqliteCredits credits(impl_->database);
    auto changed = settle(credits, claims, terms);
    credits.forget_before(terms.oldest_step);
    transaction.commit();
    return changed;
  });
}

Result<CreditAccount> SqliteRecords::find_account(const NetworkId& network) {
  return impl_->database.attempt(
      [&]() -> Result<CreditAccount> { return SqliteCredits(impl_->database).account(network); });
}

Result<std::uint64_t> SqliteRecords::lent_by(const NodeId& node) {
  return impl_->database.attempt(
      [&]() -> Result<std::uint64_t> { return SqliteCredits(impl_->database).lent_by(node); });
}

Result<bool> SqliteRecords::poll_foreign_change() {
  return impl_->database.attempt([&]() -> Result<bool> {
    const long long version = impl_->database.number("PRAGMA data_version");
    return std::exchange(impl_->data_version, version) != version;
  });
}

}  // namespace openp2p::server
