#include "server/data_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <fstream>

#include "base/test_folder.h"

namespace openp2p::server {
namespace {

namespace fs = std::filesystem;

class DataFolderTest : public testing::Test {
 protected:
  std::unique_ptr<DataFolder> open() {
    auto opened = DataFolder::open(path_);
    EXPECT_TRUE(opened) << opened.error().text;
    return opened ? std::move(*opened) : nullptr;
  }

  TestFolder parent_;
  fs::path path_ = parent_.path() / "deep" / "data";
  SystemSecrets secrets_;
};

TEST_F(DataFolderTest, MakesAPrivateFolderAndKeepsItsKey) {
  const auto key = open()->key(secrets_);
  ASSERT_TRUE(key);

  const auto again = open()->key(secrets_);

  ASSERT_TRUE(again);
  EXPECT_EQ(again->id(), key->id());
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(path_ / "key").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(path_), {}), 1);  // Nothing is left behind.
}

TEST_F(DataFolderTest, MakesAnOpenFolderPrivate) {
  fs::create_directories(path_);
  fs::permissions(path_, fs::perms::all);
  ASSERT_NE(open(), nullptr);
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_all);
}

TEST_F(DataFolderTest, LetsOneServerInAndManyCommands) {
  const auto server = open();
  const auto command = open();
  ASSERT_TRUE(server->lock());

  const auto second = command->lock();

  ASSERT_FALSE(second);
  EXPECT_NE(second.error().text.find("another openp2p-server"), std::string::npos);
  EXPECT_TRUE(command->key(secrets_));
}

TEST_F(DataFolderTest, LeavesADamagedKeyAlone) {
  auto folder = open();
  std::ofstream(path_ / "key") << "half a key";

  const auto key = folder->key(secrets_);

  ASSERT_FALSE(key);
  EXPECT_NE(key.error().text.find("damaged"), std::string::npos);
  EXPECT_EQ(fs::file_size(path_ / "key"), 10U);
}

TEST_F(DataFolderTest, FollowsNoLinkToAKey) {
  auto folder = open();
  std::ofstream(parent_.path() / "elsewhere") << std::string(32, 'k');
  fs::create_symlink(parent_.path() / "elsewhere", path_ / "key");
  EXPECT_FALSE(folder->key(secrets_));
}

TEST_F(DataFolderTest, SaysSoOnAFullDiskAndLeavesNoHalfKey) {
  auto folder = open();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 8, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto failed = folder->key(secrets_);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);

  EXPECT_FALSE(failed);
  EXPECT_FALSE(fs::exists(path_ / "key"));
  EXPECT_TRUE(folder->key(secrets_));
}

TEST_F(DataFolderTest, RemembersAddressesAndIgnoresWhatIsNone) {
  auto folder = open();
  EXPECT_TRUE(folder->load_addresses().empty());
  ASSERT_TRUE(folder->save_addresses({"a.example:1", "[::1]:2"}));
  EXPECT_EQ(folder->load_addresses(), (std::vector<std::string>{"a.example:1", "[::1]:2"}));

  std::ofstream(path_ / "addresses") << "\x1b[2J\na.example:1\nnonsense\n";
  EXPECT_EQ(folder->load_addresses(), std::vector<std::string>{"a.example:1"});
}

TEST_F(DataFolderTest, SaysWhereItCannotBe) {
  const auto opened = DataFolder::open("/dev/null/data");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find("/dev/null/data"), std::string::npos);
}

}  // namespace
}  // namespace openp2p::server
