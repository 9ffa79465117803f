#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include "server/store.h"

namespace openp2p::server {

/// One step of the schema. Steps are only ever added at the end, and each runs once in a
/// transaction of its own; `statements` are separated by ';'.
struct Migration {
  const char* statements;
};
std::span<const Migration> all_migrations();

/// Records in an SQLite file, through SOCI. Write-ahead log, synchronised at every commit: what was
/// answered survives kill -9 and a power cut. Other processes (the admin's commands) may have the
/// same file open; a writer waits for another for a few seconds. Threading: one at a time, any
/// thread. No exception leaves it.
class SqliteRecords final : public Records {
 public:
  struct Options {
    std::filesystem::path file;
    std::span<const Migration> migrations = all_migrations();
    bool may_create = true;        ///< False: a missing file is StoreError::kUnavailable.
    bool checks_integrity = true;  ///< Reads the whole file once.
    /// SQLite's own words for what went wrong. Called on the thread that calls here.
    std::function<void(std::string_view)> on_trouble{};
  };
  /// Checks the file, then brings its schema up to date. A file that is damaged, foreign or of a
  /// newer schema is left as it was.
  static Result<std::unique_ptr<SqliteRecords>> open(const Options& options);
  ~SqliteRecords() override;

  Status create_user(const User& user) override;
  Result<std::vector<User>> users() override;
  Status new_token(const Token& token) override;
  Result<Joined> join(const JoinRequest& request) override;
  Result<Node> find_node(const NodeId& id) override;
  Result<std::string> network_name(const NetworkId& network) override;
  Result<std::vector<Node>> nodes(const NetworkId& network) override;
  Result<std::string> rename(const NodeId& id, std::string_view wished) override;
  Result<Node> remove(const NodeId& id, WallTime now) override;
  Status touch(std::span<const Seen> seen) override;
  Result<std::map<NetworkId, CreditAccount>> credit(std::span<const ReceiptClaim> claims,
                                                    const CreditTerms& terms) override;
  Result<CreditAccount> find_account(const NetworkId& network) override;
  Result<std::uint64_t> lent_by(const NodeId& node) override;
  Result<bool> poll_foreign_change() override;

 private:
  class Impl;
  explicit SqliteRecords(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace openp2p::server
