#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "server/sqlite_records.h"
#include "server/test_folder.h"

/// What the file promises when the process, the disk or the file itself fails.
namespace openp2p::server {
namespace {

namespace fs = std::filesystem;

constexpr WallTime kNow{1'800'000'000'000'000};

NodeId node_id(std::uint32_t number) {
  NodeId id;
  std::memcpy(id.key.data(), &number, sizeof number);
  id.key[31] = std::byte{7};
  return id;
}

Digest secret(std::uint32_t number) {
  return sha256(std::as_bytes(std::span<const std::uint32_t>(&number, 1)));
}

std::unique_ptr<SqliteRecords> open_or_die(const fs::path& file) {
  auto opened = SqliteRecords::open({.file = file, .checks_integrity = true});
  CHECK(opened);
  return std::move(*opened);
}

void add_user(Records& records) {
  const User user{.email = "admin",
                  .password_hash = "",
                  .network = {},
                  .network_name = "home",
                  .created_at = kNow};
  ASSERT_TRUE(records.create_user(user));
}

void add_token(Records& records, std::uint32_t number, bool is_reusable = false) {
  const Token token{.secret_hash = secret(number),
                    .email = "admin",
                    .is_reusable = is_reusable,
                    .created_at = kNow,
                    .expires_at = {}};
  ASSERT_TRUE(records.new_token(token));
}

Result<Joined> join(Records& records, std::uint32_t token, std::uint32_t node) {
  return records.join({.secret_hash = secret(token),
                       .node = node_id(node),
                       .name = "node" + std::to_string(node),
                       .version = "1",
                       .platform = "p",
                       .now = kNow});
}

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, std::string_view content) {
  std::ofstream(file, std::ios::binary) << content;
}

std::error_code open_error(const fs::path& file) {
  const auto opened = SqliteRecords::open({.file = file});
  return opened ? std::error_code() : opened.error();
}

/// Joins with one token after another, and writes a token's number to `acknowledged` once it is in.
[[noreturn]] void join_until_killed(const fs::path& file, std::uint32_t node_base,
                                    std::uint32_t token_count, int acknowledged) {
  const auto records = open_or_die(file);
  for (std::uint32_t token = 0; token < token_count; ++token) {
    if (!join(*records, token, node_base + token)) continue;
    if (::write(acknowledged, &token, sizeof token) != sizeof token) break;
  }
  ::_exit(0);
}

struct Child {
  pid_t pid = 0;
  int acknowledged = -1;
  std::uint32_t node_base = 0;
};

Child start_child(const fs::path& file, std::uint32_t node_base, std::uint32_t token_count) {
  int ends[2];
  CHECK(::pipe(ends) == 0);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    ::close(ends[0]);
    join_until_killed(file, node_base, token_count, ends[1]);
  }
  ::close(ends[1]);
  return {.pid = pid, .acknowledged = ends[0], .node_base = node_base};
}

/// Reads acknowledgements until `count` came or the child ends.
std::vector<std::uint32_t> read_acknowledged(const Child& child, std::size_t count) {
  std::vector<std::uint32_t> tokens;
  std::uint32_t token = 0;
  while (tokens.size() < count &&
         ::read(child.acknowledged, &token, sizeof token) == sizeof token) {
    tokens.push_back(token);
  }
  return tokens;
}

TEST(SqliteRecords, LosesNothingAcknowledgedToKillAndSpendsATokenOnce) {
  constexpr std::uint32_t kTokens = 200;
  Random random(1);
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    TestFolder folder;
    const fs::path file = folder.path() / "records.db";
    {
      const auto records = open_or_die(file);
      add_user(*records);
      for (std::uint32_t i = 0; i < kTokens; ++i) add_token(*records, i);
    }

    // Two processes race for the same tokens; each is killed at a random moment.
    std::vector<Child> children = {start_child(file, 10'000, kTokens),
                                   start_child(file, 20'000, kTokens)};
    std::map<std::uint32_t, std::uint32_t> owner;  // By token: the node that was told it is in.
    for (Child& child : children) {
      auto tokens = read_acknowledged(child, random.below(kTokens / 3));
      ::kill(child.pid, SIGKILL);
      ::waitpid(child.pid, nullptr, 0);
      for (const auto late : read_acknowledged(child, kTokens)) tokens.push_back(late);
      ::close(child.acknowledged);
      for (const auto token : tokens) {
        EXPECT_TRUE(owner.emplace(token, child.node_base + token).second) << "spent twice";
      }
    }

    const auto records = open_or_die(file);
    for (const auto& [token, node] : owner) {
      EXPECT_TRUE(records->find_node(node_id(node))) << "token " << token;
    }
    for (std::uint32_t token = 0; token < kTokens; ++token) {
      const bool first = static_cast<bool>(records->find_node(node_id(10'000 + token)));
      const bool second = static_cast<bool>(records->find_node(node_id(20'000 + token)));
      EXPECT_FALSE(first && second) << "token " << token;
      const bool is_fresh = static_cast<bool>(join(*records, token, 30'000 + token));
      EXPECT_NE(is_fresh, first || second) << "spent if and only if somebody is in";
    }
  }
}

/// A limit on the size of files stands for a full disk: writes fail in the middle of a page.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    CHECK(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    CHECK(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
};

TEST(SqliteRecords, SaysSoOnAFullDiskAndGoesOnWhenThereIsSpace) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const auto records = open_or_die(file);
  add_user(*records);
  add_token(*records, 0, /*is_reusable=*/true);
  add_token(*records, 1);

  std::uint32_t joined = 0;
  {
    const FullDisk full(200'000);
    while (join(*records, 0, joined)) {
      ++joined;
      ASSERT_LT(joined, 900U) << "the disk never got full";
    }
    EXPECT_EQ(join(*records, 0, joined).error(), make_error_code(StoreError::kUnavailable));
    EXPECT_EQ(join(*records, 1, 5'000).error(), make_error_code(StoreError::kUnavailable));
    EXPECT_TRUE(records->find_node(node_id(0)));  // Reading goes on.
  }

  EXPECT_TRUE(join(*records, 0, joined));
  EXPECT_TRUE(join(*records, 1, 5'000));  // What failed had spent nothing.
  EXPECT_EQ(records->nodes({})->size(), joined + 2);
}

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

TEST(SqliteRecords, RecoversFromATornWriteAheadLog) {
  TestFolder folder;
  const fs::path copy = folder.path() / "copy.db";
  std::string database, log;
  {
    const auto records = open_or_die(folder.path() / "records.db");
    add_user(*records);
    add_token(*records, 0, /*is_reusable=*/true);
    ASSERT_TRUE(join(*records, 0, 1));
    log = read_file(folder.path() / "records.db-wal");
    ASSERT_TRUE(join(*records, 0, 2));
    database = read_file(folder.path() / "records.db");
    log = read_file(folder.path() / "records.db-wal");
  }

  // The last page of the log did not reach the disk whole: the join that it carried never happened.
  write_file(copy, database);
  write_file(fs::path(copy) += "-wal", log.substr(0, log.size() - 2'000));
  const auto records = open_or_die(copy);

  EXPECT_TRUE(records->find_node(node_id(1)));
  EXPECT_FALSE(records->find_node(node_id(2)));
  EXPECT_TRUE(join(*records, 0, 2));
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

/// Nodes 1 and 2 of "admin" borrow of node 3 of "b@example.org".
void add_pair_and_relay(Records& records) {
  add_user(records);
  add_token(records, 0, /*is_reusable=*/true);
  ASSERT_TRUE(records.create_user({.email = "b@example.org",
                                   .password_hash = "",
                                   .network = {std::byte{2}},
                                   .network_name = "b",
                                   .created_at = kNow}));
  ASSERT_TRUE(records.new_token({.secret_hash = secret(1),
                                 .email = "b@example.org",
                                 .is_reusable = true,
                                 .created_at = kNow,
                                 .expires_at = {}}));
  ASSERT_TRUE(join(records, 0, 1));
  ASSERT_TRUE(join(records, 0, 2));
  ASSERT_TRUE(join(records, 1, 3));
}

Status claim_bytes(Records& records, std::uint64_t bytes) {
  const ReceiptClaim claim{.allocation = {std::byte{1}},
                           .relay = node_id(3),
                           .lower = node_id(1),
                           .higher = node_id(2),
                           .claims = {.step = 1, .lower_bytes = bytes, .higher_bytes = bytes}};
  const auto credited =
      records.credit({&claim, 1}, {.allowance_bytes = kCreditBytesMax, .month = 1});
  return credited ? Status() : Status(credited.error());
}

std::uint64_t lent(Records& records) { return records.find_account({std::byte{2}})->lent_bytes; }

TEST(SqliteRecords, CountsCreditsExactlyOnceAcrossKills) {
  Random random(7);
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  add_pair_and_relay(*open_or_die(file));
  std::uint32_t acknowledged = 0;
  for (int round = 0; round < 6; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {  // The relay sends everything again from its first receipt on.
      const auto records = open_or_die(file);
      for (std::uint32_t bytes = 1;; ++bytes) {
        if (!claim_bytes(*records, bytes)) ::_exit(1);
        if (::write(ends[1], &bytes, sizeof bytes) != sizeof bytes) ::_exit(0);
      }
    }
    const Child child{.pid = pid, .acknowledged = ends[0]};
    ::close(ends[1]);
    for (const std::uint32_t bytes : read_acknowledged(child, 20 + random.below(150))) {
      acknowledged = std::max(acknowledged, bytes);
    }
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    for (const std::uint32_t bytes : read_acknowledged(child, SIZE_MAX)) {
      acknowledged = std::max(acknowledged, bytes);
    }
    ::close(ends[0]);

    const auto records = open_or_die(file);
    const std::uint64_t counted = lent(*records);
    EXPECT_GE(counted, 2ULL * acknowledged) << "what was acknowledged is on the disk";
    EXPECT_LE(counted, 2ULL * acknowledged + 2) << "and at most the one that was under way";
    EXPECT_EQ(records->find_account({})->borrowed_bytes, counted) << "both sides, or neither";
    EXPECT_EQ(*records->lent_by(node_id(3)), counted);
  }
}

TEST(SqliteRecords, CreditsNothingOnAFullDiskAndAllOfItLater) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const auto records = open_or_die(file);
  add_pair_and_relay(*records);
  ASSERT_TRUE(claim_bytes(*records, 10));
  {
    const FullDisk full(1);
    EXPECT_EQ(claim_bytes(*records, 50).error(), make_error_code(StoreError::kUnavailable));
    EXPECT_EQ(lent(*records), 20U);
  }
  EXPECT_TRUE(claim_bytes(*records, 50));
  EXPECT_EQ(lent(*records), 100U);
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

TEST(SqliteRecords, NoticesWhatAnotherProcessChanged) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const auto server = open_or_die(file);
  const auto command = open_or_die(file);
  EXPECT_FALSE(*server->poll_foreign_change());

  add_user(*command);

  EXPECT_TRUE(*server->poll_foreign_change());
  EXPECT_FALSE(*server->poll_foreign_change());
}

TEST(SqliteRecords, ShowsEveryCallToOtherConnectionsAtOnce) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  const auto server = open_or_die(file);
  const auto command = open_or_die(file);
  add_user(*server);
  add_token(*server, 0, /*is_reusable=*/true);

  for (std::uint32_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(join(*server, 0, i));
    EXPECT_TRUE(command->find_node(node_id(i))) << i;
    const std::vector<Seen> seen = {
        {.node = node_id(i), .at = {kNow.us + i}, .version = "2", .platform = "p"}};
    ASSERT_TRUE(server->touch(seen));
    EXPECT_EQ(command->find_node(node_id(i))->seen_at.us, kNow.us + i);
    ASSERT_TRUE(server->find_node(node_id(i)));
    ASSERT_TRUE(server->nodes({}));
    ASSERT_TRUE(server->network_name({}));
    ASSERT_TRUE(server->poll_foreign_change());
    ASSERT_TRUE(server->rename(node_id(i), "new" + std::to_string(i)));
    EXPECT_EQ(command->find_node(node_id(i))->name, "new" + std::to_string(i));
  }
}

/// A process in which commands run: opens, looks for a node, closes. It is forked before the parent
/// has opened anything, since SQLite's connections do not survive a fork.
class CommandProcess {
 public:
  explicit CommandProcess(const fs::path& file) {
    int to[2], from[2];
    CHECK(::pipe(to) == 0 && ::pipe(from) == 0);
    pid_ = ::fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ::close(to[1]);
      serve(file, to[0], from[1]);
    }
    ::close(to[0]);
    ::close(from[1]);
    ask_ = to[1];
    answer_ = from[0];
  }
  ~CommandProcess() {
    ::close(ask_);
    ::close(answer_);
    ::waitpid(pid_, nullptr, 0);
  }
  CommandProcess(const CommandProcess&) = delete;
  CommandProcess& operator=(const CommandProcess&) = delete;

  bool finds(std::uint32_t node) {
    char found = 0;
    CHECK(::write(ask_, &node, sizeof node) == sizeof node && ::read(answer_, &found, 1) == 1);
    return found != 0;
  }

 private:
  [[noreturn]] static void serve(const fs::path& file, int ask, int answer) {
    std::uint32_t node = 0;
    while (::read(ask, &node, sizeof node) == sizeof node) {
      char found = 0;
      {
        const auto records = open_or_die(file);
        found = records->find_node(node_id(node)) ? 1 : 0;
      }
      CHECK(::write(answer, &found, 1) == 1);
    }
    ::_exit(0);
  }

  pid_t pid_ = 0;
  int ask_ = -1;
  int answer_ = -1;
};

/// A process that opens and closes the file behind SQLite's back loses SQLite's locks on it; then a
/// command that ends takes the write-ahead log away from the running server.
TEST(SqliteRecords, KeepsItsLocksWhenItIsOpenedTwiceInOneProcess) {
  TestFolder folder;
  const fs::path file = folder.path() / "records.db";
  CommandProcess command(file);
  const auto server = open_or_die(file);
  add_user(*server);
  add_token(*server, 0, /*is_reusable=*/true);
  open_or_die(file).reset();

  EXPECT_FALSE(command.finds(1));
  for (std::uint32_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(join(*server, 0, i));
    EXPECT_TRUE(command.finds(i)) << i;
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
