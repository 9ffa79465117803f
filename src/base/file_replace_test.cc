#include "base/file_replace.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/descriptor.h"
#include "base/test_folder.h"

namespace openp2p {
namespace {

namespace fs = std::filesystem;

class FileReplace : public testing::Test {
 protected:
  FilePlace place() const { return {folder_.number(), "file", "file.new"}; }
  std::string content(const char* name = "file") const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const char* name, const char* text) const { std::ofstream(path_ / name) << text; }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), {}));
  }

  const TestFolder test_folder_;
  const fs::path& path_ = test_folder_.path();
  const Descriptor folder_{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

TEST_F(FileReplace, PutsTheContentInPlaceOfWhatWasThere) {
  EXPECT_TRUE(replace_file(place(), as_bytes("old")));
  EXPECT_TRUE(replace_file(place(), as_bytes("new")));

  EXPECT_EQ(content(), "new");
  EXPECT_EQ(files(), 1U);
}

TEST_F(FileReplace, ACreatedFileIsNeverReplaced) {
  EXPECT_TRUE(create_file(place(), as_bytes("first")));

  const auto again = create_file(place(), as_bytes("second"));

  EXPECT_EQ(again.error(), std::errc::file_exists);
  EXPECT_EQ(content(), "first");
  EXPECT_EQ(files(), 1U);
}

TEST_F(FileReplace, FilesArePrivateWhateverTheUmask) {
  for (const mode_t mask : {0, 0777}) {
    const mode_t before = ::umask(mask);
    EXPECT_TRUE(replace_file(place(), as_bytes("secret")));
    ::umask(before);

    struct stat info {};
    ASSERT_EQ(::stat((path_ / "file").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
  }
}

TEST_F(FileReplace, NeitherTheNameNorTheTemporaryOneIsFollowed) {
  put("victim", "untouched");
  for (const char* name : {"file", "file.new"}) {
    fs::create_symlink(path_ / "victim", path_ / name);
    EXPECT_TRUE(replace_file(place(), as_bytes("mine")));
    EXPECT_EQ(content("victim"), "untouched");
    EXPECT_FALSE(fs::is_symlink(path_ / "file"));
    fs::remove(path_ / "file");
  }
}

TEST_F(FileReplace, WhatAKilledWriterLeftIsNoObstacle) {
  put("file.new", "half of it, and more than the new content has");

  EXPECT_TRUE(replace_file(place(), as_bytes("whole")));

  EXPECT_EQ(content(), "whole");
  EXPECT_EQ(files(), 1U);
}

/// A disk that is full in the middle of a write: the limit on file sizes gives the same error path.
TEST_F(FileReplace, AFailedWriteLeavesTheOldContentAndNoLitter) {
  ASSERT_TRUE(replace_file(place(), as_bytes("old")));
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit {};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const struct rlimit small { 4096, limit.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &small);

  const auto replaced = replace_file(place(), Bytes(10'000));
  const auto created = create_file({folder_.number(), "other", "other.new"}, Bytes(10'000));

  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(replaced.error(), std::errc::file_too_large);
  EXPECT_EQ(created.error(), std::errc::file_too_large);
  EXPECT_EQ(content(), "old");
  EXPECT_EQ(files(), 1U);
}

TEST_F(FileReplace, AFolderThatIsGoneIsAnError) {
  fs::remove_all(path_);

  EXPECT_EQ(replace_file(place(), as_bytes("x")).error(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(create_file(place(), as_bytes("x")).error(), std::errc::no_such_file_or_directory);
}

}  // namespace
}  // namespace openp2p
