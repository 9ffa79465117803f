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

TEST(ConfigText, ReadsRangesOfPorts) {
  const auto expect_listen = [](const char* text, const char* first, unsigned ports) {
    const auto range = parse_listen_range(text);
    ASSERT_TRUE(range) << text;
    EXPECT_EQ(range->first.text(), first);
    EXPECT_EQ(range->ports, ports);
  };
  expect_listen("5000", "127.0.0.1:5000", 1);
  expect_listen("5000-5010", "127.0.0.1:5000", 11);
  expect_listen("0.0.0.0:5000-5000", "0.0.0.0:5000", 1);
  expect_listen("[::1]:1-65535", "[::1]:1", 65'535);

  const auto to = parse_destination_range("my-host:6000-6010");
  ASSERT_TRUE(to);
  EXPECT_EQ(to->first, (forward::Destination{"my-host", 6000}));
  EXPECT_EQ(to->ports, 11);
  EXPECT_EQ(parse_destination_range("host-5:80")->ports, 1);
  EXPECT_EQ(parse_destination_range("[fd00::1]:80-81")->ports, 2);
  EXPECT_EQ(port_range_text(5000, 11), "5000-5010");
  EXPECT_EQ(port_range_text(5000, 1), "5000");
}

TEST(ConfigText, RefusesRangesThatMakeNoSense) {
  for (const char* text : {"5010-5000", "5000-", "-5000", "5000-65536", "5000-5010-5020", "0-65535",
                           "5000-5010x", "127.0.0.1-5000"}) {
    EXPECT_FALSE(parse_listen_range(text)) << text;
  }
  for (const char* text : {"nas:22-", "nas:30-22", "nas-22", "nas:0-5"}) {
    EXPECT_FALSE(parse_destination_range(text)) << text;
  }
}

TEST(ConfigText, NamesWhatIsWrongWithAForward) {
  const ForwardSpec good{.name = "ssh", .peer = "nas", .host = "::1", .port = 22, .listen = {}};

  EXPECT_FALSE(problem_of(good));
  for (const auto change :
       {+[](ForwardSpec& spec) { spec.name = "a\x1b[2J"; },
        +[](ForwardSpec& spec) { spec.peer = ""; }, +[](ForwardSpec& spec) { spec.host = "a b"; },
        +[](ForwardSpec& spec) { spec.port = 0; }, +[](ForwardSpec& spec) { spec.ports = 0; },
        +[](ForwardSpec& spec) { spec.ports = kForwardPortsMax + 1; },
        +[](ForwardSpec& spec) { spec.port = 65'535, spec.listen.port = 1, spec.ports = 2; },
        +[](ForwardSpec& spec) { spec.listen.port = 65'535, spec.ports = 2; },
        +[](ForwardSpec& spec) { spec.ports = 2; },  // The system chooses one port, not two.
        +[](ForwardSpec& spec) { spec.has_tcp = false; },
        +[](ForwardSpec& spec) { spec.listen.ip = IpAddress::v4(224, 0, 0, 1); }}) {
    ForwardSpec bad = good;
    change(bad);
    EXPECT_TRUE(problem_of(bad));
  }
}

}  // namespace
}  // namespace openp2p::agent
