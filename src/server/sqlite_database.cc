#include "server/sqlite_database.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace openp2p::server {
namespace {

/// "OP2P" in the file's header (PRAGMA application_id): a foreign database is not touched.
constexpr long long kApplicationId = 0x4f503250;

/// How long a writer waits for another process's. Commands hold the lock for milliseconds.
constexpr const char* kBusyTimeoutMs = "5000";

constexpr Migration kMigrations[] = {
    // Times are microseconds since 1970 UTC, and 0 stands for never; keys and hashes are
    // hexadecimal.
    {R"sql(
CREATE TABLE networks (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  created_at_us BIGINT NOT NULL
);
CREATE TABLE users (
  email TEXT PRIMARY KEY NOT NULL,
  password_hash TEXT NOT NULL,
  network_id TEXT NOT NULL REFERENCES networks (id),
  created_at_us BIGINT NOT NULL
);
CREATE TABLE tokens (
  secret_sha256 TEXT PRIMARY KEY NOT NULL,
  email TEXT NOT NULL REFERENCES users (email),
  network_id TEXT NOT NULL REFERENCES networks (id),
  is_reusable INTEGER NOT NULL,
  created_at_us BIGINT NOT NULL,
  expires_at_us BIGINT NOT NULL,
  used_at_us BIGINT NOT NULL DEFAULT 0,
  used_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX tokens_by_email ON tokens (email);
CREATE TABLE nodes (
  node_key TEXT PRIMARY KEY NOT NULL,
  network_id TEXT NOT NULL REFERENCES networks (id),
  name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  version TEXT NOT NULL,
  platform TEXT NOT NULL,
  joined_at_us BIGINT NOT NULL,
  seen_at_us BIGINT NOT NULL,
  removed_at_us BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX nodes_by_name ON nodes (network_id, name_key) WHERE removed_at_us = 0;
)sql"},
    // What receipts show: of allocations while new ones may come, and in all. A step is that of the
    // ticket, 30 s of the server's time.
    {R"sql(
ALTER TABLE nodes ADD COLUMN lent_bytes BIGINT NOT NULL DEFAULT 0;
CREATE TABLE credits (
  network_id TEXT PRIMARY KEY NOT NULL REFERENCES networks (id),
  lent_bytes BIGINT NOT NULL,
  borrowed_bytes BIGINT NOT NULL,
  paid_bytes BIGINT NOT NULL,
  free_bytes BIGINT NOT NULL,
  free_month INTEGER NOT NULL
);
CREATE TABLE relay_allocations (
  allocation TEXT PRIMARY KEY NOT NULL,
  ticket_step BIGINT NOT NULL,
  lower_bytes BIGINT NOT NULL,
  higher_bytes BIGINT NOT NULL
);
CREATE INDEX relay_allocations_by_step ON relay_allocations (ticket_step);
)sql"},
};

/// Made by us and not by SQLite, so that it is readable by its owner only; its companions (-wal,
/// -shm) follow its mode. A file that is there is not even opened: closing it again would drop the
/// locks (fcntl(2)) that another connection of this process has on it.
void create_file(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor >= 0) {
    ::close(descriptor);
  } else if (errno != EEXIST) {
    throw RecordsFailure{StoreError::kUnavailable};
  }
}

std::string connect_string(const SqliteRecords::Options& options) {
  if (options.may_create) create_file(options.file);
  if (!std::filesystem::exists(options.file)) throw RecordsFailure{StoreError::kUnavailable};
  const std::string path = options.file.string();
  // SOCI's connect string cannot quote a quote.
  if (path.find('"') != std::string::npos) throw RecordsFailure{StoreError::kUnavailable};
  return "db=\"" + path + "\"";
}

}  // namespace

std::span<const Migration> all_migrations() { return kMigrations; }

SqliteDatabase::SqliteDatabase(const SqliteRecords::Options& options)
    : on_trouble_(options.on_trouble), sql_(soci::sqlite3, connect_string(options)) {
  execute(std::string("PRAGMA busy_timeout = ") + kBusyTimeoutMs);
  check_ownership();
  if (options.checks_integrity) check_integrity();
  check_version(options.migrations.size());
  execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  migrate(options.migrations);
}

sqlite_api::sqlite3* SqliteDatabase::handle() {
  return static_cast<soci::sqlite3_session_backend*>(sql_.get_backend())->conn_;
}

void SqliteDatabase::execute(const std::string& statements) {
  const int result =
      sqlite_api::sqlite3_exec(handle(), statements.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) {
    throw soci::sqlite3_soci_error(sqlite_api::sqlite3_errmsg(handle()), result);
  }
}

long long SqliteDatabase::number(const std::string& query) {
  long long value = 0;
  sql_ << query, soci::into(value);
  return value;
}

void SqliteDatabase::check_ownership() {
  if (number("PRAGMA application_id") == kApplicationId) return;
  if (number("SELECT count(*) FROM sqlite_master") != 0) {
    throw RecordsFailure{StoreError::kForeign};
  }
}

void SqliteDatabase::check_integrity() {
  std::string finding;
  sql_ << "PRAGMA integrity_check(1)", soci::into(finding);
  if (finding == "ok") return;
  if (on_trouble_) on_trouble_(finding);
  throw RecordsFailure{StoreError::kCorrupt};
}

std::size_t SqliteDatabase::version() {
  if (number("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'") == 0) return 0;
  return static_cast<std::size_t>(number("SELECT coalesce(max(number), 0) FROM migrations"));
}

void SqliteDatabase::check_version(std::size_t known) {
  if (version() > known) throw RecordsFailure{StoreError::kSchemaNewer};
}

void SqliteDatabase::migrate(std::span<const Migration> migrations) {
  for (;;) {
    Transaction transaction(*this);
    const std::size_t done = version();  // Again: another process may have been faster.
    if (done >= migrations.size()) return;
    if (done == 0) {
      execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY NOT NULL)");
      execute("PRAGMA application_id = " + std::to_string(kApplicationId));
    }
    execute(migrations[done].statements);
    execute("INSERT INTO migrations (number) VALUES (" + std::to_string(done + 1) + ")");
    transaction.commit();
  }
}

StoreError SqliteDatabase::translate(const std::exception& failure) {
  if (on_trouble_) on_trouble_(failure.what());
  const auto* from_sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&failure);
  const int code = from_sqlite ? from_sqlite->result() : sqlite_api::sqlite3_errcode(handle());
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return StoreError::kCorrupt;
    default:
      return StoreError::kUnavailable;
  }
}

Transaction::Transaction(SqliteDatabase& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!is_open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const std::exception&) {
    // SQLite has rolled back by itself, as it does when the disk fails.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  is_open_ = false;
}

}  // namespace openp2p::server
