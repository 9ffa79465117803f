#include "base/ids.h"

#include <gtest/gtest.h>

namespace openp2p {
namespace {

TEST(NodeId, RoundTripsText) {
  const std::string text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
  const auto id = NodeId::parse(text);
  ASSERT_TRUE(id);
  EXPECT_EQ(id->text(), text);
  EXPECT_EQ(id->brief(), "0011223344");
  EXPECT_FALSE(NodeId::parse(text.substr(1)));
}

TEST(Name, AcceptsWhatPeopleUse) {
  for (const char* name : {"office", "nas-2", "Büro", "家里电脑", "a b", "x.y_z"}) {
    EXPECT_TRUE(is_valid_name(name)) << name;
  }
}

TEST(Name, RefusesWhatDeceivesOrBreaks) {
  const std::string long_name(64, 'x');
  for (const std::string& name :
       {std::string(), std::string("a\nb"), std::string("a\x1b[2Jb"), std::string("a\0b", 3),
        std::string("\xc2\x9b"),
        std::string("\xe2\x80\xae"
                    "gpj"),
        std::string("\xc0\xaf"), std::string("\xed\xa0\x80"), std::string("a/b"), std::string(" a"),
        std::string("--x"), long_name}) {
    EXPECT_FALSE(is_valid_name(name)) << printable(name);
  }
}

TEST(Printable, HidesControlCharactersAndCuts) {
  EXPECT_EQ(printable("a\x1b[31mb"), "a?[31mb");
  EXPECT_EQ(printable("Büro"), "Büro");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace openp2p
