#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "server/test_sqlite.h"

/// What the file promises when the process is killed, the disk is full or the log is torn.
namespace openp2p::server {
namespace {

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

}  // namespace
}  // namespace openp2p::server
