#include "agent/config_text.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

TEST(ConfigText, ReadsDestinations) {
  EXPECT_EQ(parse_destination("nas:22"), (Destination{"nas", 22}));
  EXPECT_EQ(parse_destination("a.b-c.example.:65535"), (Destination{"a.b-c.example.", 65535}));
  EXPECT_EQ(parse_destination("192.0.2.1:80"), (Destination{"192.0.2.1", 80}));
  EXPECT_EQ(parse_destination("[::1]:22"), (Destination{"::1", 22}));
  EXPECT_EQ(parse_destination("my_host:1"), (Destination{"my_host", 1}));
}

TEST(ConfigText, RefusesWhatIsNoDestination) {
  for (const char* text :
       {"",         ":",      "nas",     "nas:",       ":22",      "nas:0",    "nas:65536",
        "nas:-1",   "nas:+1", "nas: 22", "::1:22",     "[nas]:22", "[::1]",    "[]:22",
        "a b:22",   "a/b:22", "-x:22",   "a..b:22",    ".a:22",    "1.2.3:22", "256.1.1.1:22",
        "a\x1b:22", "a\n:22", "nas:22x", "[::1]:22:33"}) {
    EXPECT_FALSE(parse_destination(text)) << text;
  }
  EXPECT_FALSE(parse_destination(std::string(64, 'a') + ":22"));
  EXPECT_FALSE(parse_destination(std::string(300, 'a') + ":22"));
}

TEST(ConfigText, WritesDestinationsSoThatTheyReadBack) {
  for (const char* text : {"nas:22", "192.0.2.1:80", "[2001:db8::1]:443"}) {
    const auto read = parse_destination(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(destination_text(*read), text);
  }
}

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
