#include "agent/state.h"

#include <gtest/gtest.h>

namespace openp2p::agent {
namespace {

AgentState full_state() {
  AgentState state;
  state.server = ServerIdentity{{"server.example:27183", "[2001:db8::1]:27183"}, {}};
  state.server->key.key[0] = std::byte{0xab};
  state.join_secret = Bytes(16, std::byte{7});
  state.node_name = "büro";
  state.accepts_lan = true;
  state.accepts = {"nas:22", "[::1]:80"};
  state.port = 4'000;
  state.share_mbit = 20;
  state.avoids_strangers = true;
  state.relays_own_nodes = false;
  state.server->told = {"relay.example.org:443"};
  state.methods = path::MethodSet::all().without(path::Method::kBirthday);
  state.forwards.push_back({.name = "ssh",
                            .peer = "nas",
                            .host = "::1",
                            .port = 22,
                            .listen = {IpAddress::loopback_v4(), 2222},
                            .is_enabled = false});
  state.forwards.push_back({.name = "web",
                            .peer = "nas",
                            .host = "::1",
                            .port = 80,
                            .listen = {IpAddress::loopback_v4(), 8080}});
  state.forwards.back().relay = "gate";
  state.forwards.push_back(state.forwards.back());
  state.forwards.back().name = "private";
  state.forwards.back().relay.clear();
  state.forwards.back().allows_relay = false;
  return state;
}

std::string refusal(std::string_view text) {
  const auto state = decode_state(text, "state.json");
  return state ? "" : state.error().text;
}

TEST(State, ReadsBackWhatItWrote) {
  const AgentState written = full_state();

  const auto read = decode_state(encode_state(written), "state.json");

  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->server, written.server);
  EXPECT_EQ(read->join_secret, written.join_secret);
  EXPECT_EQ(read->node_name, written.node_name);
  EXPECT_EQ(read->accepts_lan, written.accepts_lan);
  EXPECT_EQ(read->accepts, written.accepts);
  EXPECT_EQ(read->port, written.port);
  EXPECT_EQ(read->share_mbit, written.share_mbit);
  EXPECT_TRUE(read->avoids_strangers);
  EXPECT_FALSE(read->relays_own_nodes);
  EXPECT_EQ(read->methods, written.methods);
  EXPECT_EQ(read->forwards, written.forwards);
  EXPECT_FALSE(read->is_joined());
}

TEST(State, KeepsWhatAForwardCarriesAndItsPorts) {
  AgentState written = full_state();
  ForwardSpec& spec = written.forwards.front();
  spec.ports = 11;
  spec.has_udp = true;
  written.forwards.back().has_udp = true;
  written.forwards.back().has_tcp = false;

  const auto read = decode_state(encode_state(written), "state.json");

  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->forwards, written.forwards);
}

TEST(State, AForwardOfAnOlderVersionIsOnePortOfTcp) {
  const auto state = decode_state(
      R"({"schema":1,"forwards":[{"name":"ssh","peer":"nas","host":"::1","port":22,"listen":"2222"}]})",
      "state.json");

  ASSERT_TRUE(state) << state.error().text;
  const ForwardSpec& spec = state->forwards.front();
  EXPECT_EQ(spec.ports, 1);
  EXPECT_TRUE(spec.has_tcp);
  EXPECT_FALSE(spec.has_udp);
}

TEST(State, RefusesForwardsOfTooManyPorts) {
  AgentState state = full_state();
  for (ForwardSpec& spec : state.forwards) {
    spec.ports = kForwardPortsMax;
    spec.has_udp = true;
  }
  EXPECT_NE(refusal(encode_state(state)).find("more than 3000 ports"), std::string::npos);
}

TEST(State, WhatIsSoByDefaultIsNotWritten) {
  const std::string text = encode_state(AgentState());
  for (const char* name : {"share_mbit", "never_relay_through_strangers", "relay_own_nodes"}) {
    EXPECT_EQ(text.find(name), std::string::npos) << name;
  }
}

TEST(State, ForgetsTheSecretOnceJoined) {
  auto state = decode_state(encode_state(full_state()), "state.json");
  ASSERT_TRUE(state);

  state->join_secret.reset();

  EXPECT_EQ(encode_state(*state).find("join_secret"), std::string::npos);
  EXPECT_TRUE(state->is_joined());
}

TEST(State, KeepsFieldsItDoesNotKnow) {
  auto state = decode_state(R"({"schema":1,"later":{"x":[1]},"server":{"addresses":["a:1"],
      "key":"0000000000000000000000000000000000000000000000000000000000000000","region":"eu"},
      "forwards":[{"name":"a","peer":"p","host":"h","port":1,"listen":"1","udp":true},
                  {"name":"b","peer":"p","host":"h","port":1,"listen":"2","udp":false}]})",
                            "state.json");
  ASSERT_TRUE(state) << state.error().text;

  state->node_name = "n";
  state->forwards.erase(state->forwards.begin());
  const std::string text = encode_state(*state);

  EXPECT_NE(text.find("\"later\""), std::string::npos);
  EXPECT_NE(text.find("\"region\": \"eu\""), std::string::npos);
  EXPECT_NE(text.find("\"udp\": false"), std::string::npos);
  EXPECT_EQ(text.find("\"udp\": true"), std::string::npos);
}

TEST(State, NamesFileAndPlaceOfASyntaxError) {
  EXPECT_NE(refusal("{\"schema\": 1,\n \"port\": }").find("state.json:2:10: "), std::string::npos)
      << refusal("{\"schema\": 1,\n \"port\": }");
}

TEST(State, RefusesWhatItCannotKeep) {
  for (
      const char* text :
      {"[]", "{}", R"({"schema":2})", R"({"schema":1,"port":70000})", R"({"schema":1,"port":"1"})",
       R"({"schema":1,"accept_lan":1})", R"({"schema":1,"accept":["x"]})",
       R"({"schema":1,"accept":"x:1"})", R"({"schema":1,"node_name":"a\u001b[2J"})",
       R"({"schema":1,"server":[]})", R"({"schema":1,"server":{"addresses":[],"key":""}})",
       R"({"schema":1,"server":{"addresses":["a:1"],"key":"12"}})",
       R"({"schema":1,"server":{"addresses":["a:1"],"told":["b"],"key":"0000000000000000000000000000000000000000000000000000000000000000"}})",
       R"({"schema":1,"forwards":{}})", R"({"schema":1,"forwards":[1]})",
       R"({"schema":1,"forwards":[{"name":"a"}]})",
       R"({"schema":1,"forwards":[{"name":"a","peer":"p","host":"h","port":1,"listen":"1"},
                                   {"name":"a","peer":"p","host":"h","port":1,"listen":"2"}]})"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal(std::string(kStateBytesMax + 1, ' ')), "");
  EXPECT_NE(refusal(R"({"schema":2})").find("newer"), std::string::npos);
}

TEST(State, ShowsNoControlCharactersOfADamagedFile) {
  const std::string text = refusal(R"({"schema":1,"accept":["\u001b[2J"]})");
  EXPECT_NE(text, "");
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(State, FitsItsFileWithEveryLimitReached) {
  AgentState state = full_state();
  const std::string label(63, 'x');
  const std::string host = label + "." + label + "." + label + "." + label.substr(2);
  state.accepts.assign(kAcceptsMax, host + ":65535");
  for (std::size_t i = 0; i < kForwardsMax; ++i) {
    ForwardSpec spec = full_state().forwards[0];
    spec.name = std::to_string(1'000'000 + i) + label.substr(7);
    spec.peer = std::string(64, 'a');
    spec.host = host;
    state.forwards.resize(i);
    state.forwards.push_back(spec);
  }

  const std::string text = encode_state(state);

  EXPECT_LE(text.size(), kStateBytesMax);
  const auto read = decode_state(text, "state.json");
  EXPECT_TRUE(read) << read.error().text;
}

}  // namespace
}  // namespace openp2p::agent
