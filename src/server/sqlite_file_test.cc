#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/test_sqlite.h"

/// Which files are opened, brought up to date, or left as they are.
namespace openp2p::server {
namespace {

TEST(SqliteRecords, RefusesADamagedFileAndLeavesItAsItIs) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  {
    const auto records = open_or_die(file);
    add_user(*records);
    add_token(*records, 0, /*is_reusable=*/true);
    for (std::uint32_t i = 0; i < 200; ++i) ASSERT_TRUE(join(*records, 0, i));
  }
  const std::string whole = read_file(file);
  ASSERT_GT(whole.size(), 8U * 4'096);

  for (const std::size_t at : {std::size_t{0}, std::size_t{4'096}, whole.size() - 4'096}) {
    std::string torn = whole;
    torn.replace(at, 4'096, std::string(4'096, '\x5a'));
    write_file(file, torn);
    EXPECT_EQ(open_error(file), make_error_code(StoreError::kCorrupt)) << at;
    EXPECT_TRUE(read_file(file) == torn) << at;
  }
  const std::string half = whole.substr(0, whole.size() / 2);
  write_file(file, half);
  EXPECT_EQ(open_error(file), make_error_code(StoreError::kCorrupt));
  EXPECT_TRUE(read_file(file) == half);
  write_file(file, "This is no database, but somebody's letter that must not be lost.");
  EXPECT_EQ(open_error(file), make_error_code(StoreError::kCorrupt));
}

TEST(SqliteRecords, UpgradesAnOldSchemaAndRefusesANewerOne) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  std::vector<Migration> migrations(all_migrations().begin(), all_migrations().end());
  {
    const auto records = open_or_die(file);
    add_user(*records);
    add_token(*records, 0);
    ASSERT_TRUE(join(*records, 0, 1));
  }

  migrations.push_back(
      {"ALTER TABLE nodes ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'; "
       "CREATE TABLE colours (name TEXT PRIMARY KEY NOT NULL)"});
  for (int i = 0; i < 2; ++i) {  // Twice: a step runs once only.
    const auto newer = SqliteRecords::open({.file = file, .migrations = migrations});
    ASSERT_TRUE(newer) << newer.error().message();
    EXPECT_TRUE((*newer)->find_node(node_id(1)));
  }

  const std::string before = read_file(file);
  EXPECT_EQ(open_error(file), make_error_code(StoreError::kSchemaNewer));
  EXPECT_TRUE(read_file(file) == before);
}

TEST(SqliteRecords, UpgradesADatabaseFromBeforeCredits) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  {
    const auto before =
        SqliteRecords::open({.file = file, .migrations = all_migrations().first(1)});
    ASSERT_TRUE(before) << before.error().message();
    add_pair_and_relay(**before);
    EXPECT_FALSE((*before)->find_account({}));  // It has no such table.
  }
  const auto records = open_or_die(file);
  EXPECT_EQ(*records->find_account({}), CreditAccount{});
  EXPECT_EQ(*records->lent_by(node_id(3)), 0U);
  EXPECT_TRUE(claim_bytes(*records, 10));
  EXPECT_EQ(*records->lent_by(node_id(3)), 20U);
}

TEST(SqliteRecords, DoesNotTouchTheSchemaWhenAStepFails) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  add_user(*open_or_die(file));
  std::vector<Migration> migrations(all_migrations().begin(), all_migrations().end());
  migrations.push_back({"CREATE TABLE colours (name TEXT); CREATE TABLE nodes (x TEXT)"});

  EXPECT_FALSE(SqliteRecords::open({.file = file, .migrations = migrations}));

  EXPECT_EQ(open_or_die(file)->users()->size(), 1U);
  migrations.back() = {"CREATE TABLE colours (name TEXT)"};  // Not there yet, so this one works.
  EXPECT_TRUE(SqliteRecords::open({.file = file, .migrations = migrations}));
}

TEST(SqliteRecords, LeavesAForeignDatabaseAlone) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const std::vector<Migration> foreign = {{"CREATE TABLE letters (text TEXT)"}};
  { ASSERT_TRUE(SqliteRecords::open({.file = file, .migrations = foreign})); }
  std::string bytes = read_file(file);
  bytes.replace(68, 4, std::string(4, '\0'));  // The header's application id.
  write_file(file, bytes);

  EXPECT_EQ(open_error(file), make_error_code(StoreError::kForeign));
  EXPECT_TRUE(read_file(file) == bytes);
}

TEST(SqliteRecords, MakesItsFileReadableByItsOwnerOnly) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const auto records = open_or_die(file);
  add_user(*records);
  for (const char* ending : {"", "-wal", "-shm"}) {
    const fs::path one = file.string() + ending;
    EXPECT_EQ(fs::status(one).permissions(), fs::perms::owner_read | fs::perms::owner_write) << one;
  }
}

TEST(SqliteRecords, SaysSoWhereTheFileCannotBe) {
  EXPECT_EQ(open_error("/dev/null/records.db"), make_error_code(StoreError::kUnavailable));
  const auto missing =
      SqliteRecords::open({.file = "/nonexistent/records.db", .may_create = false});
  EXPECT_EQ(missing.error(), make_error_code(StoreError::kUnavailable));
}

}  // namespace
}  // namespace openp2p::server
