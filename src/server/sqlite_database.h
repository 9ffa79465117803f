#pragma once

#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <exception>
#include <string>

#include "server/sqlite_records.h"

/// SQLite through SOCI, for sqlite_*.cc only: nothing else includes this, or sees an exception of
/// it.
namespace openp2p::server {

/// What ends a piece of work early with an error of ours.
struct RecordsFailure {
  StoreError error;
};

/// What we wrote ourselves and cannot read is damage.
template <std::size_t kSize>
std::array<std::byte, kSize> from_column(const std::string& text) {
  std::array<std::byte, kSize> value;
  if (!from_hex(text, value)) throw RecordsFailure{StoreError::kCorrupt};
  return value;
}

class SqliteDatabase {
 public:
  explicit SqliteDatabase(const SqliteRecords::Options& options);  ///< Throws.

  soci::session& sql() { return sql_; }
  void execute(const std::string& statements);  ///< Throws. For fixed text only, never for values.
  long long number(const std::string& query);   ///< The one number that it gives. Throws.

  /// Calls `work`, and turns whatever it throws into an error. T is a Result.
  template <class Work>
  auto attempt(Work work) -> decltype(work()) {
    try {
      return work();
    } catch (const RecordsFailure& failure) {
      return failure.error;
    } catch (const std::exception& failure) {
      return translate(failure);
    }
  }

 private:
  StoreError translate(const std::exception& failure);
  void check_ownership();
  void check_integrity();
  void check_version(std::size_t known);
  std::size_t version();
  void migrate(std::span<const Migration> migrations);
  sqlite_api::sqlite3* handle();

  std::function<void(std::string_view)> on_trouble_;
  soci::session sql_;
};

/// BEGIN IMMEDIATE, so that a writer waits for another one here and not, in vain, in the middle.
/// Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(SqliteDatabase& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  SqliteDatabase& database_;
  bool is_open_ = true;
};

}  // namespace openp2p::server
