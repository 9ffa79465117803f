#include "cli/table.h"

#include <gtest/gtest.h>

#include "cli/agent_client.h"
#include "cli/original_flags.h"
#include "cli/secret_arguments.h"

namespace openp2p::cli {
namespace {

using namespace std::chrono_literals;

TEST(Table, AlignsByWhatATerminalShows) {
  Table table({"NAME", "STATE"});
  table.add({"büro", "a"});
  table.add({"書斎", "b"});
  table.add({"e\xcc\x81t\xc3\xa9", "c"});

  EXPECT_EQ(table.text(), "NAME  STATE\nbüro  a\n書斎  b\ne\xcc\x81t\xc3\xa9   c\n");
}

TEST(Table, ShowsNoControlCharacters) {
  Table table({"a\x1b[2J\nb", "c"});
  EXPECT_EQ(table.text(), "a?[2J?b  c\n");
}

TEST(Table, AllowsRowsOfDifferentLength) {
  Table table({"a"});
  table.add({"bb", "c"});
  EXPECT_EQ(table.text(), "a\nbb  c\n");
}

TEST(Texts, UseFittingUnits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(~0ULL), "16384.0 PiB");
  EXPECT_EQ(rtt_text(420us), "0.42 ms");
  EXPECT_EQ(rtt_text(12'345us), "12.3 ms");
  EXPECT_EQ(duration_text(45s), "45 s");
  EXPECT_EQ(duration_text(26h + 4min), "1 d 2 h");
  EXPECT_EQ(duration_text(2h + 3min), "2 h 3 min");
}

TEST(PercentEncoding, LeavesPlainCharactersOnly) {
  EXPECT_EQ(percent_encoded("a-Z_0.~"), "a-Z_0.~");
  EXPECT_EQ(percent_encoded("a b/ü?"), "a%20b%2f%c3%bc%3f");
}

TEST(SecretArguments, OverwritesTokensOnly) {
  std::string program = "openp2p", first = "--token", second = "secret", third = "-token=secret",
              fourth = "--token-file", fifth = "path", last = "--token";
  char* arguments[] = {program.data(), first.data(), second.data(), third.data(),
                       fourth.data(),  fifth.data(), last.data(),   nullptr};

  const auto copies = take_arguments(7, arguments);

  EXPECT_EQ(copies[2], "secret");
  EXPECT_EQ(copies[3], "-token=secret");
  EXPECT_EQ(second, "xxxxxx");
  EXPECT_EQ(third, "-token=xxxxxx");
  EXPECT_EQ(fifth, "path");
}

TEST(OriginalFlags, AreTold) {
  for (const char* text : {"-node", "-node=x", "--sharebandwidth=1", "-d", "-token"}) {
    EXPECT_TRUE(is_original_flag(text)) << text;
  }
  for (const char* text : {"up", "--help", "-h", "--version", "-", "--", "-nodes", "node"}) {
    EXPECT_FALSE(is_original_flag(text)) << text;
  }
}

}  // namespace
}  // namespace openp2p::cli
