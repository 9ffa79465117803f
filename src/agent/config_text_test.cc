#include "agent/config_text.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

TEST(ConfigText, ListensOnLoopbackUnlessAnAddressIsNamed) {
  EXPECT_EQ(parse_listen("2222")->text(), "127.0.0.1:2222");
  EXPECT_EQ(parse_listen("localhost:2222")->text(), "127.0.0.1:2222");
  EXPECT_EQ(parse_listen("0.0.0.0:2222")->text(), "0.0.0.0:2222");
  EXPECT_EQ(parse_listen("[::1]:2222")->text(), "[::1]:2222");
  EXPECT_EQ(parse_listen("0")->text(), "127.0.0.1:0");
}

TEST(ConfigText, RefusesWhatCannotBeListenedOn) {
  for (const char* text : {"", "x", "65536", "-1", ":22", "localhost:", "nas:22", "127.0.0.1"}) {
    EXPECT_FALSE(parse_listen(text)) << text;
  }
}

TEST(ConfigText, NamesWhatIsWrongWithAForward) {
  const ForwardSpec good{.name = "ssh", .peer = "nas", .host = "::1", .port = 22, .listen = {}};

  EXPECT_FALSE(problem_of(good));
  for (const auto change :
       {+[](ForwardSpec& spec) { spec.name = "a\x1b[2J"; },
        +[](ForwardSpec& spec) { spec.peer = ""; }, +[](ForwardSpec& spec) { spec.host = "a b"; },
        +[](ForwardSpec& spec) { spec.port = 0; },
        +[](ForwardSpec& spec) { spec.listen.ip = IpAddress::v4(224, 0, 0, 1); }}) {
    ForwardSpec bad = good;
    change(bad);
    EXPECT_TRUE(problem_of(bad));
  }
}

}  // namespace
}  // namespace openp2p::agent
