#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "server/test_sqlite.h"

/// What several processes see of one file: the server, and commands beside it.
namespace openp2p::server {
namespace {

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

}  // namespace
}  // namespace openp2p::server
