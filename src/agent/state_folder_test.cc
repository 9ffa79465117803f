#include "agent/state_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/test_folder.h"

namespace openp2p::agent {
namespace {

namespace fs = std::filesystem;

/// A state folder that is not there yet.
class StateFolderTest : public testing::Test {
 protected:
  std::unique_ptr<StateFolder> open() {
    auto folder = StateFolder::open(path_);
    EXPECT_TRUE(folder) << folder.error().text;
    return folder ? std::move(*folder) : nullptr;
  }
  void put(const std::string& name, std::string_view content, mode_t mode = 0600) {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
    ::chmod((path_ + "/" + name).c_str(), mode);
  }
  std::string get(const std::string& name) {
    std::ifstream in(path_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  mode_t mode_of(const std::string& name) {
    struct stat info {};
    EXPECT_EQ(::lstat((path_ + "/" + name).c_str(), &info), 0) << name;
    return info.st_mode & 07777;
  }

  const TestFolder folder_;
  const std::string root_ = folder_.path();
  const std::string path_ = root_ + "/a/state";
};

/// A state whose every field depends on `number`, and large enough that writing it takes a while.
AgentState state_number(unsigned number) {
  AgentState state;
  state.node_name = "node" + std::to_string(number);
  state.accepts.assign(kAcceptsMax, "a-host-with-a-long-name" + std::to_string(number) + ":1");
  return state;
}

bool is_whole(const AgentState& state) {
  if (!state.node_name.starts_with("node") || state.accepts.size() != kAcceptsMax) return false;
  const std::string accept = "a-host-with-a-long-name" + state.node_name.substr(4) + ":1";
  return std::all_of(state.accepts.begin(), state.accepts.end(),
                     [&](const std::string& text) { return text == accept; });
}

/// Runs `body` in a child process; its result is the child's exit code.
pid_t spawn(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  return child;
}

int exit_code_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(StateFolderTest, IsPrivateToItsOwner) {
  ::umask(0);
  const auto folder = open();
  SystemSecrets secrets;

  ASSERT_TRUE(folder->store_key(IdentityKey::generate(secrets)));
  ASSERT_TRUE(folder->save_state({}));
  ::umask(022);

  EXPECT_EQ(mode_of(""), 0700u);
  EXPECT_EQ(mode_of("key"), 0600u);
  EXPECT_EQ(mode_of("state.json"), 0600u);
  EXPECT_EQ(mode_of("lock"), 0600u);
}

TEST_F(StateFolderTest, RepairsTheModeOfTheFolder) {
  fs::create_directories(path_);
  ::chmod(path_.c_str(), 0755);

  const auto folder = open();

  EXPECT_EQ(mode_of(""), 0700u);
}

TEST_F(StateFolderTest, RemembersWhatItIsToldOfPeersAndKeepsItPrivate) {
  const Bytes peers = to_bytes(as_bytes("whatever a cache writes"));
  {
    const auto folder = open();
    EXPECT_FALSE(*folder->load_peers());
    ASSERT_TRUE(folder->save_peers(peers));
  }
  EXPECT_EQ(mode_of("peers"), 0600u);

  const auto folder = open();

  EXPECT_EQ(*folder->load_peers(), peers);
  EXPECT_FALSE(*folder->load_state());
}

TEST_F(StateFolderTest, RemembersKeyAndState) {
  SystemSecrets secrets;
  const IdentityKey key = IdentityKey::generate(secrets);
  {
    const auto folder = open();
    EXPECT_FALSE(*folder->load_key());
    EXPECT_FALSE(*folder->load_state());
    ASSERT_TRUE(folder->store_key(key));
    ASSERT_TRUE(folder->save_state(state_number(3)));
  }

  const auto folder = open();

  EXPECT_EQ((*folder->load_key())->id(), key.id());
  EXPECT_EQ((*folder->load_state())->node_name, "node3");
}

TEST_F(StateFolderTest, NeverReplacesAKey) {
  const auto folder = open();
  SystemSecrets secrets;
  const IdentityKey key = IdentityKey::generate(secrets);
  ASSERT_TRUE(folder->store_key(key));

  EXPECT_FALSE(folder->store_key(IdentityKey::generate(secrets)));
  EXPECT_EQ((*folder->load_key())->id(), key.id());
}

TEST_F(StateFolderTest, RefusesASecondAgentAndNamesTheFirst) {
  const auto first = open();

  const auto second = StateFolder::open(path_);

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, StateFailure::Kind::kBusy);
  EXPECT_NE(second.error().text.find("process " + std::to_string(::getpid())), std::string::npos);
}

TEST_F(StateFolderTest, IsFreeAgainAfterKill) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t child = spawn([&] {
    const auto folder = StateFolder::open(path_);
    if (!folder || ::write(ends[1], "x", 1) != 1) return 1;
    for (;;) ::pause();
  });
  char byte = 0;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);
  EXPECT_FALSE(StateFolder::open(path_));

  ::kill(child, SIGKILL);
  exit_code_of(child);

  EXPECT_TRUE(StateFolder::open(path_));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(StateFolderTest, RefusesAFolderOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  fs::create_directories(path_);
  ASSERT_EQ(::chown(path_.c_str(), 12'345, 12'345), 0);

  const auto folder = StateFolder::open(path_);

  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().kind, StateFailure::Kind::kPermission);
  EXPECT_NE(folder.error().text.find("12345"), std::string::npos);
}

TEST_F(StateFolderTest, RefusesAKeyThatOthersCanRead) {
  const auto folder = open();
  put("key", std::string(32, 'k'), 0644);

  const auto key = folder->load_key();

  ASSERT_FALSE(key);
  EXPECT_NE(key.error().text.find("chmod 600 " + path_ + "/key"), std::string::npos);
}

TEST_F(StateFolderTest, RefusesAKeyOfAWrongSize) {
  const auto folder = open();
  for (const std::size_t size : {0, 31, 33, 5'000}) {
    put("key", std::string(size, 'k'));
    const auto key = folder->load_key();
    ASSERT_FALSE(key) << size;
    EXPECT_NE(key.error().text.find("rm " + path_ + "/key"), std::string::npos);
    EXPECT_EQ(get("key").size(), size);
  }
}

TEST_F(StateFolderTest, LeavesADamagedStateAlone) {
  const auto folder = open();
  put("state.json", "{\"schema\": 1,");

  const auto state = folder->load_state();

  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().kind, StateFailure::Kind::kCorrupt);
  EXPECT_NE(state.error().text.find(path_ + "/state.json:1:14"), std::string::npos)
      << state.error().text;
  EXPECT_EQ(get("state.json"), "{\"schema\": 1,");
}

TEST_F(StateFolderTest, FollowsNoLinks) {
  const auto folder = open();
  const std::string victim = root_ + "/victim";
  std::ofstream(victim) << "precious";
  fs::create_symlink(victim, path_ + "/state.json.new");
  fs::create_symlink(victim, path_ + "/key");

  EXPECT_FALSE(folder->load_key());
  ASSERT_TRUE(folder->save_state({}));
  fs::remove(path_ + "/state.json");
  fs::create_symlink(victim, path_ + "/state.json");
  EXPECT_FALSE(folder->load_state());
  ASSERT_TRUE(folder->save_state({}));

  std::ifstream in(victim);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "precious");
  EXPECT_FALSE(fs::is_symlink(path_ + "/state.json"));
}

TEST_F(StateFolderTest, RefusesALockThatIsALink) {
  open().reset();
  fs::remove(path_ + "/lock");
  std::ofstream(root_ + "/victim") << "precious";
  fs::create_symlink(root_ + "/victim", path_ + "/lock");

  EXPECT_FALSE(StateFolder::open(path_));
  EXPECT_EQ(fs::file_size(root_ + "/victim"), 8u);
}

TEST_F(StateFolderTest, DoesNotWaitForAFifo) {
  const auto folder = open();
  ASSERT_EQ(::mkfifo((path_ + "/state.json").c_str(), 0600), 0);

  const auto state = folder->load_state();

  ASSERT_FALSE(state);
  EXPECT_NE(state.error().text.find("regular"), std::string::npos);
}

TEST_F(StateFolderTest, SurvivesKillAtAnyMoment) {
  for (unsigned round = 1; round <= 40; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const pid_t child = spawn([&] {
      const auto folder = StateFolder::open(path_);
      if (!folder) return 1;
      for (unsigned number = 0;; ++number) {
        if (!(*folder)->save_state(state_number(number))) return 2;
        if (::write(ends[1], &number, sizeof number) != sizeof number) return 3;
      }
    });
    unsigned saved = 0;
    for (unsigned count = 0; count < round % 7 + 1; ++count) {
      ASSERT_EQ(::read(ends[0], &saved, sizeof saved), static_cast<ssize_t>(sizeof saved));
    }

    ::kill(child, SIGKILL);
    ASSERT_EQ(exit_code_of(child), 128 + SIGKILL);

    const auto folder = open();
    const auto state = folder->load_state();
    ASSERT_TRUE(state) << state.error().text;
    ASSERT_TRUE(*state);
    EXPECT_TRUE(is_whole(**state));
    EXPECT_GE(std::stoul((*state)->node_name.substr(4)), saved);  // What was acknowledged is there.
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

/// Saves a state that does not fit, in a folder that holds a smaller one; 0 if all is as promised.
int save_too_much(const std::string& path) {
  const auto folder = StateFolder::open(path);
  if (!folder) return 1;
  AgentState small;
  small.node_name = "small";
  if (!(*folder)->save_state(small)) return 2;
  const auto saved = (*folder)->save_state(state_number(1));
  if (saved || saved.error().kind != StateFailure::Kind::kDisk) return 3;
  const auto state = (*folder)->load_state();
  if (!state || !*state || (*state)->node_name != "small") return 4;
  if (fs::exists(path + "/state.json.new")) return 5;
  return (*folder)->save_state(small) ? 0 : 6;
}

TEST_F(StateFolderTest, KeepsTheOldStateAtTheFileSizeLimit) {
  const pid_t child = spawn([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4'096, 4'096};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
    return save_too_much(path_);
  });
  EXPECT_EQ(exit_code_of(child), 0);
}

constexpr int kNoNamespace = 77;

/// Makes this process root of its own user and mount namespace.
bool enter_namespace() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  const auto put = [](const char* file, const std::string& text) {
    const int out = ::open(file, O_WRONLY | O_CLOEXEC);
    const bool done = ::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(out);
    return done;
  };
  return put("/proc/self/uid_map", "0 " + std::to_string(user) + " 1") &&
         put("/proc/self/setgroups", "deny") &&
         put("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
}

TEST_F(StateFolderTest, KeepsTheOldStateOnAFullDisk) {
  const std::string disk = root_ + "/disk";
  fs::create_directories(disk);
  const pid_t child = spawn([&] {
    if (!enter_namespace()) return kNoNamespace;
    if (::mount("none", disk.c_str(), "tmpfs", 0, "size=16k,mode=0777") != 0) return kNoNamespace;
    return save_too_much(disk);
  });
  const int code = exit_code_of(child);
  if (code == kNoNamespace) GTEST_SKIP() << "user namespaces are not allowed here";
  EXPECT_EQ(code, 0);
}

TEST_F(StateFolderTest, StoresNothingThatItCouldNotReadAgain) {
  const auto folder = open();
  ASSERT_TRUE(folder->save_state(state_number(1)));
  AgentState bad = state_number(2);
  bad.node_name = "a\x1b[2J";

  EXPECT_FALSE(folder->save_state(bad));
  EXPECT_EQ((*folder->load_state())->node_name, "node1");
}

TEST_F(StateFolderTest, ReportsAPathThatCannotBe) {
  std::ofstream(root_ + "/file") << "x";
  const auto folder = StateFolder::open(root_ + "/file/state");
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().text.find(root_ + "/file"), std::string::npos);
}

}  // namespace
}  // namespace openp2p::agent
