#include "agent/log_sink.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <regex>

namespace openp2p::agent {
namespace {

/// What `body` writes to stderr.
std::string captured(const std::function<void()>& body) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

TEST(StderrLog, WritesTimeLevelAndLine) {
  const std::string text = captured([] {
    StderrLog sink(LogLevel::kInfo);
    Log(&sink).warning({}, "path.lost peer={}", "nas");
  });
  EXPECT_TRUE(std::regex_match(
      text, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning path\.lost peer=nas\n)")))
      << text;
}

TEST(StderrLog, LeavesOutWhatIsNotWanted) {
  EXPECT_EQ(captured([] {
              StderrLog sink(LogLevel::kWarning);
              Log(&sink).info({}, "x");
              Log(&sink).debug({}, "x");
            }),
            "");
}

TEST(StderrLog, LetsNobodyForgeLinesOrTerminalCommands) {
  const std::string text = captured([] {
    StderrLog sink(LogLevel::kInfo);
    Log(&sink).info({}, "name={}", "a\nb\x1b[2J");
  });
  EXPECT_TRUE(text.ends_with("name=a?b?[2J\n")) << text;
}

TEST(StderrLog, LeavesTheTimeToTheJournal) {
  const std::string text = captured([] {
    struct stat info {};
    ASSERT_EQ(::fstat(STDERR_FILENO, &info), 0);
    const std::string stream = std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino);
    ::setenv("JOURNAL_STREAM", stream.c_str(), /*overwrite=*/1);
    StderrLog sink(LogLevel::kDebug);
    Log(&sink).error({}, "x");
    Log(&sink).debug({}, "y");
    ::unsetenv("JOURNAL_STREAM");
  });
  EXPECT_EQ(text, "<3>x\n<7>y\n");
}

}  // namespace
}  // namespace openp2p::agent
