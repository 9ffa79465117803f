#include "agent/original_config.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace openp2p::agent {
namespace {

/// An app of the original, `fields` instead of or besides what makes it a good one.
std::string app(const std::string& fields) {
  return R"({"AppName":"ssh","Protocol":"tcp","SrcPort":2222,"PeerNode":"old-peer",)"
         R"("DstHost":"127.0.0.1","DstPort":22,"Enabled":1)" +
         (fields.empty() ? "" : "," + fields) + "}";
}

OriginalImport import(const std::string& text, bool listens_on_all = false) {
  const auto config = decode_original_config(text, "config.json");
  EXPECT_TRUE(config) << config.error().text;
  return config ? import_original_config(*config, listens_on_all) : OriginalImport();
}

OriginalImport import_apps(const std::string& apps, bool listens_on_all = false) {
  return import(R"({"apps":[)" + apps + "]}", listens_on_all);
}

bool says(const OriginalImport& import, std::string_view text) {
  return std::any_of(import.report.begin(), import.report.end(), [text](const std::string& line) {
    return line.find(text) != std::string::npos;
  });
}

TEST(OriginalConfig, TakesAnAppOver) {
  const auto result = import_apps(app(""));

  ASSERT_EQ(result.forwards.size(), 1u);
  const ForwardSpec expected{.name = "ssh",
                             .peer = "old-peer",
                             .host = "127.0.0.1",
                             .port = 22,
                             .listen = {IpAddress::loopback_v4(), 2222}};
  EXPECT_EQ(result.forwards[0], expected);
  EXPECT_TRUE(says(result, "taken over: forward ssh from 127.0.0.1:2222 to 127.0.0.1:22"));
}

TEST(OriginalConfig, TakesTheNodesSettingsOver) {
  const auto result = import(
      R"({"network":{"Token":11602319472897248650,"Node":"old-node","ShareBandwidth":0,
          "PublicIPPort":5000,"ServerHost":"api.example"}})");

  EXPECT_EQ(result.node_name, "old-node");
  EXPECT_EQ(result.share_mbit, 0u);
  EXPECT_EQ(result.port, 5'000);
  EXPECT_TRUE(says(result, "join token"));
  EXPECT_FALSE(says(result, "11602319472897248650"));  // A credential of another service.
}

// The original's reader is Go's, which matches keys in any case.
TEST(OriginalConfig, FindsKeysInAnyCase) {
  EXPECT_EQ(import(R"({"NETWORK":{"node":"old-node"}})").node_name, "old-node");
}

TEST(OriginalConfig, KeepsWhatWasOffOff) {
  EXPECT_FALSE(import_apps(app(R"("Enabled":0)")).forwards.at(0).is_enabled);
  const auto absent = import_apps(
      R"({"AppName":"a","SrcPort":1,"PeerNode":"old-peer","DstPort":22,"DstHost":"nas"})");
  EXPECT_FALSE(absent.forwards.at(0).is_enabled);
  EXPECT_TRUE(says(absent, "forward enable 'a'"));
}

TEST(OriginalConfig, ListensOnLoopbackUnlessAsked) {
  const auto host = [](const std::string& whitelist, bool listens_on_all) {
    const auto result = import_apps(app(R"("Whitelist":")" + whitelist + "\""), listens_on_all);
    return result.forwards.at(0).listen.ip.text();
  };

  EXPECT_EQ(host("", false), "127.0.0.1");
  EXPECT_EQ(host("", true), "0.0.0.0");
  EXPECT_EQ(host("localhost", true), "127.0.0.1");
  EXPECT_EQ(host("127.0.0.1", true), "127.0.0.1");
  EXPECT_EQ(host("::1", true), "::1");
  EXPECT_EQ(host("192.168.1.0/24", true), "127.0.0.1");  // Open to all would be more than it was.
  EXPECT_TRUE(says(import_apps(app("")), "--listen-all"));
}

TEST(OriginalConfig, MakesNamesThatFit) {
  const auto result = import_apps(app(R"("AppName":"")") + "," + app(R"("AppName":"a/b")") + "," +
                                  app("") + "," + app("") + "," + app(R"("SrcPort":3333)"));

  std::vector<std::string> names;
  for (const ForwardSpec& spec : result.forwards) names.push_back(spec.name);
  EXPECT_EQ(names, (std::vector<std::string>{"old-peer-2222", "forward-2222", "ssh",
                                             "forward-2222-2", "old-peer-3333"}));
  EXPECT_TRUE(says(result, "was named a/b"));
}

TEST(OriginalConfig, LeavesBehindWhatCannotBeAForwardAndSaysWhy) {
  for (const char* fields :
       {R"("Protocol":"icmp")", R"("SrcPort":0)", R"("SrcPort":65536)", R"("DstPort":0)",
        R"("PeerNode":"")", R"("PeerNode":"a\u001b[2J")", R"("AppName":"a\u001b[2J")",
        R"("DstHost":"a b")", R"("SrcPort":"2222")", R"("AppName":7)", R"("SrcPort":-1)"}) {
    const auto result = import_apps(app(fields));
    EXPECT_TRUE(result.forwards.empty()) << fields;
    EXPECT_TRUE(says(result, "not taken over: app")) << fields;
  }
}

TEST(OriginalConfig, ReportsNothingThatActsOnATerminal) {
  const auto result =
      import(R"({"network":{"Node":"\u001b[2J"},"apps":[)" + app(R"("AppName":"\u009b")") + "]}");
  ASSERT_FALSE(result.report.empty());
  for (const std::string& line : result.report) {
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_EQ(line.find("\xc2\x9b"), std::string::npos);
  }
}

TEST(OriginalConfig, NamesSettingsThatHaveNoCounterpart) {
  const auto result = import_apps(app(R"("ForceRelay":1,"PunchPriority":2)"));
  for (const char* name : {"ForceRelay", "PunchPriority"}) {
    EXPECT_TRUE(says(result, name)) << name;
  }
}

TEST(OriginalConfig, TakesAppsOfUdpOver) {
  const auto result = import_apps(app(R"("Protocol":"UDP")"));
  ASSERT_EQ(result.forwards.size(), 1U);
  EXPECT_TRUE(result.forwards.front().has_udp);
  EXPECT_FALSE(result.forwards.front().has_tcp);
  EXPECT_TRUE(says(result, "by UDP"));
}

TEST(OriginalConfig, TakesTheRelayOfAnApp) {
  const auto result = import_apps(app(R"("RelayNode":"gate")"));
  ASSERT_EQ(result.forwards.size(), 1U);
  EXPECT_EQ(result.forwards.front().relay, "gate");
  EXPECT_TRUE(import_apps(app(R"("RelayNode":"no/name")")).forwards.empty());
}

TEST(OriginalConfig, AcceptsAnEmptyConfigurationAsGoWritesIt) {
  EXPECT_TRUE(import(R"({"network":{},"apps":null,"LogLevel":1})").forwards.empty());
}

TEST(OriginalConfig, RefusesWhatIsNoConfiguration) {
  const auto refusal = [](std::string_view text) {
    const auto config = decode_original_config(text, "config.json");
    return config ? "" : config.error().text;
  };

  EXPECT_NE(refusal("{\"apps\": [\n{]}").find("config.json:2:2"), std::string::npos);
  for (const char* text : {"", "[]", "{}", "{\"apps\":{}}", "{\"apps\":1}"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal(std::string(kOriginalBytesMax + 1, ' ')), "");
  std::string many = R"({"apps":[0)";
  for (std::size_t i = 0; i < kForwardsMax; ++i) many += ",0";
  EXPECT_NE(refusal(many + "]}"), "");
}

}  // namespace
}  // namespace openp2p::agent
